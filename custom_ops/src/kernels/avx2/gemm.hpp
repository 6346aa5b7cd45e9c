// What gemm_unpack.hpp and gemm_micro.hpp want of AVX2: products of nibbles and int8 gather in 16 bits for eight quads before they are
// widened (8 * 2 * 15 * 127 < 32767). Bytes are two planes of nibbles for that: w = low + 16 * high.
#pragma once
#include "kernels/generic/compiler.hpp"
#include "kernels/generic/micro_few.hpp"

namespace scap_ov {
namespace avx2 {
namespace {

constexpr size_t kNr = 2 * Simd::kLanes;
constexpr size_t kMaxPlanes = 2;
template <class Format>
constexpr int kPlanes = Format::kNibbles ? 1 : 2;
template <int Planes>
constexpr size_t kMrQuantized = Planes == 1 ? 6 : 3;  // 12 accumulators of 16 bits either way
constexpr size_t kWidenQuads = 8;                     // sums of 16 bits: 8 · 2 · 15 · 127 < 2^15

// dot += the products of at most kWidenQuads quads of input channels.
template <int Rows, int Planes>
inline void multiply_fine(const uint8_t* tile, const int8_t* x, size_t x_stride, size_t quads, SumsOfRows<Rows>& dot) {
    Sums16 sum[Rows][2 * Planes] = {};
    for (size_t q = 0; q < quads; ++q, tile += Planes * kNr * kQuad, x += kQuad) {
        __m256i w[2 * Planes];
        for (int j = 0; j < 2 * Planes; ++j) w[j] = Simd::load(tile + j * Simd::kBytes);
        for (int r = 0; r < Rows; ++r) {
            const __m256i quad = Simd::broadcast_quad(x + r * x_stride);
            for (int j = 0; j < 2 * Planes; ++j) sum[r][j] = add_words(sum[r][j], to_sums<Sums16>(_mm256_maddubs_epi16(w[j], quad)));
        }
    }
    const __m256i one = _mm256_set1_epi16(1), sixteen = _mm256_set1_epi16(16);
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) {
            const __m256i low = to_register(sum[r][j]), high = to_register(sum[r][j + 2 * (Planes - 1)]);
            __m256i sum32 = _mm256_madd_epi16(low, one);
            if (Planes == 2) sum32 = _mm256_add_epi32(sum32, _mm256_madd_epi16(high, sixteen));
            dot.of[r][j] = to_sums<Sums32>(_mm256_add_epi32(to_register(dot.of[r][j]), sum32));
        }
}
static_assert(kFineGroup <= kWidenQuads * kQuad, "a fine group does not fit into sums of 16 bits");

constexpr size_t kMrFew = 6;                                         // 12 accumulators of 16 bits
constexpr FewRows::Range kFewRows[3] = {{9, 24}, {9, 16}, {9, 32}};  // narrow, middle and wide rows of the weight
constexpr FewRows::ByShape kFewRowsOfBytes{}, kFewRowsOfPlanes{};

// finish(r, dot): the products of one group, of row r, at both registers of columns.
template <int Rows, TileKind Kind, class Finish>
inline void multiply_few(const MicroFew& a, const Finish& finish) {
    const __m256i one = _mm256_set1_epi16(1);
    __m256i dot[Rows][2];
    for (int r = 0; r < Rows; ++r) dot[r][0] = dot[r][1] = Simd::zero();
    const uint8_t *tile = a.tile, *ahead = a.ahead;
    const int8_t* x = a.x;
    for (size_t quad = 0; quad < a.quads; quad += kWidenQuads) {
        const size_t count = a.quads - quad < kWidenQuads ? a.quads - quad : kWidenQuads;
        Sums16 sum[Rows][2] = {};
        for (size_t q = 0; q < count; ++q, x += Rows * kQuad, tile += Simd::kBytes, ahead += a.ahead_step) {
            const __m256i bytes = Simd::load(tile), low = Simd::low_nibbles(bytes), high = Simd::high_nibbles(bytes);
            prefetch_line(ahead);
            for (int r = 0; r < Rows; ++r) {
                const __m256i of = Simd::broadcast_quad(x + r * kQuad);
                sum[r][0] = add_words(sum[r][0], to_sums<Sums16>(_mm256_maddubs_epi16(low, of)));
                if (Kind == TileKind::nibbles) sum[r][1] = add_words(sum[r][1], to_sums<Sums16>(_mm256_maddubs_epi16(high, of)));
            }
        }
        for (int r = 0; r < Rows; ++r)
            for (int j = 0; j < 2; ++j) dot[r][j] = _mm256_add_epi32(dot[r][j], _mm256_madd_epi16(to_register(sum[r][j]), one));
    }
    for_rows<Rows>([&](auto r) { finish(r, dot[r]); });
}

}  // namespace
}  // namespace avx2
}  // namespace scap_ov
