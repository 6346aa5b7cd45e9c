// Which rows of x are pruned (docs/packing.md), and what the dense path multiplies then.
#pragma once
#include "execute.hpp"

namespace scap_ov {

// Floats between rows of sums that wait to be written: rows a power of two apart would share few sets of the caches.
constexpr size_t kStridePadding = 32;

struct Rows {
    size_t positions;
    bool any_pruned, all_pruned;
    explicit Rows(const SparseMatMulArgs& a) : positions(a.positions) {
        any_pruned = a.all_rows || a.m <= a.max_sparse_rows;
        all_pruned = any_pruned && (!a.all_rows || a.positions <= 1);
    }
    bool pruned(size_t m) const { return any_pruned && (all_pruned || m % positions != 0); }
};

// x [M, K] with pruned rows centred and masked, others as they are. Where `half` is given, it takes what is read by the high plane alone.
void mask_rows(const SparseMatMulArgs& a, const Rows& rows, const float* x, float* masked, float* half);

// Writes columns [n_from, n_to) of rows [m_from, m_to) to the outputs that hold them, base and compensation added to pruned rows.
// y[0] is column n_from of row m_from; it may be the output itself.
void write_outputs(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const float* y, size_t y_stride,
                   size_t m_from, size_t m_to, size_t n_from, size_t n_to);

}  // namespace scap_ov
