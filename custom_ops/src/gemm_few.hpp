// Dense steps of few rows: more than the sparse GEMV is for, fewer than the GEMM is for.
#pragma once
#include "rows.hpp"

namespace scap_ov {

// Whether run_gemm_few is the fastest for this call: by its number of rows and the form of its weight.
bool takes_few(const SparseMatMulArgs& a, const Implementation& implementation);

// x: f32 [M, K], masked.
void run_gemm_few(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const float* x);

}  // namespace scap_ov
