// The attribute weight_type: signed types are stored with an offset, which is their zero point.
#pragma once
#include <string>

#include "params.hpp"

namespace scap_ov {

struct WeightType {
    const char* name;
    WeightFormat format;
    int implicit_zero_point;
};

inline constexpr WeightType kWeightTypes[] = {
    {"u4", WeightFormat::u4, 0},   {"i4", WeightFormat::u4, 8},     {"u8", WeightFormat::u8, 0},   {"i8", WeightFormat::u8, 128},
    {"f16", WeightFormat::f16, 0}, {"bf16", WeightFormat::bf16, 0}, {"f32", WeightFormat::f32, 0},
};

inline const WeightType* find_weight_type(const std::string& name) {
    for (const WeightType& type : kWeightTypes)
        if (name == type.name) return &type;
    return nullptr;
}

// "u4, i4, …", for messages.
inline std::string weight_type_names() {
    std::string names;
    for (const WeightType& type : kWeightTypes) names += (names.empty() ? "" : ", ") + std::string(type.name);
    return names;
}

}  // namespace scap_ov
