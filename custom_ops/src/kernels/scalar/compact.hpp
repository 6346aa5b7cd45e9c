// Scan of x: which channels are kept, their values, and their int8 form. Plain C++.
#pragma once
#include <cmath>

#include "formats/format.hpp"

namespace scap_ov::scalar {

// Symmetric int8 of `count` values; a group that holds NaN or infinity gets a NaN scale, so that it is seen in the output.
inline void quantize(const float* value, size_t count, int8_t* quantized, float* scale, int32_t* sum) {
    float largest = 0.0f;
    bool finite = true;
    for (size_t i = 0; i < count; ++i) {
        finite = finite && std::isfinite(value[i]);
        largest = std::fmax(largest, std::fabs(value[i]));
    }
    const float inverse = finite && largest > 0.0f ? 127.0f / largest : 0.0f;
    const bool usable = std::isfinite(inverse) && finite;
    int32_t total = 0;
    for (size_t i = 0; i < count; ++i) {
        const int32_t q = usable ? static_cast<int32_t>(std::nearbyintf(value[i] * inverse)) : 0;
        quantized[i] = static_cast<int8_t>(q);
        total += q;
    }
    *scale = finite ? largest / 127.0f : NAN;
    *sum = total;
}

inline bool is_kept(const CompactParams& p, size_t row, size_t k) {
    if (!p.prune) return true;
    const float z = p.x[row * p.k + k] - p.center[p.center_per_channel ? k : 0];
    return !(std::fabs(z) <= p.threshold[p.threshold_per_channel ? k : 0]);
}

// x - center of a kept entry, moved by the ramp.
inline float kept_value(const CompactParams& p, size_t row, size_t k) {
    const float x = p.x[row * p.k + k];
    if (!p.prune) return x;
    const float z = x - p.center[p.center_per_channel ? k : 0], threshold = p.threshold[p.threshold_per_channel ? k : 0];
    const float excess = threshold - (std::fabs(z) - threshold) * p.steepness;
    return p.steepness > 0.0f && excess > 0.0f ? z - std::copysign(excess, z) : z;
}

inline void compact(const CompactParams& p) noexcept {
    KeptChannels& kept = *p.kept;
    uint32_t slot = 0;
    for (size_t g = 0; g < kept.groups; ++g) {
        const size_t from = g * kept.group_size, to = from + kept.group_size < p.k ? from + kept.group_size : p.k;
        const uint32_t begin = slot;
        kept.group_begin[g] = begin;
        for (size_t k = from; k < to; ++k) {
            bool any = false;
            for (size_t m = 0; m < p.m; ++m) any = any || is_kept(p, m, k);
            if (!any) continue;
            kept.index[slot] = static_cast<uint32_t>(k);
            for (size_t m = 0; m < p.m; ++m) kept.value[m * kept.capacity + slot] = is_kept(p, m, k) ? kept_value(p, m, k) : 0.0f;
            ++slot;
        }
        const uint32_t end = begin + static_cast<uint32_t>(round_up(slot - begin, kQuad));
        for (; slot < end; ++slot) {
            kept.index[slot] = kept.index[slot - 1];
            for (size_t m = 0; m < p.m; ++m) kept.value[m * kept.capacity + slot] = 0.0f;
        }
        for (size_t m = 0; m < p.m; ++m) {
            const float* value = kept.value + m * kept.capacity + begin;
            const size_t i = m * kept.groups + g;
            float total = 0.0f;
            for (uint32_t j = 0; j < slot - begin; ++j) total += value[j];
            kept.value_sum[i] = total;
            if (kept.quantized) quantize(value, slot - begin, kept.quantized + m * kept.capacity + begin, kept.scale + i, kept.sum + i);
        }
    }
    kept.group_begin[kept.groups] = slot;
}

}  // namespace scap_ov::scalar
