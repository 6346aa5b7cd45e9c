// Scan of x over the Simd vocabulary of <isa>/simd.hpp: kept channels of M rows by activation group, compressed without
// branches on the values, then quantised to int8 while they are in L1. Included like sparse_gemv.hpp.
#pragma once

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

// Which of the lanes at channel k are kept in a row; *z is x - center, 0 where this row drops it.
inline uint32_t keep_mask(const CompactParams& p, size_t row, size_t k, size_t lanes, Simd::Float* z) {
    const uint32_t valid = (1u << lanes) - 1u;
    const Simd::Float x = Simd::load_part(p.x + row * p.k + k, lanes);
    if (!p.prune) {
        *z = x;
        return valid;
    }
    const Simd::Float center = p.center_per_channel ? Simd::load_part(p.center + k, lanes) : Simd::broadcast(p.center[0]);
    const Simd::Float threshold = p.threshold_per_channel ? Simd::load_part(p.threshold + k, lanes) : Simd::broadcast(p.threshold[0]);
    const Simd::Float shifted = Simd::subtract(x, center);
    const uint32_t mask = Simd::not_at_most(Simd::absolute(shifted), threshold) & valid;  // NaN is kept
    *z = Simd::where(mask, p.steepness > 0.0f ? ramped(p, shifted, threshold) : shifted);
    return mask;
}

// Compresses one activation group behind slot `begin`; returns the number of kept channels.
inline size_t compact_group(const CompactParams& p, size_t g, size_t begin) {
    const KeptChannels& kept = *p.kept;
    const size_t from = g * kept.group_size, to = from + kept.group_size < p.k ? from + kept.group_size : p.k;
    size_t count = 0;
    for (size_t k = from; k < to; k += Simd::kLanes) {
        const size_t lanes = to - k < Simd::kLanes ? to - k : Simd::kLanes;
        Simd::Float z[kMaxGemvRows];
        uint32_t mask = 0;
        for (size_t row = 0; row < p.m; ++row) mask |= keep_mask(p, row, k, lanes, &z[row]);
        Simd::store(reinterpret_cast<int32_t*>(kept.index + begin + count), Simd::compress(mask, Simd::iota(static_cast<int32_t>(k))));
        for (size_t row = 0; row < p.m; ++row) Simd::store(kept.value + row * kept.capacity + begin + count, Simd::compress(mask, z[row]));
        count += static_cast<size_t>(__builtin_popcount(mask));
    }
    return count;
}

inline void compact(const CompactParams& p) noexcept {
    KeptChannels& kept = *p.kept;
    size_t slot = 0;
    for (size_t g = 0; g < kept.groups; ++g) {
        const size_t begin = slot, count = compact_group(p, g, begin), padded = (count + kQuad - 1) / kQuad * kQuad;
        kept.group_begin[g] = static_cast<uint32_t>(begin);
        for (size_t i = count; i < padded; ++i) kept.index[begin + i] = kept.index[begin + count - 1];
        for (size_t row = 0; row < p.m; ++row) {
            float* value = kept.value + row * kept.capacity + begin;
            const size_t of = row * kept.groups + g;
            Simd::store(value + count, Simd::zero_float());  // pads, and the rest of the last register
            Simd::Float total = Simd::zero_float();
            for (size_t i = 0; i < count; i += Simd::kLanes) total = Simd::add(total, Simd::load(value + i));
            kept.value_sum[of] = Simd::sum_of(total);
            if (kept.quantized) quantize_group(value, padded, kept.quantized + row * kept.capacity + begin, kept.scale + of, kept.sum + of);
        }
        slot = begin + padded;
    }
    kept.group_begin[kept.groups] = static_cast<uint32_t>(slot);
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
