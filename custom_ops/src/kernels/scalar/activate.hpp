// Activation of gate times up, and the sum of experts, in plain C++.
#pragma once
#include <algorithm>
#include <cmath>

#include "params.hpp"

namespace scap_ov::scalar {

inline float swish(float g, float alpha) {
    return g / (1.0f + std::exp(-alpha * g));
}

// NaN goes through both.
inline float at_most(float value, float limit) {
    return value > limit ? limit : value;
}
inline float at_least(float value, float limit) {
    return value < limit ? limit : value;
}

inline float gated(const ActivateParams& p, float gate, float up) {
    switch (p.activation) {
        case Activation::silu:
            return swish(gate, 1.0f) * up;
        case Activation::gelu_tanh:
            return 0.5f * gate * (1.0f + std::tanh(0.7978845608f * (gate + 0.044715f * gate * gate * gate))) * up;
        case Activation::gelu_erf:
            return 0.5f * gate * std::erfc(-0.70710678119f * gate) * up;
        default:
            return swish(at_most(gate, p.limit), p.alpha) * (at_most(at_least(up, -p.limit), p.limit) + 1.0f);
    }
}

inline void activate(const ActivateParams& p) noexcept {
    for (size_t i = 0; i < p.count; ++i) p.out[i] = gated(p, p.gate[i], p.up[i]);
}

inline void combine(const float* const* rows, const float* factor, size_t count, size_t n, float* out) noexcept {
    for (size_t i = 0; i < n; ++i) {
        float sum = 0.0f;
        for (size_t j = 0; j < count; ++j) sum += factor[j] * rows[j][i];
        out[i] = sum;
    }
}

}  // namespace scap_ov::scalar
