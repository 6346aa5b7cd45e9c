// Dynamic quantisation: int8, symmetric, one scale per row and activation group, of the dense path and of kept channels. Over the Simd
// vocabulary. scale = max|x| / 127, so that -128 never occurs. A NaN or an infinity makes the scale of its group NaN, so that the whole
// row of y shows it.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// 127 / this is still finite; a group whose values are all smaller counts as zeros.
constexpr float kSmallestMaximum = 1e-36f;

// Writes `count` values, and zeros up to a whole quad.
inline void quantize_group(const float* x, size_t count, int8_t* out, float* scale, int32_t* sum) {
    Simd::Int largest = Simd::zero();  // as integers NaN is the largest
    size_t i = 0;
    for (; i + Simd::kLanes <= count; i += Simd::kLanes) largest = Simd::maximum(largest, Simd::bits(Simd::absolute(Simd::load(x + i))));
    if (i < count) largest = Simd::maximum(largest, Simd::bits(Simd::absolute(Simd::load_part(x + i, count - i))));
    const int32_t maximum_bits = Simd::maximum_of(largest);
    float maximum;
    __builtin_memcpy(&maximum, &maximum_bits, sizeof(maximum));
    if (!(maximum_bits < 0x7f800000 && maximum > kSmallestMaximum)) {  // not finite, or nothing
        __builtin_memset(out, 0, (count + kQuad - 1) / kQuad * kQuad);
        *scale = maximum_bits < 0x7f800000 ? 0.0f : __builtin_nanf("");
        *sum = 0;
        return;
    }
    *scale = maximum / 127.0f;
    const Simd::Float inverse = Simd::broadcast(127.0f / maximum);
    Simd::Int total = Simd::zero();
    for (i = 0; i + Simd::kLanes <= count; i += Simd::kLanes) {
        const Simd::Int q = Simd::round(Simd::multiply(Simd::load(x + i), inverse));
        total = Simd::add(total, q);
        Simd::store_i8(out + i, q);
    }
    if (i < count) {
        const Simd::Int q = Simd::round(Simd::multiply(Simd::load_part(x + i, count - i), inverse));
        total = Simd::add(total, q);
        int8_t rest[Simd::kLanes];
        Simd::store_i8(rest, q);
        __builtin_memcpy(out + i, rest, (count - i + kQuad - 1) / kQuad * kQuad);
    }
    *sum = Simd::sum_of(total);
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
