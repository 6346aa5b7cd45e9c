// Scan of x over the Simd vocabulary of <isa>/simd.hpp: kept channels of M rows by activation group, compressed without
// branches on the values, then quantised to int8 while they are in L1. Included like sparse_gemv.hpp.
#pragma once
#include "kernels/coarse_slots.hpp"
#include "kernels/generic/compiler.hpp"

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// z moved towards 0 by the ramp: by the threshold where |z| is the threshold, by nothing from (1 + 1 / steepness) thresholds on.
// A NaN moves nothing, as everywhere: it is neither above nor below.
inline Simd::Float ramped(const CompactParams& p, Simd::Float z, Simd::Float threshold) {
    const Simd::Float zero = Simd::zero_float();
    const Simd::Float above = Simd::multiply(Simd::subtract(Simd::absolute(z), threshold), Simd::broadcast(p.steepness));
    const Simd::Float excess = Simd::subtract(threshold, above);
    const uint32_t moved = ~Simd::not_at_most(zero, excess), positive = Simd::not_at_most(z, zero);
    return Simd::add(Simd::subtract(z, Simd::where(moved & positive, excess)), Simd::where(moved & ~positive, excess));
}

// Which of the lanes at channel k are kept in a row, or, for Whole, read whole; *z is x - center, 0 where this row is not among them.
template <bool Whole>
inline uint32_t keep_mask(const CompactParams& p, size_t row, size_t k, size_t lanes, Simd::Float* z) {
    const uint32_t valid = (1u << lanes) - 1u;
    const Simd::Float x = Simd::load_part(p.x + row * p.k + k, lanes);
    if (!p.prune) {
        *z = x;
        return valid;
    }
    const Simd::Float center = p.center_per_channel ? Simd::load_part(p.center + k, lanes) : Simd::broadcast(p.center[0]);
    const Simd::Float threshold = p.threshold_per_channel ? Simd::load_part(p.threshold + k, lanes) : Simd::broadcast(p.threshold[0]);
    const Simd::Float shifted = Simd::subtract(x, center), magnitude = Simd::absolute(shifted);
    uint32_t mask = Simd::not_at_most(magnitude, threshold) & valid;  // NaN is kept
    if (Whole && p.whole_threshold)
        mask &= Simd::not_at_most(magnitude, p.whole_threshold_per_channel ? Simd::load_part(p.whole_threshold + k, lanes)
                                                                           : Simd::broadcast(p.whole_threshold[0]));
    *z = Simd::where(mask, p.steepness > 0.0f ? ramped(p, shifted, threshold) : shifted);
    return mask;
}

// Compresses one list of an activation group behind slot `begin`, and fills up its last quad; returns the number of kept channels.
template <bool Whole>
inline size_t compact_list(const CompactParams& p, size_t g, size_t begin) {
    const KeptChannels& kept = *p.kept;
    const size_t from = g * kept.group_size, to = from + kept.group_size < p.k ? from + kept.group_size : p.k;
    size_t count = 0;
    for (size_t k = from; k < to; k += Simd::kLanes) {
        const size_t lanes = to - k < Simd::kLanes ? to - k : Simd::kLanes;
        Simd::Float z[kMaxGemvRows];
        uint32_t mask = 0;
        for (size_t row = 0; row < p.m; ++row) mask |= keep_mask<Whole>(p, row, k, lanes, &z[row]);
        const int32_t first = static_cast<int32_t>(Whole ? p.k + k : k);
        Simd::store(reinterpret_cast<int32_t*>(kept.index + begin + count), Simd::compress(mask, Simd::iota(first)));
        for (size_t row = 0; row < p.m; ++row) Simd::store(kept.value + row * kept.capacity + begin + count, Simd::compress(mask, z[row]));
        count += count_bits(mask);
    }
    for (size_t i = count; i % kQuad != 0; ++i) kept.index[begin + i] = kept.index[begin + count - 1];
    for (size_t row = 0; row < p.m; ++row)  // pads, and the rest of the last register
        Simd::store(kept.value + row * kept.capacity + begin + count, Simd::zero_float());
    return count;
}

inline float sum_values(const float* value, size_t count) {
    Simd::Float total = Simd::zero_float();
    for (size_t i = 0; i < count; i += Simd::kLanes) total = Simd::add(total, Simd::load(value + i));
    return Simd::sum_of(total);
}

inline size_t count_above(const float* value, size_t count, float threshold) {
    const Simd::Float limit = Simd::broadcast(threshold);
    size_t above = 0;
    for (size_t i = 0; i < count; i += Simd::kLanes) above += count_bits(Simd::not_at_most(Simd::absolute(Simd::load(value + i)), limit));
    return above;
}

// A row's scale of a group, and what multiplies its values.
struct RowScale {
    float scale, inverse;
    bool coarse;  // some values have two digits
    RowScale() = default;
    RowScale(const float* value, size_t count) {
        inverse = find_scale(value, count, &scale);
        coarse = false;
        if (inverse == 0.0f || scale < kSmallestCoarse) return;
        const float gain = coarse_gain(scale * 127.0f, [&](float threshold) { return count_above(value, count, threshold); });
        coarse = gain > 1.0f;
        scale /= gain;
        inverse *= gain;
    }
};

// Quantises a list of `count` slots from `begin` on, in a row; values that need two digits go on to `slots`. Returns their sum.
inline int32_t quantize_list(const KeptChannels& kept, size_t row, size_t begin, size_t count, const RowScale& of, CoarseSlots& slots) {
    const float* value = kept.value + row * kept.capacity + begin;
    const int32_t sum = round_values(value, round_up(count, kQuad), of.inverse, kept.quantized + row * kept.capacity + begin);
    if (!of.coarse) return sum;
    const Simd::Float limit = Simd::broadcast(127.25f * of.scale);
    for (size_t i = 0; i < count; i += Simd::kLanes)
        for (uint32_t mask = Simd::not_at_most(Simd::absolute(Simd::load(value + i)), limit); mask; mask &= mask - 1) {
            const size_t lane = i + count_bits((mask & (~mask + 1)) - 1);
            slots.split(row, begin + lane, value[lane] * of.inverse);
        }
    return sum;
}

inline void compact(const CompactParams& p) noexcept {
    KeptChannels& kept = *p.kept;
    size_t slot = 0;
    for (size_t g = 0; g < kept.groups; ++g) {
        RowScale scale[kMaxGemvRows];  // both lists of a group share the scale of what is kept
        for (size_t list = 0; list < kept.lists; ++list) {
            const size_t begin = slot, count = list ? compact_list<true>(p, g, begin) : compact_list<false>(p, g, begin);
            kept.group_begin[g * kept.lists + list] = static_cast<uint32_t>(begin);
            slot = begin + round_up(count, kQuad);
            kept.coarse_begin[g * kept.lists + list] = static_cast<uint32_t>(slot);
            CoarseSlots coarse(kept, p.m, slot);
            for (size_t row = 0; row < p.m; ++row) {
                const float* value = kept.value + row * kept.capacity + begin;
                const size_t of = row * kept.all_lists() + g * kept.lists + list;
                kept.value_sum[of] = sum_values(value, count);
                if (!kept.quantized) continue;
                if (list == 0) scale[row] = RowScale(value, count);
                kept.scale[row * kept.groups + g] = scale[row].scale;
                kept.sum[of] = quantize_list(kept, row, begin, count, scale[row], coarse);
            }
            slot = coarse.end();
        }
    }
    kept.group_begin[kept.all_lists()] = static_cast<uint32_t>(slot);
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
