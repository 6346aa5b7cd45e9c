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
constexpr float kLargest = 16256.0f;  // 127 · 128: h stays within -127 … 127

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

// 16 values to both digits; returns them as integers.
inline Simd::Int store_digits(Simd::Float x, Simd::Float factor, int8_t* high, int8_t* low) {
    const Simd::Int value = Simd::round(Simd::multiply(x, factor));
    const Simd::Int h = _mm512_srai_epi32(Simd::add(value, Simd::broadcast(64)), 7);
    Simd::store_i8(high, h);
    Simd::store_i8(low, Simd::subtract(value, _mm512_slli_epi32(h, 7)));
    return value;
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
            for (size_t k = 0; k < round_up(p.group_size, kTileBytes); k += kTileBytes, out += block.step_bytes())
                for (size_t i = 0; i < kTileBytes; i += Simd::kLanes) {
                    const size_t lanes = count > k + i ? count - k - i : 0;
                    // 0 where nothing is finite: 0 times a NaN is none
                    const Simd::Float value = factor == 0.0f || lanes == 0 ? Simd::zero_float()
                                              : lanes < Simd::kLanes       ? Simd::load_part(x + k + i, lanes)
                                                                           : Simd::load(x + k + i);
                    total = Simd::add(total, store_digits(value, Simd::broadcast(factor), out + i, out + block.low() + i));
                }
            p.sum[m * groups + g] = Simd::sum_of(total);
            x += count;
        }
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
