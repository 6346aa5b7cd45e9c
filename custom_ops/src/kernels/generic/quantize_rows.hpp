// Dynamic quantisation: int8, symmetric, one scale per row and fine group of the dense path, and per row and activation group of kept
// channels. Over the Simd vocabulary. scale = max|x| / 127, so that -128 never occurs. A NaN or an infinity makes the scale of its group
// NaN, so that the whole row of y shows it.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// 127 / this is still finite; a group whose values are all smaller counts as zeros.
constexpr float kSmallestMaximum = 1e-36f;

// What multiplies values before they are rounded, given the bits of the largest |x|; 0 where they are not finite, or nothing.
inline float scale_of(int32_t maximum_bits, float* scale) {
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

inline float find_scale(const float* x, size_t count, float* scale) {
    Simd::Int largest = Simd::zero();  // as integers NaN is the largest
    size_t i = 0;
    for (; i + Simd::kLanes <= count; i += Simd::kLanes) largest = Simd::maximum(largest, Simd::bits(Simd::absolute(Simd::load(x + i))));
    if (i < count) largest = Simd::maximum(largest, Simd::bits(Simd::absolute(Simd::load_part(x + i, count - i))));
    return scale_of(Simd::maximum_of(largest), scale);
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

// A whole fine group, from registers: find_scale and round_values take twice as long. Returns the sum of scale times quantised value.
inline Simd::Float quantize_fine(const float* x, float* scale, int8_t* out) {
    constexpr size_t registers = kFineGroup / Simd::kLanes;
    Simd::Float value[registers], sum = Simd::zero_float();
    Simd::Int largest = Simd::zero();
    for (size_t i = 0; i < registers; ++i) {
        value[i] = Simd::load(x + i * Simd::kLanes);
        largest = Simd::maximum(largest, Simd::bits(Simd::absolute(value[i])));
    }
    const float inverse = scale_of(Simd::maximum_of(largest), scale);
    if (inverse == 0.0f) {
        std::memset(out, 0, kFineGroup);
        return sum;
    }
    const Simd::Float factor = Simd::broadcast(inverse), step = Simd::broadcast(*scale);
    for (size_t i = 0; i < registers; ++i) {
        const Simd::Int q = Simd::round(Simd::multiply(value[i], factor));
        Simd::store_i8(out + i * Simd::kLanes, q);
        sum = Simd::multiply_add(Simd::to_float(q), step, sum);
    }
    return sum;
}

// A group in fine groups, each with a scale.
inline void quantize_group(const float* x, size_t count, size_t fine_size, float* scale, float* sums, int8_t* out) {
    Simd::Float sum = Simd::zero_float();
    float rest = 0.0f, first = 0.0f, before = 0.0f;
    for (size_t from = 0; from < count; from += fine_size, ++scale) {
        const size_t fine = count - from < fine_size ? count - from : fine_size;
        float own;
        if (fine == kFineGroup) {
            sum = Simd::add(sum, quantize_fine(x + from, &own, out + from));
        } else {
            const float inverse = find_scale(x + from, fine, &own);
            rest += own * static_cast<float>(round_values(x + from, fine, inverse, out + from));
        }
        *scale = own;
        if (from % kRun)
            scale[-1] = before - own;
        else
            first += own;
        before = own;
    }
    sums[0] = Simd::sum_of(sum) + rest;
    sums[1] = first;
}

inline void quantize_rows(const QuantizeRowsParams& p) noexcept {
    const size_t groups = ceil_div(p.k, p.group_size), stride = round_up(p.group_size, kQuad), fine = p.fine();
    for (size_t m = p.m_from; m < p.m_to; ++m)
        for (size_t g = 0; g < groups; ++g) {
            const size_t from = g * p.group_size, left = p.k - from, of = m * groups + g;
            quantize_group(p.x + m * p.k + from, left < p.group_size ? left : p.group_size, p.fine_size, p.scale + of * fine,
                           p.sums + of * 2, p.quantized + m * p.k_padded + g * stride);
        }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
