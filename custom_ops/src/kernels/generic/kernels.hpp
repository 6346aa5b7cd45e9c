// Every kernel that is written once, over the vocabulary of an instruction set: Simd, and for the dense path multiply_fine, kPlanes and
// kMrQuantized. Included behind them, inside the target region, with SCAP_OV_ISA set to the namespace.
#pragma once
#include "kernels/generic/activate.hpp"
#include "kernels/generic/convert.hpp"
#include "kernels/generic/quantize_rows.hpp"
// order matters: what a kernel is made of before it
#include "kernels/generic/compact.hpp"
#include "kernels/generic/sparse_gemv.hpp"
#include "kernels/generic/sparse_gemv_f32.hpp"
#include "kernels/generic/sparse_gemv_qd8.hpp"
// over the sweeps of both
#include "kernels/generic/sparse_gemv_planes.hpp"
// parts of the dense path
#include "kernels/generic/gemm_micro.hpp"
#include "kernels/generic/gemm_unpack.hpp"
// over the sums of micro-kernels
#include "kernels/generic/gemm_rows.hpp"
// and the whole
#include "kernels/generic/gemm.hpp"
// few rows, over its scales: micro-kernels
#include "kernels/generic/gemm_few_micro.hpp"
// blocks
#include "kernels/generic/gemm_few_block.hpp"
// and their product
#include "kernels/generic/gemm_few.hpp"
