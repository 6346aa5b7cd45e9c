// Blocks of gemm_few.hpp for bytes and planes whose rows of the weight are long: of each row of a block whole pages of a strip are read,
// one row of eight beside the other, and unpacked into a tile of the whole strip in L2. Only then is it multiplied: while lines that were
// prefetched are on their way, loads from L2 wait for them. Over gemm_few_bytes.hpp.
//   tile of the strip: for every 128 columns a tile of gemm_few_bytes.hpp
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kPageQuads = 2;  // of input channels that are read side by side; of one, lines arrive at 0.8 of the speed
constexpr size_t kOffsetsAhead = 4 * kFewColumns;

// Rows of the weight that are read side by side, and those that come behind them; of planes those of the high one.
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

// Columns [n, n + 64 Registers) of Quads quads; `low`: bytes from the high plane to the low one.
template <class Format, int Registers, int Quads>
inline void unpack_columns(const uint8_t* const* row, size_t low, size_t at, const uint8_t* step, uint8_t* out, size_t stream_bytes) {
    static_assert(Simd::kParts == 1, "a register of a block of columns");
    Simd::Int steps[2][kQuad];
    if constexpr (Format::kTwoPlanes)
        for (size_t i = 0; i < Registers * kQuad; ++i)
            steps[i / kQuad][i % kQuad] = Simd::multiply(Simd::load_u8(step + 16 * i), Simd::broadcast(0x10001));
    for (size_t q = 0; q < Quads; ++q, row += kQuad, out += Registers * Simd::kBytes) {
        Simd::Int quads[2][kQuad];  // of both blocks of columns, or of both planes
        for (size_t b = 0; b < (Format::kTwoPlanes ? 2 : Registers); ++b) {
            const size_t from = at + b * (Format::kTwoPlanes ? low : kColumnBlock);
            Simd::Int bytes[kQuad];
            for (size_t i = 0; i < kQuad; ++i)
                bytes[i] = Format::kTwoPlanes && Registers == 1 ? Simd::last_nibbles(row[i] + from, 0) : Simd::load(row[i] + from);
            Simd::interleave(bytes, quads[b]);
        }
        for (size_t j = 0; j < kQuad; ++j) {
            Simd::Int first = quads[0][j], second = quads[1][j];
            if constexpr (Format::kTwoPlanes) {
                const Simd::Int high = first, nibbles = second;
                first = join_bytes(Simd::low_nibbles(high), Simd::low_nibbles(nibbles), steps[0][j]);
                if (Registers == 2)
                    second = join_bytes(Simd::low_nibbles(Simd::shift_nibbles(high)), Simd::low_nibbles(Simd::shift_nibbles(nibbles)),
                                        steps[1][j]);
            }
            Simd::store(out + j * stream_bytes, first);
            if (Registers == 2) Simd::store(out + j * stream_bytes + Simd::kBytes, second);
        }
    }
}

// All columns of a strip of Quads quads, the first one of which is number `quad` of the block.
template <class Format, int Quads>
inline void unpack_strip(const FewRowsParams& p, const PageRows& rows, size_t k, size_t quad, uint8_t* tile, size_t stream_bytes) {
    const PackedWeight& w = *p.weight;
    const PageRows own = rows;  // stores of bytes do not alias it
    const size_t low = w.k * w.row_bytes, n_to = p.n_to, first = Format::byte_offset(p.n_from);
    const uint8_t* step = Format::kTwoPlanes ? w.step + k / w.step_group * w.n_padded : nullptr;
    uint8_t* out = tile + 2 * quad * Simd::kBytes;
    size_t n = p.n_from;
    for (size_t i = 0; n + kFewColumns <= n_to; ++i, n += kFewColumns, out += kStreams * stream_bytes) {
        if (i < kPageQuads * kQuad) {  // prefetchers do not go on to another page
            prefetch_line(own.next[i] + first);
            if (Format::kTwoPlanes) prefetch_line(own.next[i] + first + low);
        }
        unpack_columns<Format, 2, Quads>(own.row, low, Format::byte_offset(n), step + n, out, stream_bytes);
    }
    if (n < n_to) unpack_columns<Format, 1, Quads>(own.row, low, Format::byte_offset(n), step + n, out - quad * Simd::kBytes, stream_bytes);
}

// A block of a strip to its tile.
template <class Format>
inline void unpack_block(const FewRowsParams& p, const FewBlock& block) {
    const QuantizeRowsParams& q = *p.q;
    const size_t stream_bytes = stream_bytes_of(q, block, 2);
    size_t quad = 0;
    for (size_t g = block.group; g < block.group + block.groups; ++g) {
        const size_t from = g * q.group_size, last = at_most(from + q.group_size, p.weight->k) - 1;
        for (size_t k = from; k <= last; k += kPageQuads * kQuad) {
            const PageRows rows(*p.weight, k, last);
            const bool both = k + kQuad <= last;
            both ? unpack_strip<Format, 2>(p, rows, k, quad, block.tile, stream_bytes)
                 : unpack_strip<Format, 1>(p, rows, k, quad, block.tile, stream_bytes);
            quad += both ? 2 : 1;
        }
    }
}

// Of the columns of a tile from n on, for the step group of input channel k.
template <class Format>
inline void prefetch_offsets(const PackedWeight& w, size_t k, size_t n) {
    if (!Format::kTwoPlanes || n >= w.n_padded) return;
    const uint8_t* at = w.offset + k / w.step_group * w.n_padded + n;
    prefetch_line(at);
    prefetch_line(at + kColumnBlock);
}

template <class Format>
inline void gemm_few_pages(const FewRowsParams& p) noexcept {
    const QuantizeRowsParams& q = *p.q;
    const EvenRows parts(q.m, FewTile<Format>::kMr);
    FewBlock block(p);
    LinesAhead none;
    for (block.group = p.group_from; block.group < p.group_to; block.group += p.block_groups) {
        block.groups = at_most(p.block_groups, p.group_to - block.group);
        order_x(q, block, parts);
        FewTile<Format>::prepare(p, block, parts);
        unpack_block<Format>(p, block);
        const size_t stream_bytes = stream_bytes_of(q, block, 2);
        const uint8_t* tile = block.tile;
        for (size_t n = p.n_from; n < p.n_to; n += kFewColumns, tile += kStreams * stream_bytes) {
            prefetch_offsets<Format>(*p.weight, block.group * q.group_size, n + kOffsetsAhead);
            n + kColumnBlock == p.weight->n_padded ? multiply_streams<Format, 1>(p, block, parts, n, tile, stream_bytes, none)
                                                   : multiply_streams<Format, 2>(p, block, parts, n, tile, stream_bytes, none);
        }
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
