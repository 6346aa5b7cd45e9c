// Activation of gate times up, and the sum of experts, over the Simd vocabulary. NaN stays NaN.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// e^x, within 2 units in the last place where |x| <= 87, and the value at the nearer end beyond: 2^n · e^r, |r| <= ln 2 / 2, e^r by a
// polynomial of degree 6 (Cephes expf).
inline Simd::Float exponential(Simd::Float x) {
    x = Simd::minimum(Simd::broadcast(87.0f), Simd::maximum(Simd::broadcast(-87.0f), x));
    const Simd::Int n = Simd::round(Simd::multiply(x, Simd::broadcast(1.44269504f)));
    const Simd::Float whole = Simd::to_float(n);
    Simd::Float r = Simd::negative_multiply_add(whole, Simd::broadcast(0.693359375f), x);
    r = Simd::negative_multiply_add(whole, Simd::broadcast(-2.12194440e-4f), r);
    Simd::Float p = Simd::broadcast(1.9875691500e-4f);
    for (const float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        p = Simd::multiply_add(p, r, Simd::broadcast(c));
    p = Simd::add(Simd::multiply_add(p, Simd::multiply(r, r), r), Simd::broadcast(1.0f));
    return Simd::multiply(p, Simd::power_of_two(n));
}

// g / (1 + e^-(alpha g))
inline Simd::Float swish(Simd::Float g, float alpha) {
    const Simd::Float e = exponential(Simd::multiply(g, Simd::broadcast(-alpha)));
    return Simd::divide(g, Simd::add(e, Simd::broadcast(1.0f)));
}

// g/2 (1 + tanh(√(2/π) (g + 0.044715 g³))), which is g / (1 + e^(-2 …)).
inline Simd::Float gelu_tanh(Simd::Float g) {
    const Simd::Float cube = Simd::multiply(Simd::multiply(g, g), g);
    const Simd::Float inner = Simd::multiply_add(cube, Simd::broadcast(0.044715f), g);
    return Simd::divide(g, Simd::add(exponential(Simd::multiply(inner, Simd::broadcast(-1.5957691216f))), Simd::broadcast(1.0f)));
}

// g/2 (1 + erf(g/√2)); erf(|x|) = 1 - (a1 t + … + a5 t⁵) e^-x², t = 1 / (1 + p |x|), within 1.5e-7 (Abramowitz and Stegun 7.1.26).
inline Simd::Float gelu_erf(Simd::Float g) {
    const Simd::Float one = Simd::broadcast(1.0f), x = Simd::multiply(Simd::absolute(g), Simd::broadcast(0.70710678119f));
    const Simd::Float t = Simd::divide(one, Simd::multiply_add(x, Simd::broadcast(0.3275911f), one));
    Simd::Float p = Simd::broadcast(1.061405429f);
    for (const float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) p = Simd::multiply_add(p, t, Simd::broadcast(c));
    const Simd::Float zero = Simd::zero_float();
    const Simd::Float rest = Simd::multiply(Simd::multiply(p, t), exponential(Simd::negative_multiply_add(x, x, zero)));
    // rest is erfc(|x|): where g is negative 1 + erf is rest itself, elsewhere 2 - rest
    const uint32_t positive = Simd::not_at_most(g, zero);
    const Simd::Float two = Simd::where(positive, Simd::broadcast(2.0f));
    const Simd::Float sum = Simd::negative_multiply_add(Simd::subtract(two, one), rest, two);  // 2 - rest, or 0 + rest
    return Simd::multiply(Simd::multiply(g, Simd::broadcast(0.5f)), sum);
}

template <Activation kKind>
inline Simd::Float gated(const ActivateParams& p, Simd::Float gate, Simd::Float up) {
    if constexpr (kKind == Activation::silu) return Simd::multiply(swish(gate, 1.0f), up);
    if constexpr (kKind == Activation::gelu_tanh) return Simd::multiply(gelu_tanh(gate), up);
    if constexpr (kKind == Activation::gelu_erf) return Simd::multiply(gelu_erf(gate), up);
    const Simd::Float limit = Simd::broadcast(p.limit);
    const Simd::Float inside = Simd::minimum(limit, Simd::maximum(Simd::broadcast(-p.limit), up));
    return Simd::multiply(swish(Simd::minimum(limit, gate), p.alpha), Simd::add(inside, Simd::broadcast(1.0f)));
}

template <Activation kKind>
inline void activate_as(const ActivateParams& p) {
    size_t i = 0;
    for (; i + Simd::kLanes <= p.count; i += Simd::kLanes)
        Simd::store(p.out + i, gated<kKind>(p, Simd::load(p.gate + i), Simd::load(p.up + i)));
    if (i == p.count) return;
    float rest[Simd::kLanes];
    Simd::store(rest, gated<kKind>(p, Simd::load_part(p.gate + i, p.count - i), Simd::load_part(p.up + i, p.count - i)));
    std::memcpy(p.out + i, rest, (p.count - i) * sizeof(float));
}

inline void activate(const ActivateParams& p) noexcept {
    switch (p.activation) {
        case Activation::silu:
            return activate_as<Activation::silu>(p);
        case Activation::gelu_tanh:
            return activate_as<Activation::gelu_tanh>(p);
        case Activation::gelu_erf:
            return activate_as<Activation::gelu_erf>(p);
        default:
            return activate_as<Activation::clamped_swiglu>(p);
    }
}

// out = Σ_j factor[j] · rows[j], in the order of j.
inline void combine(const float* const* rows, const float* factor, size_t count, size_t n, float* out) noexcept {
    size_t i = 0;
    for (; i + Simd::kLanes <= n; i += Simd::kLanes) {
        Simd::Float sum = Simd::zero_float();
        for (size_t j = 0; j < count; ++j) sum = Simd::multiply_add(Simd::load(rows[j] + i), Simd::broadcast(factor[j]), sum);
        Simd::store(out + i, sum);
    }
    if (i == n) return;
    Simd::Float sum = Simd::zero_float();
    for (size_t j = 0; j < count; ++j) sum = Simd::multiply_add(Simd::load_part(rows[j] + i, n - i), Simd::broadcast(factor[j]), sum);
    float rest[Simd::kLanes];
    Simd::store(rest, sum);
    std::memcpy(out + i, rest, (n - i) * sizeof(float));
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
