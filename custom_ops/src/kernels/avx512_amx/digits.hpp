// Rows of x as numbers of two digits for AMX: x = scale · (128 h + l), h and l int8, one scale = max|x| / kLargest for a whole row. The
// products of h and of l are sums of integers over as many channels as one likes, so that sums are scaled seldom, and x is rounded to 15
// bits, finer than bf16 at the same number of tile products. Over Simd and generic/quantize_rows.hpp.
//
// q.quantized: blocks of 16 rows; of each 64 channels a tile [16 rows][64] of h, then one of l. A last block of at most 8 rows has one
// tile for both, h in rows 0…7, l in 8…15. Groups are padded with zeros to whole steps of 64 channels; rows that are missing are not set.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kTileRows = 16;
constexpr size_t kTileBytes = 64;  // of a row of a tile register
constexpr size_t kTile = kTileRows * kTileBytes;
constexpr float kLargest = 14336.0f;  // 112 · 128: h stays within -112 … 112, and 576 channels fit into one sum of 32 bits

// Where the rows of a block lie.
struct RowBlock {
    size_t rows, tiles;  // two tiles, or one for both digits
    int8_t* at;
    RowBlock(const QuantizeRowsParams& q, size_t m) {
        const size_t from = m / kTileRows * kTileRows, left = q.m - from;
        rows = left < kTileRows ? left : kTileRows;
        tiles = rows <= kTileRows / 2 ? 1 : 2;
        at = q.quantized + from * 2 * q.k_padded;
    }
    size_t step_bytes() const { return tiles * kTile; }
    size_t low() const { return tiles == 1 ? kTile / 2 : kTile; }  // from h to l
};

// 64 values, of which `lanes` are there, to both digits; returns sums of four of them. As int16, in which they fit: a
// quarter of the instructions that storing every 16 values as bytes takes.
inline Simd::Int store_digits(const float* x, size_t lanes, Simd::Float factor, int8_t* high, int8_t* low) {
    __m512i value[kTileBytes / Simd::kLanes];
    for (size_t i = 0; i < kTileBytes / Simd::kLanes; ++i) {
        const size_t from = i * Simd::kLanes, left = lanes > from ? lanes - from : 0;
        const Simd::Float of = left >= Simd::kLanes ? Simd::load(x + from) : left ? Simd::load_part(x + from, left) : Simd::zero_float();
        value[i] = Simd::round(Simd::multiply(of, factor));
    }
    const __m512i half = _mm512_set1_epi16(64);
    __m512i pair[2], h[2];
    Simd::Int total = Simd::zero();
    for (size_t i = 0; i < 2; ++i) {
        pair[i] = _mm512_packs_epi32(value[2 * i], value[2 * i + 1]);
        total = Simd::add(total, Simd::add(value[2 * i], value[2 * i + 1]));
        h[i] = _mm512_srai_epi16(_mm512_add_epi16(pair[i], half), 7);
        pair[i] = _mm512_sub_epi16(pair[i], _mm512_slli_epi16(h[i], 7));
    }
    // packing leaves fours of bytes in the order 0, 4, 8, 12, 1, 5 ... of the values' fours
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_storeu_si512(high, _mm512_permutexvar_epi32(order, _mm512_packs_epi16(h[0], h[1])));
    _mm512_storeu_si512(low, _mm512_permutexvar_epi32(order, _mm512_packs_epi16(pair[0], pair[1])));
    return total;
}

inline void quantize_digits(const QuantizeRowsParams& p) noexcept {
    const size_t groups = ceil_div(p.k, p.group_size);
    for (size_t m = p.m_from; m < p.m_to; ++m) {
        const RowBlock block(p, m);
        const float* x = p.x + m * p.k;
        float scale;
        const float factor = find_scale(x, p.k, &scale) * (kLargest / 127.0f);
        p.scale[m] = scale * (127.0f / kLargest);
        int8_t* out = block.at + m % kTileRows * kTileBytes;
        for (size_t g = 0; g < groups; ++g) {
            const size_t left = p.k - g * p.group_size, count = left < p.group_size ? left : p.group_size;
            Simd::Int total = Simd::zero();
            for (size_t k = 0; k < round_up(p.group_size, kTileBytes); k += kTileBytes, out += block.step_bytes()) {
                // 0 where nothing is finite: 0 times a NaN is none
                const size_t lanes = factor == 0.0f || count <= k ? 0 : count - k;
                total = Simd::add(total, store_digits(x + k, lanes, Simd::broadcast(factor), out, out + block.low()));
            }
            p.sum[m * groups + g] = Simd::sum_of(total);
            x += count;
        }
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
