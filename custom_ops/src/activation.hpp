// What is between the two products of a gated feed-forward layer.
#pragma once
#include <string>

#include "params.hpp"

namespace scap_ov {

inline constexpr const char* kActivationNames[] = {"silu", "gelu_tanh", "gelu_erf", "clamped_swiglu"};

// Position in kActivationNames, or -1.
inline int find_activation(const std::string& name) {
    for (int i = 0; i < static_cast<int>(Activation::count); ++i)
        if (name == kActivationNames[i]) return i;
    return -1;
}

}  // namespace scap_ov
