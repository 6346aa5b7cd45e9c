// A block of input channels of gemm_few.hpp: how it comes into L2, and x of it. Over Simd and gemm.hpp.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kFewColumns = 2 * kColumnBlock;  // of a tile
constexpr size_t kBeside = 8;                     // rows of the weight that are prefetched side by side
constexpr size_t kStreams = 4 * Simd::kParts;

// The lines of bytes [begin, end) of rows [from, to) of each plane. Whole rows are one stretch, and its lines follow each other. Of pieces
// of rows a line of each of `beside` rows is taken in turn: they lie in pages of their own, and a prefetcher follows each of them.
class LinesAhead {
public:
    LinesAhead() = default;
    LinesAhead(const PackedWeight& w, size_t planes, size_t from, size_t to, size_t begin, size_t end, size_t beside) {
        row_ = w.data + from * w.row_bytes + begin;
        piece_ = end - begin;
        row_bytes_ = w.row_bytes;
        rows_ = to - from;
        beside_ = beside;
        if (piece_ == row_bytes_) {  // one stretch
            piece_ *= rows_;
            rows_ = beside_ = 1;
        }
        plane_ = w.k * w.row_bytes - rows_ * row_bytes_;
        planes_ = planes;
        rows_of_plane_ = rows_;
    }
    // The next `lines` lines, at most, for `count` prefetches: where they begin, and how many bytes apart. Null where none are left. Of
    // rows that are taken side by side as many lines as prefetches, at most.
    const uint8_t* take(size_t count, size_t lines, size_t* step) {
        *step = 0;
        if (rows_ == 0) return nullptr;
        const uint8_t* at = row_ + column_ + beside_at_ * row_bytes_;
        if (beside_ > 1) {
            *step = row_bytes_;
            advance(kLine, count);
        } else {
            const size_t bytes = at_most(lines * kLine, piece_ - column_);
            *step = ceil_div(bytes, count);
            advance(bytes, 1);
        }
        return at;
    }
    void prefetch_all() {
        size_t step;
        while (const uint8_t* at = take(1, 1, &step)) prefetch_line(at);
    }

private:
    void advance(size_t bytes, size_t rows) {
        const size_t beside = at_most(beside_, rows_);
        beside_at_ += rows;
        if (beside_at_ < beside) return;
        beside_at_ = 0;
        column_ += bytes;
        if (column_ < piece_) return;
        column_ = 0;
        row_ += beside * row_bytes_;
        rows_ -= beside;
        if (rows_ == 0 && --planes_) {
            row_ += plane_;
            rows_ = rows_of_plane_;
        }
    }

    static constexpr size_t kLine = 64;
    const uint8_t* row_ = nullptr;
    size_t piece_ = 0, row_bytes_ = 0, rows_ = 0, column_ = 0;
    size_t beside_ = 1, beside_at_ = 0;
    size_t plane_ = 0, planes_ = 0, rows_of_plane_ = 0;  // bytes from the end of one plane's rows to the next plane's, those left
};

// A block of a strip: activation groups [group, group + groups).
struct FewBlock {
    size_t group, groups;
    int8_t* x;                // [parts of rows][groups][quads][rows][4]
    float *x_scale, *x_sums;  // bytes: [parts of rows][fine groups][rows] and [parts of rows][groups][rows][2]
    float *scale, *zero_point;
    uint8_t* tile;

    explicit FewBlock(const FewRowsParams& p);  // in p.scratch
};

inline size_t tile_bytes(size_t channels) {
    return kStreams * (channels / kQuad + 1) * 2 * Simd::kBytes;
}

inline FewBlock::FewBlock(const FewRowsParams& p) : group(p.group_from), groups(p.block_groups) {
    const QuantizeRowsParams& q = *p.q;
    const size_t channels = groups * round_up(q.group_size, kQuad);
    scale = static_cast<float*>(p.scratch);
    zero_point = scale + groups * kFewColumns;
    tile = reinterpret_cast<uint8_t*>(zero_point + groups * kFewColumns);
    x = reinterpret_cast<int8_t*>(tile + tile_bytes(channels));
    x_scale = reinterpret_cast<float*>(x + round_up(q.m * channels, 64));
    x_sums = x_scale + q.m * groups * q.fine();
}

// Input channels of activation group g, four at a time.
inline size_t quads_of(const QuantizeRowsParams& q, size_t g) {
    return ceil_div(at_most(q.group_size, q.k - g * q.group_size), kQuad);
}

inline size_t quads_of(const QuantizeRowsParams& q, const FewBlock& block) {
    size_t quads = 0;
    for (size_t g = block.group; g < block.group + block.groups; ++g) quads += quads_of(q, g);
    return quads;
}

// Bytes from one stream of a tile to the next; one quad more than there are, so that streams are not a power of two apart.
inline size_t stream_bytes_of(const QuantizeRowsParams& q, const FewBlock& block, size_t registers) {
    return (quads_of(q, block) + 1) * registers * Simd::kBytes;
}

// body(rows) for every four input channels of activation group g, whose rows of the weight are given. Past the end of a group they are the
// last one again: x is 0 there.
template <class Body>
inline void for_quads(const FewRowsParams& p, size_t g, const Body& body) {
    const PackedWeight& w = *p.weight;
    const size_t from = g * p.q->group_size, last = at_most(from + p.q->group_size, w.k) - 1;
    for (size_t k = from; k <= last; k += kQuad) {
        const uint8_t* rows[kQuad];
        for (size_t i = 0; i < kQuad; ++i) rows[i] = w.data + at_most(k + i, last) * w.row_bytes;
        body(rows);
    }
}

// x of a block, in the order in which micro-kernels of so many rows read it.
inline void order_x(const QuantizeRowsParams& q, const FewBlock& block, const EvenRows& parts) {
    const size_t stride = round_up(q.group_size, kQuad);
    int8_t* out = block.x;
    for (size_t part = 0, m = 0; part < parts.parts; m += parts.count(part++)) {
        const size_t rows = parts.count(part);
        for (size_t g = block.group; g < block.group + block.groups; ++g) {
            const size_t quads = quads_of(q, g);
            for (size_t r = 0; r < rows; ++r) {
                const int8_t* from = q.quantized + (m + r) * q.k_padded + g * stride;
                for (size_t i = 0; i < quads; ++i) std::memcpy(out + (i * rows + r) * kQuad, from + i * kQuad, kQuad);
            }
            out += quads * rows * kQuad;
        }
    }
}

// How blocks of a format are multiplied: at most kMr rows of x at a time; prepare(p, block, parts) does what is left to do for x of a
// block, multiply(p, block, parts, n, ahead) takes columns [n, n + 128), or the last 64.
template <class Format>
struct FewTile;

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
