// Blocks of gemm_few.hpp for bytes whose rows of the weight are long, of more rows of x than gemm_few_wide.hpp is for: of each row of a
// block whole pages of a strip are read, one row of eight beside the other, and interleaved into a tile of the whole strip in L2. Only then
// is it multiplied: while lines that were prefetched are on their way, loads from L2 wait for them. Over gemm_few_bytes.hpp.
//   tile of the strip: for every 128 columns a tile of gemm_few_bytes.hpp
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kPageQuads = 2;  // of input channels that are read side by side; of one, lines arrive at 0.8 of the speed

// Rows of the weight that are read side by side, and those that come behind them.
struct PageRows {
    const uint8_t *row[kPageQuads * kQuad], *next[kPageQuads * kQuad];
    // From input channel k on. Past `last` they are that one again: x is 0 there.
    PageRows(const PackedWeight& w, size_t k, size_t last) {
        for (size_t i = 0; i < kPageQuads * kQuad; ++i) {
            row[i] = w.data + at_most(k + i, last) * w.row_bytes;
            next[i] = w.data + at_most(k + kPageQuads * kQuad + i, w.k - 1) * w.row_bytes;
        }
    }
};

// Columns [n, n + 64 Registers) of Quads quads.
template <int Registers, int Quads>
inline void interleave_columns(const uint8_t* const* row, size_t n, uint8_t* out, size_t stream_bytes) {
    static_assert(Simd::kParts == 1, "a register of a block of columns");
    for (size_t q = 0; q < Quads; ++q, row += kQuad, out += Registers * Simd::kBytes)
        for (size_t b = 0; b < Registers; ++b) {
            Simd::Int bytes[kQuad], quads[kQuad];
            for (size_t i = 0; i < kQuad; ++i) bytes[i] = Simd::load(row[i] + n + b * kColumnBlock);
            Simd::interleave(bytes, quads);
            for (size_t j = 0; j < kQuad; ++j) Simd::store(out + j * stream_bytes + b * Simd::kBytes, quads[j]);
        }
}

// All columns of a strip of Quads quads, the first one of which is number `quad` of the block.
template <int Quads>
inline void interleave_strip(const FewRowsParams& p, const PageRows& rows, size_t quad, uint8_t* tile, size_t stream_bytes) {
    const PageRows own = rows;  // stores of bytes do not alias it
    const size_t n_from = p.n_from, n_to = p.n_to;
    uint8_t* out = tile + 2 * quad * Simd::kBytes;
    size_t n = n_from;
    for (size_t i = 0; n + kFewColumns <= n_to; ++i, n += kFewColumns, out += kStreams * stream_bytes) {
        if (i < kPageQuads * kQuad) prefetch_line(own.next[i] + n_from);  // prefetchers do not go on to another page
        interleave_columns<2, Quads>(own.row, n, out, stream_bytes);
    }
    if (n < n_to) interleave_columns<1, Quads>(own.row, n, out - quad * Simd::kBytes, stream_bytes);
}

// A block of a strip to its tile.
inline void interleave_pages(const FewRowsParams& p, const FewBlock& block) {
    const QuantizeRowsParams& q = *p.q;
    const size_t stream_bytes = stream_bytes_of(q, block, 2);
    size_t quad = 0;
    for (size_t g = block.group; g < block.group + block.groups; ++g) {
        const size_t from = g * q.group_size, last = at_most(from + q.group_size, p.weight->k) - 1;
        for (size_t k = from; k <= last; k += kPageQuads * kQuad) {
            const PageRows rows(*p.weight, k, last);
            const bool both = k + kQuad <= last;
            both ? interleave_strip<2>(p, rows, quad, block.tile, stream_bytes)
                 : interleave_strip<1>(p, rows, quad, block.tile, stream_bytes);
            quad += both ? 2 : 1;
        }
    }
}

inline void gemm_few_pages(const FewRowsParams& p) noexcept {
    const QuantizeRowsParams& q = *p.q;
    const EvenRows parts(q.m, FewTile<U8>::kMr);
    FewBlock block(p);
    LinesAhead none;
    for (block.group = p.group_from; block.group < p.group_to; block.group += p.block_groups) {
        block.groups = at_most(p.block_groups, p.group_to - block.group);
        order_x(q, block, parts);
        FewTile<U8>::prepare(p, block, parts);
        interleave_pages(p, block);
        const size_t stream_bytes = stream_bytes_of(q, block, 2);
        const uint8_t* tile = block.tile;
        for (size_t n = p.n_from; n < p.n_to; n += kFewColumns, tile += kStreams * stream_bytes)
            n + kColumnBlock == p.weight->n_padded ? multiply_streams<U8, 1>(p, block, parts, n, tile, stream_bytes, none)
                                                   : multiply_streams<U8, 2>(p, block, parts, n, tile, stream_bytes, none);
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
