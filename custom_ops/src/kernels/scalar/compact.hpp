// Scan of x: which channels are kept, their values, and their int8 form. Plain C++.
#pragma once
#include <cmath>

#include "formats/format.hpp"
#include "kernels/coarse_slots.hpp"

namespace scap_ov::scalar {

// What multiplies `count` values before they are rounded to int8; a group that holds NaN or infinity gets a NaN scale, so that it is seen
// in the output.
inline float find_scale(const float* value, size_t count, float* scale) {
    float largest = 0.0f;
    bool finite = true;
    for (size_t i = 0; i < count; ++i) {
        finite = finite && std::isfinite(value[i]);
        largest = std::fmax(largest, std::fabs(value[i]));
    }
    *scale = finite ? largest / 127.0f : NAN;
    const float inverse = finite && largest > 0.0f ? 127.0f / largest : 0.0f;
    return std::isfinite(inverse) ? inverse : 0.0f;
}

// Returns the sum of what it writes, in which values past 127 count whole.
inline int32_t round_values(const float* value, size_t count, float inverse, int8_t* quantized) {
    int32_t total = 0;
    for (size_t i = 0; i < count; ++i) {
        const int32_t q = inverse > 0.0f ? static_cast<int32_t>(std::nearbyintf(value[i] * inverse)) : 0;
        quantized[i] = static_cast<int8_t>(q < -127 ? -127 : q > 127 ? 127 : q);
        total += q;
    }
    return total;
}

// find_scale, finer where a few values may have two digits.
inline float find_coarse_scale(const float* value, size_t count, float* scale) {
    const float inverse = find_scale(value, count, scale);
    if (!(*scale >= kSmallestCoarse)) return inverse;
    const float gain = coarse_gain(*scale * 127.0f, [&](float threshold) {
        size_t above = 0;
        for (size_t i = 0; i < count; ++i) above += std::fabs(value[i]) > threshold;
        return above;
    });
    *scale /= gain;
    return inverse * gain;
}

inline bool is_kept(const CompactParams& p, size_t row, size_t k) {
    if (!p.prune) return true;
    const float z = p.x[row * p.k + k] - p.center[p.center_per_channel ? k : 0];
    return !(std::fabs(z) <= p.threshold[p.threshold_per_channel ? k : 0]);
}

// Whether it is in list `list` of its group.
inline bool is_in_list(const CompactParams& p, size_t list, size_t row, size_t k) {
    if (!is_kept(p, row, k) || list == 0 || !p.prune || !p.whole_threshold) return is_kept(p, row, k);
    const float z = p.x[row * p.k + k] - p.center[p.center_per_channel ? k : 0];
    return !(std::fabs(z) <= p.whole_threshold[p.whole_threshold_per_channel ? k : 0]);
}

// x - center of a kept entry, moved by the ramp.
inline float kept_value(const CompactParams& p, size_t row, size_t k) {
    const float x = p.x[row * p.k + k];
    if (!p.prune) return x;
    const float z = x - p.center[p.center_per_channel ? k : 0], threshold = p.threshold[p.threshold_per_channel ? k : 0];
    const float excess = threshold - (std::fabs(z) - threshold) * p.steepness;
    return p.steepness > 0.0f && excess > 0.0f ? z - std::copysign(excess, z) : z;
}

// One list of an activation group behind slot `slot`; returns the slot behind it.
inline uint32_t compact_list(const CompactParams& p, size_t g, size_t list, uint32_t slot) {
    const KeptChannels& kept = *p.kept;
    const size_t from = g * kept.group_size, to = from + kept.group_size < p.k ? from + kept.group_size : p.k;
    const uint32_t begin = slot;
    for (size_t k = from; k < to; ++k) {
        bool any = false;
        for (size_t m = 0; m < p.m; ++m) any = any || is_in_list(p, list, m, k);
        if (!any) continue;
        kept.index[slot] = static_cast<uint32_t>(list * p.k + k);
        for (size_t m = 0; m < p.m; ++m) kept.value[m * kept.capacity + slot] = is_in_list(p, list, m, k) ? kept_value(p, m, k) : 0.0f;
        ++slot;
    }
    const uint32_t end = begin + static_cast<uint32_t>(round_up(slot - begin, kQuad));
    for (; slot < end; ++slot) {
        kept.index[slot] = kept.index[slot - 1];
        for (size_t m = 0; m < p.m; ++m) kept.value[m * kept.capacity + slot] = 0.0f;
    }
    return end;
}

inline void compact(const CompactParams& p) noexcept {
    KeptChannels& kept = *p.kept;
    uint32_t slot = 0;
    for (size_t g = 0; g < kept.groups; ++g) {
        float inverse[kMaxGemvRows];  // both lists of a group share the scale of what is kept
        for (size_t list = 0; list < kept.lists; ++list) {
            const uint32_t begin = slot;
            kept.group_begin[g * kept.lists + list] = begin;
            slot = kept.coarse_begin[g * kept.lists + list] = compact_list(p, g, list, begin);
            CoarseSlots coarse(kept, p.m, slot);
            for (size_t m = 0; m < p.m; ++m) {
                const float* value = kept.value + m * kept.capacity + begin;
                const size_t i = m * kept.all_lists() + g * kept.lists + list;
                float total = 0.0f;
                for (uint32_t j = 0; j < slot - begin; ++j) total += value[j];
                kept.value_sum[i] = total;
                if (!kept.quantized) continue;
                if (list == 0) inverse[m] = find_coarse_scale(value, slot - begin, kept.scale + m * kept.groups + g);
                kept.sum[i] = round_values(value, slot - begin, inverse[m], kept.quantized + m * kept.capacity + begin);
                for (uint32_t j = begin; j < slot; ++j)
                    if (inverse[m] > 0.0f) coarse.split(m, j, value[j - begin] * inverse[m]);
            }
            slot = static_cast<uint32_t>(coarse.end());
        }
    }
    kept.group_begin[kept.all_lists()] = slot;
}

}  // namespace scap_ov::scalar
