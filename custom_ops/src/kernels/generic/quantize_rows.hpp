// Dynamic quantisation of the dense path: int8, symmetric, one scale per row and activation group. Written over the vocabulary
// of <isa>/gemm.hpp. scale = max|x| / 127, so that -128 never occurs; pad slots are 0. A NaN or an infinity makes the scale of its
// group NaN or infinite, and with it the row of y, as the exact product would.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// 127 / this is still finite; a group whose values are all smaller counts as zeros.
constexpr float kSmallestMaximum = 1e-36f;

inline void quantize_group(const float* x, size_t count, int8_t* out, float* scale, int32_t* sum) {
    Bits largest = zero_bits();
    size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) largest = max_bits(largest, absolute_bits(load(x + i)));
    if (i < count) largest = max_bits(largest, absolute_bits(load_part(x + i, count - i)));
    const float maximum = float_of_largest(largest);
    const bool tiny = maximum < kSmallestMaximum;  // false for NaN
    *scale = tiny ? 0.0f : maximum / 127.0f;
    const Float inverse = broadcast(tiny ? 0.0f : 127.0f / maximum);
    Bits total = zero_bits();
    for (i = 0; i + kLanes <= count; i += kLanes) {
        const Bits q = round_to_int(mul(load(x + i), inverse));
        total = add_bits(total, q);
        store_i8(out + i, q);
    }
    if (i < count) {
        const Bits q = round_to_int(mul(load_part(x + i, count - i), inverse));
        total = add_bits(total, q);
        int8_t rest[kLanes];
        store_i8(rest, q);
        for (size_t j = 0; i < round_up(count, kQuad); ++i, ++j) out[i] = rest[j];
    }
    *sum = sum_of_bits(total);
}

inline void quantize_rows(const QuantizeRowsParams& p) noexcept {
    const size_t groups = ceil_div(p.k, p.group_size), stride = round_up(p.group_size, kQuad);
    for (size_t m = 0; m < p.m; ++m)
        for (size_t g = 0; g < groups; ++g) {
            const size_t from = g * p.group_size, left = p.k - from;
            quantize_group(p.x + m * p.k + from, left < p.group_size ? left : p.group_size, p.quantized + m * p.k_padded + g * stride,
                           p.scale + m * groups + g, p.sum + m * groups + g);
        }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
