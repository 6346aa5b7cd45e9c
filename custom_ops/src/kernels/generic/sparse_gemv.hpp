// Sparse GEMV over the Simd vocabulary of <isa>/simd.hpp, which is included before, inside the target region, with SCAP_OV_ISA set.
//
// Kept channels are taken eight (then four) at a time and swept over the task's whole piece of their rows, while the next ones
// are prefetched into L2; long stretches of memory are what the prefetchers want, short random ones are slower than dense.
// Per activation group the products of M rows gather in scratch (int32, or float without quantisation), in L1 for M = 1, and
// are then scaled into y.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// Rows of `Quads` quads of kept slots from `slot` on, at column byte offset `at`, and those to prefetch.
template <int Quads>
struct RowSet {
    const uint8_t* row[Quads * 4];
    const uint8_t* next[Quads * 4];
    RowSet(const SparseGemvParams& p, size_t slot, size_t end, size_t at) {
        const PackedWeight& w = *p.weight;
        for (int r = 0; r < Quads * 4; ++r) {
            const size_t ahead = slot + r + p.prefetch_rows;
            row[r] = w.data + p.kept->index[slot + r] * w.row_bytes + at;
            next[r] = w.data + p.kept->index[ahead < end ? ahead : end - 1] * w.row_bytes + at;
        }
    }
    void prefetch(size_t at) const {
        for (int r = 0; r < Quads * 4; ++r) _mm_prefetch(reinterpret_cast<const char*>(next[r] + at), _MM_HINT_T1);
    }
};

inline void clear_y(const SparseGemvParams& p) {
    for (size_t row = 0; row < p.m; ++row)
        for (size_t n = p.n_from; n < p.n_to; n += Simd::kLanes) Simd::store(p.y + row * p.y_stride + n, Simd::zero_float());
}

// y += other; the sums of two tasks.
inline void add(const float* other, size_t count, float* y) noexcept {
    for (size_t i = 0; i < count; i += Simd::kLanes) Simd::store(y + i, Simd::add(Simd::load(y + i), Simd::load(other + i)));
}

inline size_t gemv_scratch_bytes(size_t m, size_t columns) noexcept {
    return m * columns * sizeof(int32_t);
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
