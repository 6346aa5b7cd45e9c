// Sparse GEMV of bytes in two planes of nibbles, over the sweeps of sparse_gemv_qd8.hpp and sparse_gemv_f32.hpp, included before.
//
// Of an activation group the rows of the high plane are swept, then those of the low plane; their sums H and L lie side by side in
// scratch, and one pass makes of them, with X the sum of x over all kept channels and Z over those that are half read,
//   Σ x q = step * (H + Z / 2) + L + offset * X - Z / 2        which is Σ x (offset + step h + r), r the middle (step - 1) / 2 where half
//   read.
// Both planes lie in one constant, so a row is a row to the sweep, and its prefetch runs on from one plane into the other.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// What of a group does not depend on the column. `X` and `Z` as above, in units of x_scale.
struct PlaneSums {
    float x_sum, half, x_scale;
};

// Calls body(g, strip) for the groups and strips of a task; strip holds the slots of both lists.
template <class Body>
inline void for_plane_strips(const SparseGemvParams& p, const Body& body) {
    const KeptChannels& kept = *p.kept;
    for (size_t g = p.group_from; g < p.group_to; ++g)
        if (kept.group_begin[2 * g] != kept.group_begin[2 * g + 1])
            for_strips<U4, 2>(p, 2 * g, [&](const Strip& strip) { body(g, strip); });
}

// The part of a strip that belongs to one plane.
inline Strip plane_of(const SparseGemvParams& p, const Strip& both, size_t g, bool low) {
    Strip strip = both;
    const size_t middle = p.kept->group_begin[2 * g + 1];
    (low ? strip.begin : strip.end) = middle;
    strip.coarse = p.kept->coarse_begin[2 * g + (low ? 1 : 0)];
    return strip;
}

// step * (H + Z / 2) + L + (offset - zero point) * X - Z / 2, for the columns of a register. Zero points of one scale per output channel
// are taken off at the end of the task.
template <bool Scaled, bool ZeroPoint>
inline Simd::Float join_planes(const PackedWeight& w, const PlaneSums& sums, size_t step_at, size_t group_at, Simd::Float high,
                               Simd::Float low) {
    const Simd::Float step = Simd::to_float(Simd::load_u8(w.step + step_at)), offset = Simd::to_float(Simd::load_u8(w.offset + step_at));
    const Simd::Float x_sum = Simd::broadcast(sums.x_sum);
    const float implicit = ZeroPoint ? 0.0f : static_cast<float>(w.implicit_zero_point);
    Simd::Float value = Simd::add(low, Simd::broadcast(-sums.half / 2 - implicit * sums.x_sum));
    value = Simd::multiply_add(step, Simd::add(high, Simd::broadcast(sums.half / 2)), value);
    value = Simd::multiply_add(offset, x_sum, value);
    if (Scaled && ZeroPoint) value = Simd::negative_multiply_add(Simd::to_float(Simd::load_u8(w.zero_point + group_at)), x_sum, value);
    const Simd::Float x_scale = Simd::broadcast(sums.x_scale);
    return Simd::multiply(value, Scaled ? Simd::multiply(Simd::load_scale(w, group_at), x_scale) : x_scale);
}

inline size_t step_row(const SparseGemvParams& p, size_t g) {
    return g * p.kept->group_size / p.weight->step_group * p.weight->n_padded;
}
inline size_t scale_row(const SparseGemvParams& p, size_t g) {
    return g * p.kept->group_size / p.weight->group_size * p.weight->n_padded;
}

// One row of x of one group and strip into y; `high` and `low` are its sums of int32.
template <bool Scaled, bool ZeroPoint>
inline void join_row_qd8(const SparseGemvParams& p, const Strip& strip, size_t g, const int32_t* high, const int32_t* low, size_t row,
                         bool first) {
    const KeptChannels& kept = *p.kept;
    const size_t list = row * kept.all_lists() + 2 * g, step_at = step_row(p, g) + strip.from, group_at = scale_row(p, g) + strip.from;
    const size_t columns = strip.columns();
    const PlaneSums sums{static_cast<float>(kept.sum[list]), static_cast<float>(kept.sum[list] - kept.sum[list + 1]),
                         kept.scale[row * kept.groups + g]};
    float* y = p.y + row * p.y_stride + strip.from;
    const auto add = [&](size_t c, Simd::Int of_high, Simd::Int of_low) {
        const Simd::Float value =
            join_planes<Scaled, ZeroPoint>(*p.weight, sums, step_at + c, group_at + c, Simd::to_float(of_high), Simd::to_float(of_low));
        Simd::store(y + c, first ? value : Simd::add(value, Simd::load(y + c)));
    };
    high += row * Simd::kLanes;
    low += row * Simd::kLanes;
    size_t c = 0;
    for (; c + U4::kTileColumns <= columns; c += U4::kTileColumns)
        for (size_t lane = 0; lane < kColumnBlock; lane += Simd::kLanes) {
            const size_t even = (c + lane) * p.m, odd = (c + lane + kColumnBlock) * p.m;
            const Simd::Int high_odd = Simd::load(high + odd), low_odd = Simd::load(low + odd);
            add(c + lane, Simd::of_low_nibbles(Simd::load(high + even), high_odd), Simd::of_low_nibbles(Simd::load(low + even), low_odd));
            add(c + lane + kColumnBlock, Simd::of_high_nibbles(high_odd), Simd::of_high_nibbles(low_odd));
        }
    for (; c < columns; c += Simd::kLanes) add(c, Simd::load(high + c * p.m), Simd::load(low + c * p.m));
}

template <bool Scaled, bool ZeroPoint>
inline void join_group_qd8(const SparseGemvParams& p, const Strip& strip, size_t g, const int32_t* high, const int32_t* low, bool first) {
    for (size_t row = 0; row < p.m; ++row) join_row_qd8<Scaled, ZeroPoint>(p, strip, g, high, low, row, first);
}

// y = (y - zero point * Σ x) * scale, where one scale serves all of K.
inline void scale_plane_columns(const SparseGemvParams& p) {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    for (size_t row = 0; row < p.m; ++row) {
        float x_sum = 0.0f;
        for (size_t g = p.group_from; g < p.group_to; ++g) {
            const size_t list = row * kept.all_lists() + 2 * g;
            x_sum += kept.quantized ? kept.scale[row * kept.groups + g] * static_cast<float>(kept.sum[list]) : kept.value_sum[list];
        }
        float* y = p.y + row * p.y_stride;
        for (size_t n = p.n_from; n < p.n_to; n += Simd::kLanes) {
            Simd::Float value = Simd::load(y + n);
            if (w.zero_point)
                value = Simd::negative_multiply_add(Simd::to_float(Simd::load_u8(w.zero_point + n)), Simd::broadcast(x_sum), value);
            Simd::store(y + n, Simd::multiply(value, Simd::load_scale(w, n)));
        }
    }
}

inline void sparse_gemv_planes_qd8(const SparseGemvParams& p) noexcept {
    const bool scaled = !scaled_at_the_end(*p.weight), zero_point = p.weight->zero_point != nullptr;
    const auto join = scaled ? (zero_point ? join_group_qd8<true, true> : join_group_qd8<true, false>)
                             : (zero_point ? join_group_qd8<false, true> : join_group_qd8<false, false>);
    int32_t* dot = static_cast<int32_t*>(p.scratch);
    size_t group = SIZE_MAX;
    bool first = true, any = false;
    for_plane_strips(p, [&](size_t g, const Strip& strip) {
        first = !any || group == g ? first : false;
        group = g;
        any = true;
        int32_t* low_dot = dot + p.m * strip.columns();
        const Strip high = plane_of(p, strip, g, false), low = plane_of(p, strip, g, true);
        sweep_strip<U4>(p, high, dot);
        if (low.begin == low.end)
            for (size_t i = 0; i < p.m * strip.columns(); i += Simd::kLanes) Simd::store(low_dot + i, Simd::zero());
        else
            sweep_strip<U4>(p, low, low_dot);
        join(p, strip, g, dot, low_dot, first);
    });
    if (!any)
        clear_y(p);
    else if (!scaled)
        scale_plane_columns(p);
}

// Float activations: sums gather in the order of positions, of h - 8 and r - 8, and are 0 again behind.
template <bool Scaled, bool ZeroPoint>
inline void join_group_f32(const SparseGemvParams& p, const Strip& strip, size_t g, float* high, float* low) {
    const KeptChannels& kept = *p.kept;
    const size_t columns = strip.columns(), step_at = step_row(p, g) + strip.from, group_at = scale_row(p, g) + strip.from;
    for (size_t row = 0; row < p.m; ++row, high += columns, low += columns) {
        float* y = p.y + row * p.y_stride + strip.from;
        const size_t list = row * kept.all_lists() + 2 * g;
        const float x_sum = kept.value_sum[list], whole = kept.value_sum[list + 1];
        const PlaneSums sums{x_sum, x_sum - whole, 1.0f};
        const Simd::Float high_middle = Simd::broadcast(U4::kMidpoint * x_sum), low_middle = Simd::broadcast(U4::kMidpoint * whole);
        for (size_t block = 0; block < columns; block += kColumnBlock)
            for (size_t i = 0; i < kColumnBlock / Simd::kLanes; ++i) {
                const size_t j = i / Simd::kParts, part = i % Simd::kParts, c = block + 16 * j + 8 * part;
                const Simd::Float of_high = Simd::add(Simd::load_channels(high + block, j, part), high_middle);
                const Simd::Float of_low = Simd::add(Simd::load_channels(low + block, j, part), low_middle);
                const Simd::Float value = join_planes<Scaled, ZeroPoint>(*p.weight, sums, step_at + c, group_at + c, of_high, of_low);
                Simd::store(y + c, Simd::add(value, Simd::load(y + c)));
            }
        for (size_t c = 0; c < columns; c += Simd::kLanes) {
            Simd::store(high + c, Simd::zero_float());
            Simd::store(low + c, Simd::zero_float());
        }
    }
}

inline void sparse_gemv_planes_f32(const SparseGemvParams& p) noexcept {
    const bool scaled = !scaled_at_the_end(*p.weight), zero_point = p.weight->zero_point != nullptr;
    const auto join = scaled ? (zero_point ? join_group_f32<true, true> : join_group_f32<true, false>)
                             : (zero_point ? join_group_f32<false, true> : join_group_f32<false, false>);
    float* sum = static_cast<float*>(p.scratch);
    clear_y(p);
    const size_t sums = 2 * gemv_scratch_bytes(p.m, p.n_to - p.n_from) / sizeof(float);
    for (size_t i = 0; i < sums; i += Simd::kLanes) Simd::store(sum + i, Simd::zero_float());
    for_plane_strips(p, [&](size_t g, const Strip& strip) {
        float* low_sum = sum + p.m * strip.columns();
        sweep_strip_f32<U4>(p, plane_of(p, strip, g, false), sum);
        sweep_strip_f32<U4>(p, plane_of(p, strip, g, true), low_sum);
        join(p, strip, g, sum, low_sum);
    });
    if (!scaled) scale_plane_columns(p);
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
