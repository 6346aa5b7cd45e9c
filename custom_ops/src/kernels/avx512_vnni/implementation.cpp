// AVX-512 with VNNI: Intel from Ice Lake, AMD from Zen 4.
#include "implementation.hpp"

#include <immintrin.h>

#include "cpu_features.hpp"
#include "formats/formats.hpp"
#include "kernels/generic/gemm_micro.hpp"

// Everything below is compiled for these instructions, and only reached when the CPU has them.
#if defined(__clang__)
#    pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), \
                                 apply_to = function)
#elif defined(__GNUC__)
#    pragma GCC push_options
#    pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#endif

#define SCAP_OV_ISA avx512_vnni
#include "kernels/avx512_vnni/simd.hpp"
#include "kernels/generic/compact.hpp"
#include "kernels/generic/convert.hpp"
#include "kernels/generic/sparse_gemv.hpp"
#include "kernels/generic/sparse_gemv_f32.hpp"
#include "kernels/generic/sparse_gemv_qd8.hpp"
// order matters: the vocabulary before what is written over it
#include "kernels/avx512_vnni/gemm.hpp"
#include "kernels/generic/gemm.hpp"
#include "kernels/generic/quantize_rows.hpp"
#undef SCAP_OV_ISA

#if defined(__clang__)
#    pragma clang attribute pop
#elif defined(__GNUC__)
#    pragma GCC pop_options
#endif

namespace scap_ov::avx512_vnni {

const Implementation& implementation() {
    static const Implementation table = {
        "avx512_vnni",
        "AVX-512 with VNNI: dot products of bytes, 512 bits",
        kAvx2 | kFma | kF16c | kAvx512f | kAvx512bw | kAvx512vl | kAvx512dq | kAvx512vnni,
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

}  // namespace scap_ov::avx512_vnni
