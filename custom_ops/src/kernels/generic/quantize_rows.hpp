// Dynamic quantisation: int8, symmetric, one scale per row and activation group, of the dense path and of kept channels. Over the Simd
// vocabulary. scale = max|x| / 127, so that -128 never occurs. A NaN or an infinity makes the scale of its group NaN, so that the whole
// row of y shows it.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// 127 / this is still finite; a group whose values are all smaller counts as zeros.
constexpr float kSmallestMaximum = 1e-36f;

// What multiplies a group's values before they are rounded; 0 where they are not finite, or nothing.
inline float find_scale(const float* x, size_t count, float* scale) {
    Simd::Int largest = Simd::zero();  // as integers NaN is the largest
    size_t i = 0;
    for (; i + Simd::kLanes <= count; i += Simd::kLanes) largest = Simd::maximum(largest, Simd::bits(Simd::absolute(Simd::load(x + i))));
    if (i < count) largest = Simd::maximum(largest, Simd::bits(Simd::absolute(Simd::load_part(x + i, count - i))));
    const int32_t maximum_bits = Simd::maximum_of(largest);
    float maximum;
    std::memcpy(&maximum, &maximum_bits, sizeof(maximum));
    const bool finite = maximum_bits < 0x7f800000;
    if (finite && maximum > kSmallestMaximum) {
        *scale = maximum / 127.0f;
        return 127.0f / maximum;
    }
    *scale = finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    return 0.0f;
}

// Writes `count` values, and zeros up to a whole quad; returns their sum.
inline int32_t round_values(const float* x, size_t count, float inverse, int8_t* out) {
    if (inverse == 0.0f) {
        std::memset(out, 0, (count + kQuad - 1) / kQuad * kQuad);
        return 0;
    }
    const Simd::Float factor = Simd::broadcast(inverse);
    Simd::Int total = Simd::zero();
    size_t i = 0;
    for (; i + Simd::kLanes <= count; i += Simd::kLanes) {
        const Simd::Int q = Simd::round(Simd::multiply(Simd::load(x + i), factor));
        total = Simd::add(total, q);
        Simd::store_i8(out + i, q);
    }
    if (i < count) {
        const Simd::Int q = Simd::round(Simd::multiply(Simd::load_part(x + i, count - i), factor));
        total = Simd::add(total, q);
        int8_t rest[Simd::kLanes];
        Simd::store_i8(rest, q);
        std::memcpy(out + i, rest, (count - i + kQuad - 1) / kQuad * kQuad);
    }
    return Simd::sum_of(total);
}

inline void quantize_rows(const QuantizeRowsParams& p) noexcept {
    const size_t groups = ceil_div(p.k, p.group_size), stride = round_up(p.group_size, kQuad);
    for (size_t m = p.m_from; m < p.m_to; ++m)
        for (size_t g = 0; g < groups; ++g) {
            const size_t from = g * p.group_size, left = p.k - from;
            const size_t count = left < p.group_size ? left : p.group_size, of = m * groups + g;
            const float *x = p.x + m * p.k + from, inverse = find_scale(x, count, p.scale + of);
            p.sum[of] = round_values(x, count, inverse, p.quantized + m * p.k_padded + g * stride);
        }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
