// Row policy, masking before the dense product, and outputs.
#include "rows.hpp"

#include <algorithm>
#include <cmath>

#include "formats/format.hpp"
#include "parallel.hpp"

namespace scap_ov {
namespace {

constexpr size_t kSomeColumns = 256;  // that are rounded to f16 at a time

// !(|z| <= threshold) keeps NaN. Branches on the shape of centre and threshold, not on values, so that the loop is vectorised.
template <bool CenterPerChannel, bool ThresholdPerChannel, bool Ramp>
void mask_row(const SparseMatMulArgs& a, const float* x, float* masked) {
    for (size_t k = 0; k < a.k; ++k) {
        const float z = x[k] - a.center[CenterPerChannel ? k : 0], threshold = a.threshold[ThresholdPerChannel ? k : 0];
        const float excess = threshold - (std::fabs(z) - threshold) * a.steepness;
        const float moved = Ramp && excess > 0.0f ? z - std::copysign(excess, z) : z;
        masked[k] = std::fabs(z) <= threshold ? 0.0f : moved;
    }
}

template <bool Ramp>
auto mask_function(const SparseMatMulArgs& a) {
    return a.center_per_channel ? (a.threshold_per_channel ? mask_row<true, true, Ramp> : mask_row<true, false, Ramp>)
                                : (a.threshold_per_channel ? mask_row<false, true, Ramp> : mask_row<false, false, Ramp>);
}

// Moves what is read by the high plane alone from `masked` to `half`.
void part_row(const SparseMatMulArgs& a, const float* x, float* masked, float* half) {
    for (size_t k = 0; k < a.k; ++k) {
        const float z = x[k] - a.center[a.center_per_channel ? k : 0];
        const bool halved = std::fabs(z) <= a.whole_threshold[a.whole_threshold_per_channel ? k : 0];
        half[k] = halved ? masked[k] : 0.0f;
        masked[k] = halved ? 0.0f : masked[k];
    }
}

void add_row(const float* values, size_t count, float* y) {
    for (size_t n = 0; n < count; ++n) y[n] += values[n];
}

}  // namespace

void mask_rows(const SparseMatMulArgs& a, const Rows& rows, const float* x, float* masked, float* half) {
    const size_t step = 8;
    const auto mask = a.steepness > 0.0f ? mask_function<true>(a) : mask_function<false>(a);
    parallel_for(ceil_div(a.m, step), [&](size_t block) {
        for (size_t m = block * step; m < std::min(a.m, (block + 1) * step); ++m) {
            const float* row = x + m * a.k;
            if (rows.pruned(m)) {
                mask(a, row, masked + m * a.k);
                if (half) part_row(a, row, masked + m * a.k, half + m * a.k);
            } else {
                std::copy(row, row + a.k, masked + m * a.k);
                if (half) std::fill(half + m * a.k, half + (m + 1) * a.k, 0.0f);
            }
        }
    });
}

void write_outputs(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const float* y, size_t y_stride,
                   size_t m_from, size_t m_to, size_t n_from, size_t n_to) {
    size_t begin = 0;
    for (size_t o = 0; o < a.output_count; begin += a.output_sizes[o], ++o) {
        const size_t from = std::max(begin, n_from), to = std::min(begin + a.output_sizes[o], n_to);
        for (size_t m = m_from; m < m_to && from < to; ++m) {
            const float* source = y + (m - m_from) * y_stride + (from - n_from);
            const bool pruned = rows.pruned(m);
            const float *base = pruned ? a.base : nullptr, *compensation = pruned ? a.compensation : nullptr;
            const size_t at = m * a.output_sizes[o] + (from - begin);
            if (a.x_is_f16) {
                uint16_t* out = static_cast<uint16_t*>(a.outputs[o]) + at;
                float some[kSomeColumns];
                for (size_t n = from; n < to; n += kSomeColumns) {
                    const size_t count = std::min(kSomeColumns, to - n);
                    std::copy(source + (n - from), source + (n - from) + count, some);
                    if (base) add_row(base + n, count, some);
                    if (compensation) add_row(compensation + n, count, some);
                    implementation.narrow(some, count, out + (n - from));
                }
                continue;
            }
            float* out = static_cast<float*>(a.outputs[o]) + at;
            if (out != source) std::copy(source, source + (to - from), out);
            if (base) add_row(base + from, to - from, out);
            if (compensation) add_row(compensation + from, to - from, out);
        }
    }
}

}  // namespace scap_ov
