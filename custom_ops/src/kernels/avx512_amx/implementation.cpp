// AMX tiles of bytes for the dense path; everything else as on AVX-512 with VNNI. Intel Xeon from Sapphire Rapids.
#include "implementation.hpp"

#include <immintrin.h>

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "cpu_features.hpp"
#include "formats/formats.hpp"

#define SCAP_OV_ISA avx512_amx

// Everything between the pragmas is compiled for these instructions, and only reached when the CPU has them.
#if defined(__clang__)
#    pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,amx-tile,amx-int8"))), \
                                 apply_to = function)
#elif defined(__GNUC__)
#    pragma GCC push_options
#    pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,amx-tile,amx-int8")
#endif

#include "kernels/avx512_vnni/simd.hpp"
// order matters: the vocabulary before what is written over it
#include "kernels/generic/gemm_vnni.hpp"
// what a kernel is made of before it
#include "kernels/generic/gemm_micro.hpp"
#include "kernels/generic/gemm_unpack.hpp"
// over the sums of micro-kernels
#include "kernels/generic/gemm_rows.hpp"
// the unpacked tile
#include "kernels/generic/gemm.hpp"
// and what multiplies it, in order
#include "kernels/generic/quantize_rows.hpp"
//
#include "kernels/avx512_amx/digits.hpp"
//
#include "kernels/avx512_amx/unpack.hpp"
//
#include "kernels/avx512_amx/gemm.hpp"
//
#include "kernels/avx512_amx/gemm_streamed.hpp"

#if defined(__clang__)
#    pragma clang attribute pop
#elif defined(__GNUC__)
#    pragma GCC pop_options
#endif

namespace scap_ov::avx512_vnni {
const Implementation& implementation();
}

namespace scap_ov::avx512_amx {
namespace {

template <class Format>
void use_tiles(Implementation& table, WeightFormat format) {
    if constexpr (Format::kInteger) table.gemm_qd8[static_cast<int>(format)] = gemm_amx<Format>;
}

}  // namespace

const Implementation& implementation() {
    static const Implementation kernels = [] {
        Implementation table = avx512_vnni::implementation();
        table.name = "avx512_amx";
        table.description = "AVX-512 with VNNI, and AMX tiles of bytes for many rows";
        table.required_features |= kAmxInt8;
        table.gemm_scratch_bytes = [](size_t k, size_t group_size) noexcept {
            const size_t floats = gemm_scratch_bytes(k, group_size), tiles = amx_scratch_bytes(group_size);
            return floats > tiles ? floats : tiles;
        };
        table.gemm_columns = amx_columns;
        table.quantize_rows = quantize_digits;
        table.gemm_half_qd8 = gemm_amx<HighPlane>;
        table.dense = {kBlockK, kTileBytes, 2, kMaxGemvRows + 1, 4};
        // Tiles of two digits are more exact; for bytes and planes of few rows they are slower.
        table.few.bytes = {{}, {9, 12}, {9, 12}, {}};
        table.few.planes = {{5, 8}, {5, 12}, {5, 16}, {}};
        table.few.narrow = table.few.middle = table.few.wide = {0, 0};
#define X(Trait, name) use_tiles<Trait>(table, WeightFormat::name);
#include "formats/format_list.inc"
#undef X
        return table;
    }();
    return kernels;
}

}  // namespace scap_ov::avx512_amx
