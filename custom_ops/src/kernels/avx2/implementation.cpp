// AVX2 with FMA and F16C: Intel from Haswell, AMD from Zen.
#include "implementation.hpp"

#include <immintrin.h>

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "cpu_features.hpp"
#include "formats/formats.hpp"

#define SCAP_OV_ISA avx2

// Everything between the pragmas is compiled for these instructions, and only reached when the CPU has them.
#if defined(__clang__)
#    pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#    pragma GCC push_options
#    pragma GCC target("avx2,fma,f16c")
#endif

#include "kernels/avx2/simd.hpp"
// order matters: the vocabulary before what is written over it
#include "kernels/avx2/gemm.hpp"
// and that before all kernels
#include "kernels/generic/kernels.hpp"

#if defined(__clang__)
#    pragma clang attribute pop
#elif defined(__GNUC__)
#    pragma GCC pop_options
#endif

#include "kernels/generic/table.hpp"

namespace scap_ov::avx2 {

const Implementation& implementation() {
    static const Implementation kernels = table("avx2", "AVX2 and FMA: dot products of pairs, 256 bits", kAvx2 | kFma | kF16c);
    return kernels;
}

}  // namespace scap_ov::avx2
