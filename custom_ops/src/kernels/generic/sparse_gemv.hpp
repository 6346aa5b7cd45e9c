// Sparse GEMV over the Simd vocabulary of <isa>/simd.hpp, which is included before, inside the target region, with SCAP_OV_ISA set.
//
// Kept channels are taken eight (then four) at a time and swept over a strip of columns of their rows, while those that come next
// are prefetched into L2; long stretches of memory are what the prefetchers want, short random ones are slower than dense.
// Per activation group the products of M rows gather in scratch (int32, or float without quantisation), in L1 as long as a strip is,
// and are then scaled into y. Then comes the next strip of the same rows, then the next group.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// Columns [from, to) of the slots [begin, end) of a list, of which those from `coarse` on count kCoarse times. What is swept next, and so
// prefetched, are the slots up to `until`, in the same columns, and then those from `next` on, `next_bytes` from the strip's first byte.
struct Strip {
    size_t from, to;
    size_t begin, coarse, end;
    size_t until, next;
    ptrdiff_t next_bytes;
    size_t columns() const { return to - from; }
};

// Where sums of many rows of x, or of two planes, leave a strip narrow, its nibbles are short pieces of rows that lie pages apart. There it
// is wider, past L1 if need be (AVX-512, rows of 8 KB): int4 1.09 times as fast at six rows and 1.21 at eight, planes 1.2 times at three
// and four and 1.4 to 1.5 at eight; of bytes, and of rows of 1 KB, 0.93 to 1.07 times.
constexpr size_t kLongRow = 4096;         // bytes
constexpr size_t kLongRowSums = 8192;     // int32, two thirds of L1
constexpr size_t kLongRowColumns = 1024;  // at least

// Columns of a strip of `lists` lists whose sums lie side by side.
template <class Format>
inline size_t strip_columns(const SparseGemvParams& p, size_t lists) {
    const size_t rows_of_sums = p.m * lists;
    const bool long_rows = std::is_same<Format, U4>::value && p.weight->row_bytes >= kLongRow;
    const size_t sums = long_rows && rows_of_sums > 4 && kLongRowSums > Simd::kStripColumns ? kLongRowSums : Simd::kStripColumns;
    const size_t columns = sums / rows_of_sums / Format::kTileColumns * Format::kTileColumns;
    return long_rows && columns < kLongRowColumns ? kLongRowColumns : columns;
}

// Calls body(strip) for the strips of the columns of lists [list, list + Lists), whose sums lie side by side.
template <class Format, size_t Lists, class Body>
inline void for_strips(const SparseGemvParams& p, size_t list, const Body& body) {
    const size_t width = strip_columns<Format>(p, Lists);
    const size_t begin = p.kept->group_begin[list], end = p.kept->group_begin[list + Lists];
    Strip strip{p.n_from, p.n_from, begin, p.kept->coarse_begin[list], end, end, 0, 0};
    while (strip.to < p.n_to) {
        strip.from = strip.to;
        strip.to = strip.from + width < p.n_to ? strip.from + width : p.n_to;
        const bool last = strip.to == p.n_to;
        strip.next = last ? strip.end : strip.begin;
        strip.next_bytes = static_cast<ptrdiff_t>(Format::byte_offset(last ? p.n_from : strip.to)) -
                           static_cast<ptrdiff_t>(Format::byte_offset(strip.from));
        body(strip);
    }
}

constexpr size_t kLineBytes = 64;

template <class Format>
inline size_t lines_of(const Strip& strip) {
    return ceil_div(strip.columns(), Format::kTileColumns);
}

// Rows of nibbles of at most 24 lines.
template <class Format>
inline bool has_short_rows(const Strip& strip) {
    return std::is_same<Format, U4>::value && lines_of<Format>(strip) <= 24;
}

// Rows of `Quads` quads of kept slots from `slot` on, at a strip's first byte, and those to prefetch, `Lines` lines each.
//
// Short rows of nibbles are prefetched one whole before the next: the prefetcher of L2 follows lines that ascend in a page, and has more
// misses under way than a core may wait for. 768 bytes: 1.03 to 1.08 times as fast so; 8 KB: 0.92. Of bytes, where more is read for the
// same arithmetic, it makes no odds.
template <class Format, int Quads>
class RowSet {
public:
    const uint8_t* row[Quads * 4];
    RowSet(const SparseGemvParams& p, const Strip& strip, size_t slot)
        : lines_(lines_of<Format>(strip)), in_order_(has_short_rows<Format>(strip)) {
        const PackedWeight& w = *p.weight;
        const size_t slots = p.kept->group_begin[p.kept->all_lists()], at = Format::byte_offset(strip.from);
        for (int r = 0; r < Quads * 4; ++r) {
            size_t ahead = slot + r + Simd::kPrefetchRows;
            const bool behind = ahead >= strip.until;
            if (behind) ahead += strip.next - strip.until;
            row[r] = w.data + p.kept->index[slot + r] * w.row_bytes + at;
            next_[r] = w.data + p.kept->index[ahead < slots ? ahead : slots - 1] * w.row_bytes + at + (behind ? strip.next_bytes : 0);
        }
    }
    // A line for each of the rows; to be called as often as a row has lines.
    void prefetch() {
        for (int r = 0; r < Quads * 4; ++r) {
            const uint8_t* line = in_order_ ? next_[row_] + column_ : next_[r] + column_;
            _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1);
            if (in_order_ && (column_ += kLineBytes) == lines_ * kLineBytes) {
                column_ = 0;
                ++row_;
            }
        }
        if (!in_order_) column_ += kLineBytes;
    }

private:
    const uint8_t* next_[Quads * 4];
    size_t lines_, column_ = 0, row_ = 0;
    bool in_order_;
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
    return m * (columns < Simd::kStripColumns ? columns : Simd::kStripColumns) * sizeof(int32_t);
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
