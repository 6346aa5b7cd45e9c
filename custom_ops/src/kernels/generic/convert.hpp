// f16 activations to f32 and back, over the Simd vocabulary; round to nearest even.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

inline void widen(const uint16_t* from, size_t count, float* to) noexcept {
    size_t i = 0;
    for (; i + Simd::kLanes <= count; i += Simd::kLanes) Simd::store(to + i, Simd::load_half(from + i));
    if (i == count) return;
    uint16_t rest[Simd::kLanes] = {};
    float wide[Simd::kLanes];
    std::memcpy(rest, from + i, (count - i) * sizeof(uint16_t));
    Simd::store(wide, Simd::load_half(rest));
    std::memcpy(to + i, wide, (count - i) * sizeof(float));
}

inline void narrow(const float* from, size_t count, uint16_t* to) noexcept {
    size_t i = 0;
    for (; i + Simd::kLanes <= count; i += Simd::kLanes) Simd::store_half(to + i, Simd::load(from + i));
    if (i == count) return;
    uint16_t rest[Simd::kLanes];
    Simd::store_half(rest, Simd::load_part(from + i, count - i));
    std::memcpy(to + i, rest, (count - i) * sizeof(uint16_t));
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
