// Dense product of few rows, bound by the order in which the weight is read (docs/performance.md): nibbles with a scale for each group of
// input channels, and, by gemm_few_bytes.hpp, bytes and planes with one for each output channel. Over Simd, gemm_few_block.hpp,
// gemm_few_micro.hpp and gemm.hpp.
//
// Of a strip of columns a block of some input channels lies in L2, as packed. 128 columns of it at a time are interleaved into a tile in
// L1, nibbles two a byte, and multiplied with all rows of x; sums of one activation group stay in registers. Meanwhile the next block of
// the strip comes into L2, line by line in the order of memory.
//   tile: [4 kParts streams][quad of input channels][register]; stream 4 part + j holds columns 16 j + 8 part ... in low nibbles, and those
//   kColumnBlock on in high ones. A last block of 64 columns is a tile of single values.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// Of a block of so many activation groups, for any kind of tile.
inline size_t few_scratch_bytes(size_t m, size_t groups, size_t group_size) noexcept {
    const size_t channels = groups * round_up(group_size, kQuad), fine = groups * ceil_div(group_size, kFineGroup);
    return tile_bytes(channels) + groups * kFewColumns * 2 * sizeof(float) + round_up(m * channels, 64) +
           m * (fine + 2 * groups) * sizeof(float);
}

// Columns [n, n + 128) of a block, or the last 64, to its tile; returns how many bytes apart streams are.
template <TileKind Kind>
inline size_t interleave_tile(const FewRowsParams& p, const FewBlock& block, size_t n) {
    const size_t stream_bytes = stream_bytes_of(*p.q, block, 1);
    uint8_t* out = block.tile;
    for (size_t g = block.group; g < block.group + block.groups; ++g)
        for_quads(p, g, [&](const uint8_t* const* rows) {
            for (size_t part = 0; part < Simd::kParts; ++part) {
                Simd::Int bytes[kQuad], quad[kQuad];
                for (size_t i = 0; i < kQuad; ++i) {
                    const uint8_t* row = rows[i] + U4::byte_offset(n);
                    bytes[i] = Kind == TileKind::single ? Simd::last_nibbles(row, part) : Simd::load(row + part * Simd::kBytes);
                }
                Simd::interleave(bytes, quad);
                for (size_t j = 0; j < kQuad; ++j) Simd::store(out + (4 * part + j) * stream_bytes, quad[j]);
            }
            out += Simd::kBytes;
        });
    return stream_bytes;
}

template <TileKind Kind>
inline void multiply_tile(const FewRowsParams& p, const FewBlock& block, const EvenRows& parts, size_t n, LinesAhead& ahead) {
    const QuantizeRowsParams& q = *p.q;
    const size_t columns = Kind == TileKind::single ? kColumnBlock : kFewColumns;
    for (size_t g = 0; g < block.groups; ++g)
        expand_group<U4>(*p.weight, (block.group + g) * q.group_size, n, columns, block.scale + g * kFewColumns,
                         block.zero_point + g * kFewColumns);
    const size_t stream_bytes = interleave_tile<Kind>(p, block, n);
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
                a.ahead = ahead.take(a.quads, ceil_div(a.quads, parts.parts), &a.ahead_step);
                if (!a.ahead) a.ahead = a.tile;
                kMicroFew<Kind>[rows - 1](a);
                a.tile += a.quads * Simd::kBytes;
                a.x += a.quads * rows * kQuad;
            }
        }
    }
}

template <>
struct FewTile<U4> {
    using Format = U4;
    static constexpr size_t kMr = kMrFew, kBesideAhead = 1;
    static void prepare(const FewRowsParams&, const FewBlock&, const EvenRows&) {}
    static void multiply(const FewRowsParams& p, const FewBlock& block, const EvenRows& parts, size_t n, LinesAhead& ahead) {
        n + kColumnBlock == p.weight->n_padded ? multiply_tile<TileKind::single>(p, block, parts, n, ahead)
                                               : multiply_tile<TileKind::nibbles>(p, block, parts, n, ahead);
    }
};

template <class Tile>
inline void gemm_few(const FewRowsParams& p) noexcept {
    using Format = typename Tile::Format;
    const PackedWeight& w = *p.weight;
    const QuantizeRowsParams& q = *p.q;
    const size_t step = p.block_groups;
    const EvenRows parts(q.m, Tile::kMr);
    FewBlock block(p);
    const auto lines = [&](size_t group, size_t n_from, size_t n_to) {
        if (n_from == n_to) return LinesAhead();
        const size_t from = group * q.group_size, to = at_most(at_most(group + step, p.group_to) * q.group_size, w.k);
        const size_t end = n_to == w.n_padded ? w.row_bytes : Format::byte_offset(n_to);
        return LinesAhead(w, Format::kTwoPlanes ? 2 : 1, from, to, Format::byte_offset(n_from), end, Tile::kBesideAhead);
    };
    if (!p.prefetched) lines(p.group_from, p.n_from, p.n_to).prefetch_all();
    for (block.group = p.group_from; block.group < p.group_to; block.group += step) {
        block.groups = at_most(step, p.group_to - block.group);
        order_x(q, block, parts);
        Tile::prepare(p, block, parts);
        const bool last = block.group + step >= p.group_to;
        LinesAhead ahead = last ? lines(p.group_from, p.next_from, p.next_to) : lines(block.group + step, p.n_from, p.n_to);
        for (size_t n = p.n_from; n < p.n_to; n += kFewColumns) Tile::multiply(p, block, parts, n, ahead);
        ahead.prefetch_all();  // where the strip behind is wider
    }
}

// Of gemm_few_wide.hpp.
template <class Format>
struct WideTile;

// Null where there is none.
template <class Format>
constexpr decltype(&gemm_few<FewTile<U4>>) few_kernel() {
    if constexpr (std::is_same_v<Format, U4> || (Format::kInteger && kFewRowsOfBytes.tall.most > 0))
        return &gemm_few<FewTile<Format>>;
    else
        return nullptr;
}
template <class Format>
constexpr decltype(&gemm_few<FewTile<U4>>) wide_kernel() {
    if constexpr (!std::is_same_v<Format, U4> && Format::kInteger && kFewRowsOfBytes.tall.most > 0)
        return &gemm_few<WideTile<Format>>;
    else
        return nullptr;
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
