// AVX-512 with VNNI: Intel from Ice Lake, AMD from Zen 4.
#include "implementation.hpp"

#include <immintrin.h>

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "cpu_features.hpp"
#include "formats/formats.hpp"

#define SCAP_OV_ISA avx512_vnni

// Everything between the pragmas is compiled for these instructions, and only reached when the CPU has them.
#if defined(__clang__)
#    pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), \
                                 apply_to = function)
#elif defined(__GNUC__)
#    pragma GCC push_options
#    pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")
#endif

#include "kernels/avx512_vnni/simd.hpp"
// order matters: the vocabulary before what is written over it
#include "kernels/generic/gemm_vnni.hpp"
// and that before all kernels
#include "kernels/generic/kernels.hpp"
// and bytes of few rows
#include "kernels/generic/gemm_few_bytes.hpp"
#include "kernels/generic/gemm_few_wide.hpp"

#if defined(__clang__)
#    pragma clang attribute pop
#elif defined(__GNUC__)
#    pragma GCC pop_options
#endif

#include "kernels/generic/table.hpp"

namespace scap_ov::avx512_vnni {

const Implementation& implementation() {
    static const Implementation kernels = table("avx512_vnni", "AVX-512 with VNNI: dot products of bytes, 512 bits",
                                                kAvx2 | kFma | kF16c | kAvx512f | kAvx512bw | kAvx512vl | kAvx512dq | kAvx512vnni);
    return kernels;
}

}  // namespace scap_ov::avx512_vnni
