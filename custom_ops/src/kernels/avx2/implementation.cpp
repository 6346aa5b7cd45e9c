// AVX2 with FMA and F16C: Intel from Haswell, AMD from Zen.
#include "implementation.hpp"

#include <immintrin.h>

#include <type_traits>

#include "cpu_features.hpp"
#include "formats/formats.hpp"
#include "kernels/generic/gemm_micro.hpp"

// Everything below is compiled for these instructions, and only reached when the CPU has them.
#if defined(__clang__)
#    pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#    pragma GCC push_options
#    pragma GCC target("avx2,fma,f16c")
#endif

#define SCAP_OV_ISA avx2
#include "kernels/avx2/simd.hpp"
#include "kernels/generic/compact.hpp"
#include "kernels/generic/convert.hpp"
#include "kernels/generic/sparse_gemv.hpp"
#include "kernels/generic/sparse_gemv_f32.hpp"
#include "kernels/generic/sparse_gemv_qd8.hpp"
// order matters: the vocabulary before what is written over it
#include "kernels/avx2/gemm.hpp"
#include "kernels/generic/gemm.hpp"
#include "kernels/generic/quantize_rows.hpp"
#undef SCAP_OV_ISA

#if defined(__clang__)
#    pragma clang attribute pop
#elif defined(__GNUC__)
#    pragma GCC pop_options
#endif

namespace scap_ov::avx2 {

const Implementation& implementation() {
    static const Implementation table = {
        "avx2",
        "AVX2 and FMA: dot products of pairs, 256 bits",
        kAvx2 | kFma | kF16c,
        widen,
        narrow,
        add,
        compact,
        quantize_rows,
        {sparse_gemv_qd8<U4>, sparse_gemv_qd8<U8>, nullptr, nullptr, nullptr},
        {sparse_gemv_f32<U4>, sparse_gemv_f32<U8>, sparse_gemv_f32<F16>, sparse_gemv_f32<BF16>, sparse_gemv_f32<F32>},
        {gemm_qd8<U4>, gemm_qd8<U8>, nullptr, nullptr, nullptr},
        {gemm_f32<U4>, gemm_f32<U8>, gemm_f32<F16>, gemm_f32<BF16>, gemm_f32<F32>},
        gemv_scratch_bytes,
        gemm_scratch_bytes,
    };
    return table;
}

}  // namespace scap_ov::avx2
