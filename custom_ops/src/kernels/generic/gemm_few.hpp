// Dense product of few rows with nibbles, bound by the order in which the weight is read (docs/performance.md). Over Simd,
// gemm_few_micro.hpp and gemm.hpp.
//
// Of a strip of columns a block of some input channels lies in L2, as packed. 128 columns of it at a time are interleaved into a tile in
// L1, two nibbles a byte, and multiplied with all rows of x; sums of one activation group stay in registers. Meanwhile the next block of
// the strip comes into L2, line by line in the order of memory.
//   tile: [4 kParts streams][quad of input channels][register]; stream 4 part + j holds columns 16 j + 8 part ... in low nibbles, and those
//   kColumnBlock on in high ones. A last block of 64 columns is a tile of single values.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kFewColumns = 2 * kColumnBlock;  // of a tile
constexpr size_t kStreams = 4 * Simd::kParts;

// The lines of rows [from, to) of the packed weight, columns [n_from, n_to), one after the other as they lie in memory.
class LinesAhead {
public:
    LinesAhead() = default;
    LinesAhead(const PackedWeight& w, size_t from, size_t to, size_t n_from, size_t n_to) {
        const size_t begin = U4::byte_offset(n_from), end = n_to == w.n_padded ? w.row_bytes : U4::byte_offset(n_to);
        row_ = w.data + from * w.row_bytes + begin;
        piece_ = end - begin;
        row_bytes_ = w.row_bytes;
        rows_ = to - from;
        if (piece_ == row_bytes_) {  // one stretch
            piece_ *= rows_;
            rows_ = 1;
        }
    }
    // The next lines for `count` prefetches, `times` a line: where they begin, and how many bytes apart. Null where none are left.
    const uint8_t* take(size_t count, size_t times, size_t* step) {
        *step = 0;
        if (rows_ == 0) return nullptr;
        const uint8_t* at = row_ + column_;
        const size_t bytes = at_most(ceil_div(count, times) * kLine, piece_ - column_);
        *step = ceil_div(bytes, count);
        column_ += bytes;
        if (column_ == piece_) {
            column_ = 0;
            row_ += row_bytes_;
            --rows_;
        }
        return at;
    }
    void prefetch_all() {
        size_t step;
        while (const uint8_t* at = take(1, 1, &step)) prefetch_line(at);
    }

private:
    static constexpr size_t kLine = 64;
    const uint8_t* row_ = nullptr;
    size_t piece_ = 0, row_bytes_ = 0, rows_ = 0, column_ = 0;
};

inline size_t few_scratch_bytes(size_t m, size_t groups, size_t group_size) noexcept {
    const size_t channels = groups * round_up(group_size, kQuad);
    return kStreams * (channels / kQuad + 1) * Simd::kBytes + groups * kFewColumns * 2 * sizeof(float) + round_up(m * channels, 64);
}

// A block of a strip: activation groups [group, group + groups).
struct FewBlock {
    size_t group, groups;
    int8_t* x;  // [parts of rows][groups][quads][rows][4]
    float *scale, *zero_point;
    uint8_t* tile;
};

// Input channels of activation group g, four at a time.
inline size_t quads_of(const QuantizeRowsParams& q, size_t g) {
    return ceil_div(at_most(q.group_size, q.k - g * q.group_size), kQuad);
}

// Columns [n, n + 128) of a block, or the last 64, to its tile; returns how many bytes apart streams are.
template <TileKind Kind>
inline size_t interleave_tile(const FewRowsParams& p, const FewBlock& block, size_t n) {
    const PackedWeight& w = *p.weight;
    size_t quads = 1;  // one more, so that streams are not a power of two apart
    for (size_t g = block.group; g < block.group + block.groups; ++g) quads += quads_of(*p.q, g);
    const size_t stream_bytes = quads * Simd::kBytes;
    uint8_t* out = block.tile;
    for (size_t g = block.group; g < block.group + block.groups; ++g) {
        const size_t from = g * p.q->group_size, last = at_most(from + p.q->group_size, w.k) - 1;
        for (size_t k = from; k <= last; k += kQuad, out += Simd::kBytes)
            for (size_t part = 0; part < Simd::kParts; ++part) {
                Simd::Int bytes[kQuad], quad[kQuad];
                for (size_t i = 0; i < kQuad; ++i) {  // past the end of a group the last row again: x is 0 there
                    const uint8_t* row = w.data + at_most(k + i, last) * w.row_bytes + U4::byte_offset(n);
                    bytes[i] = Kind == TileKind::single ? Simd::last_nibbles(row, part) : Simd::load(row + part * Simd::kBytes);
                }
                Simd::interleave(bytes, quad);
                for (size_t j = 0; j < kQuad; ++j) Simd::store(out + (4 * part + j) * stream_bytes, quad[j]);
            }
    }
    return stream_bytes;
}

template <TileKind Kind>
inline void multiply_tile(const FewRowsParams& p, const FewBlock& block, size_t n, LinesAhead& ahead) {
    const QuantizeRowsParams& q = *p.q;
    const size_t columns = Kind == TileKind::single ? kColumnBlock : kFewColumns;
    for (size_t g = 0; g < block.groups; ++g)
        expand_group<U4>(*p.weight, (block.group + g) * q.group_size, n, columns, block.scale + g * kFewColumns,
                         block.zero_point + g * kFewColumns);
    const size_t stream_bytes = interleave_tile<Kind>(p, block, n);
    const EvenRows parts(q.m, kMrFew);
    MicroFew a;
    a.x_groups = ceil_div(q.k, q.group_size);
    a.y_stride = p.y_stride;
    for (size_t stream = 0; stream < kStreams; ++stream) {
        const size_t c = 16 * (stream % 4) + 8 * (stream / 4);
        a.x = block.x;
        for (size_t part = 0, m = 0; part < parts.parts; m += parts.count(part++)) {
            const size_t rows = parts.count(part);
            a.tile = block.tile + stream * stream_bytes;
            a.y = p.y + m * p.y_stride + n - p.n_from + c;
            for (size_t g = 0; g < block.groups; ++g) {
                const size_t of = m * a.x_groups + block.group + g;
                a.quads = quads_of(q, block.group + g);
                a.scale = block.scale + g * kFewColumns + c;
                a.zero_point = block.zero_point + g * kFewColumns + c;
                a.x_scale = q.scale + of;
                a.x_sums = q.sums + 2 * of;
                a.accumulate = block.group + g != p.group_from;
                a.ahead = ahead.take(a.quads, parts.parts, &a.ahead_step);
                if (!a.ahead) a.ahead = a.tile;
                kMicroFew<Kind>[rows - 1](a);
                a.tile += a.quads * Simd::kBytes;
                a.x += a.quads * rows * kQuad;
            }
        }
    }
}

// x of a block, in the order in which micro-kernels read it.
inline void order_x(const QuantizeRowsParams& q, const FewBlock& block) {
    const EvenRows parts(q.m, kMrFew);
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

inline void gemm_few(const FewRowsParams& p) noexcept {
    const PackedWeight& w = *p.weight;
    const QuantizeRowsParams& q = *p.q;
    const size_t step = p.block_groups;
    FewBlock block{};
    block.scale = static_cast<float*>(p.scratch);
    block.zero_point = block.scale + step * kFewColumns;
    block.tile = reinterpret_cast<uint8_t*>(block.zero_point + step * kFewColumns);
    block.x = reinterpret_cast<int8_t*>(block.tile + kStreams * (step * round_up(q.group_size, kQuad) / kQuad + 1) * Simd::kBytes);
    const auto lines = [&](size_t group, size_t n_from, size_t n_to) {
        const size_t to = at_most(group + step, p.group_to) * q.group_size;
        return n_from < n_to ? LinesAhead(w, group * q.group_size, at_most(to, w.k), n_from, n_to) : LinesAhead();
    };
    if (!p.prefetched) lines(p.group_from, p.n_from, p.n_to).prefetch_all();
    for (block.group = p.group_from; block.group < p.group_to; block.group += step) {
        block.groups = at_most(step, p.group_to - block.group);
        order_x(q, block);
        const bool last = block.group + step >= p.group_to;
        LinesAhead ahead = last ? lines(p.group_from, p.next_from, p.next_to) : lines(block.group + step, p.n_from, p.n_to);
        for (size_t n = p.n_from; n < p.n_to; n += kFewColumns)
            n + kColumnBlock == w.n_padded ? multiply_tile<TileKind::single>(p, block, n, ahead)
                                           : multiply_tile<TileKind::nibbles>(p, block, n, ahead);
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
