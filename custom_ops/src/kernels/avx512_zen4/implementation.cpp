// AVX-512 with VNNI for AMD's cores from Zen 4 on: dense products of few rows take their own way, all else is as on AVX-512 with VNNI.
#include "implementation.hpp"

#include <immintrin.h>

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "cpu_features.hpp"
#include "formats/formats.hpp"

#define SCAP_OV_ISA avx512_zen4

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
// what a kernel is made of before it
#include "kernels/generic/gemm_micro.hpp"
#include "kernels/generic/gemm_unpack.hpp"
// over the sums of micro-kernels
#include "kernels/generic/gemm_rows.hpp"
// scales of a weight
#include "kernels/generic/gemm.hpp"
// and what takes them: blocks
#include "kernels/avx512_zen4/block_ahead.hpp"
// and their product
#include "kernels/avx512_zen4/gemm_pipelined.hpp"

#if defined(__clang__)
#    pragma clang attribute pop
#elif defined(__GNUC__)
#    pragma GCC pop_options
#endif

namespace scap_ov::avx512_vnni {
const Implementation& implementation();
}

namespace scap_ov::avx512_zen4 {

const Implementation& implementation() {
    static const Implementation kernels = [] {
        Implementation table = avx512_vnni::implementation();
        table.name = "avx512_zen4";
        table.description = "AVX-512 with VNNI, and few dense rows multiplied while they are read: AMD";
        table.preferred_features = kAmd;
        FewRows::Pipelined* const by_format = table.few.pipelined;
        by_format[static_cast<int>(WeightFormat::u8)] = {{2, 63}, 512, gemm_pipelined<U8>};
        by_format[static_cast<int>(WeightFormat::planes)] = {{2, 63}, 1024, gemm_pipelined<U8Planes>};
        by_format[static_cast<int>(WeightFormat::u4)] = {{2, 63}, 1024, gemm_pipelined<U4>};
        table.few.pipelined_scratch_bytes = pipelined_scratch_bytes;
        return table;
    }();
    return kernels;
}

}  // namespace scap_ov::avx512_zen4
