// Dense product of few rows for CPUs whose cores have many lines under way at a time, as AMD's from Zen 4 on (ADR 0062): while a block of
// the weight is multiplied the next one is unpacked, a piece beside each row of x, so that reading, unpacking and multiplying take place at
// the same time. Over Simd, gemm_vnni.hpp, gemm.hpp and block_ahead.hpp.
//
// A block is 32 input channels of 128 columns. Blocks follow each other along a strip of some columns, then down the input channels, so
// that sums of the strip stay in L1, or where rows are many in L2. Lines of the weight come into L2 some blocks before they are unpacked,
// at the end those of the strip behind.
//   tile: [4 streams][quad of input channels][registers]; stream j holds columns 16 j ... in the first register, and those kColumnBlock on
//   in the second one: bytes; or nibbles, whose one register holds both. A last block of 64 columns has one register of single values.
//   sums: [block of columns][stream][row of x][register], scaled by x; of nibbles a second one, of the group of the weight's scale
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// A stream of a block, times all rows of x.
struct StreamOfBlock {
    const uint8_t* tile;
    const int8_t* x;           // [rows][kBlockChannels]
    const float *scale, *sum;  // of x: [rows], see FewRowsParams
    size_t rows;
    float *sums, *group_sums;                // [rows][registers][lanes]
    const float *weight_scale, *zero_point;  // nibbles: of the stream's first column; the second ones are kColumnBlock on
};

// First, Last: of the blocks of a group of the weight's scale; of bytes every block is both, and scaled at the end.
template <class Format, int Registers, bool First, bool Last>
inline void multiply_stream(const StreamOfBlock& s, BlockAhead<Format>& next, size_t steps) {
    constexpr bool both = Format::kNibbles && Registers == 2;
    if (kAtTheBegin<Format>) next.advance(kBlockStreams);
    Simd::Int w[kBlockQuads][Registers];
    for (size_t q = 0; q < kBlockQuads; ++q)
        for (int r = 0; r < Registers; ++r)
            w[q][r] = both ? (r ? Simd::high_nibbles(w[q][0]) : Simd::load(s.tile + q * Simd::kBytes))
                           : Simd::load(s.tile + (q * Registers + r) * Simd::kBytes);
    const int8_t* x = s.x;
    float* sums = s.sums;
    float* group_sums = s.group_sums;
    for (size_t m = 0; m < s.rows; ++m, x += kBlockChannels, sums += Registers * Simd::kLanes, group_sums += Registers * Simd::kLanes) {
        if (!kAtTheBegin<Format>) next.advance(steps);
        Sums32 dot[Registers];
        for (int r = 0; r < Registers; ++r) dot[r] = to_sums<Sums32>(Simd::zero());
        for (size_t q = 0; q < kBlockQuads; ++q) {
            const Simd::Int quad = Simd::broadcast_quad(x + q * kQuad);
            for (int r = 0; r < Registers; ++r) dot[r] = to_sums<Sums32>(Simd::dot_bytes(to_register(dot[r]), w[q][r], quad));
        }
        Simd::Int product[Registers];
        for (int r = 0; r < Registers; ++r) product[r] = to_register(dot[r]);
        if constexpr (both) {
            product[0] = Simd::of_low_nibbles(product[0], product[1]);
            product[1] = Simd::of_high_nibbles(product[1]);
        }
        const Simd::Float x_scale = Simd::broadcast(s.scale[m]);
        for (int r = 0; r < Registers; ++r) {
            const Simd::Float value = Simd::to_float(product[r]);
            float *sum = sums + r * Simd::kLanes, *of_group = group_sums + r * Simd::kLanes;
            if constexpr (!Format::kNibbles) {
                Simd::store(sum, Simd::multiply_add(value, x_scale, Simd::load(sum)));
                continue;
            }
            const Simd::Float scaled = First ? Simd::multiply(value, x_scale) : Simd::multiply_add(value, x_scale, Simd::load(of_group));
            if constexpr (Last) {
                const Simd::Float zero_point = Simd::load(s.zero_point + r * kColumnBlock);
                const Simd::Float whole = Simd::negative_multiply_add(zero_point, Simd::broadcast(s.sum[m]), scaled);
                Simd::store(sum, Simd::multiply_add(whole, Simd::load(s.weight_scale + r * kColumnBlock), Simd::load(sum)));
            } else {
                Simd::store(of_group, scaled);
            }
        }
    }
}

// Scratch of a strip.
struct PipelinedStrip {
    uint8_t* tile[2];
    float *sums, *group_sums;
    float *scale, *zero_point;  // of its columns

    PipelinedStrip(void* at, size_t m, size_t columns) {
        tile[0] = static_cast<uint8_t*>(at);
        tile[1] = tile[0] + kTileBytes;
        sums = reinterpret_cast<float*>(tile[1] + kTileBytes);
        group_sums = sums + m * columns;
        scale = group_sums + m * columns;
        zero_point = scale + columns;
    }
};
inline size_t pipelined_scratch_bytes(size_t m, size_t columns) noexcept {
    return 2 * kTileBytes + (2 * m + 2) * columns * sizeof(float);
}

// Where a block of columns begins, and how many columns it has.
struct BlockAt {
    size_t n, columns;
    BlockAt(const FewRowsParams& p, size_t block) : n(p.n_from + block * kBlockColumns), columns(at_most(kBlockColumns, p.n_to - n)) {}
};

template <class Format, bool First, bool Last>
inline void multiply_block(const FewRowsParams& p, const PipelinedStrip& strip, size_t block, size_t k, const uint8_t* tile,
                           BlockAhead<Format>& next) {
    const size_t rows = p.q->m, from = block * kBlockColumns, steps = kBlockStreams * rows;
    const bool single = BlockAt(p, block).columns == kColumnBlock;
    StreamOfBlock s;
    s.tile = tile;
    s.x = p.x + k * rows;
    s.scale = p.x_scale + k / kBlockChannels * rows;
    s.sum = p.x_sum + k / kBlockChannels * rows;
    s.rows = rows;
    s.sums = strip.sums + from * rows;
    s.group_sums = strip.group_sums + from * rows;
    s.weight_scale = strip.scale + from;
    s.zero_point = strip.zero_point + from;
    const size_t registers = single ? 1 : 2, tile_registers = Format::kNibbles ? 1 : registers;
    for (size_t stream = 0; stream < kBlockStreams; ++stream) {
        single ? multiply_stream<Format, 1, First, Last>(s, next, steps) : multiply_stream<Format, 2, First, Last>(s, next, steps);
        s.tile += kBlockQuads * tile_registers * Simd::kBytes;
        s.sums += rows * registers * Simd::kLanes;
        s.group_sums += rows * registers * Simd::kLanes;
        s.weight_scale += Simd::kLanes;
        s.zero_point += Simd::kLanes;
    }
}

// Sums of a strip to rows of y: of bytes less what the zero point adds, and scaled.
template <class Format>
inline void finish_strip(const FewRowsParams& p, const PipelinedStrip& strip) {
    const size_t rows = p.q->m;
    for (size_t block = 0; block * kBlockColumns < p.n_to - p.n_from; ++block) {
        const BlockAt at(p, block);
        const size_t registers = at.columns / kColumnBlock, from = block * kBlockColumns;
        if constexpr (!Format::kNibbles) expand_group<U8>(*p.weight, 0, at.n, at.columns, strip.scale, strip.zero_point);
        for (size_t stream = 0; stream < kBlockStreams; ++stream)
            for (size_t r = 0; r < registers; ++r) {
                const size_t c = r * kColumnBlock + stream * Simd::kLanes;
                for (size_t m = 0; m < rows; ++m) {
                    Simd::Float sum = Simd::load(strip.sums + from * rows + ((stream * rows + m) * registers + r) * Simd::kLanes);
                    if constexpr (!Format::kNibbles) {
                        sum = Simd::negative_multiply_add(Simd::load(strip.zero_point + c), Simd::broadcast(p.x_sum[m]), sum);
                        sum = Simd::multiply(sum, Simd::load(strip.scale + c));
                    }
                    Simd::store(p.y + m * p.y_stride + from + c, sum);
                }
            }
    }
}

template <class Format>
void gemm_pipelined(const FewRowsParams& p) noexcept {
    const PackedWeight& w = *p.weight;
    const size_t columns = p.n_to - p.n_from, blocks = ceil_div(columns, kBlockColumns), rows = p.q->m;
    const PipelinedStrip strip(p.scratch, rows, round_up(columns, kBlockColumns));
    std::memset(strip.sums, 0, rows * round_up(columns, kBlockColumns) * sizeof(float));
    const bool last_strip = p.next_from == p.n_to && p.next_to == p.n_to;
    // The lines of the block that comes kBlocksAhead blocks behind.
    const auto ahead_of = [&](size_t k, size_t block) {
        block += kBlocksAhead;
        k += block / blocks * kBlockChannels;
        const bool behind = k >= w.k && !last_strip;
        const size_t n = (behind ? p.next_from : p.n_from) + block % blocks * kBlockColumns;
        return w.data + k % w.k * w.row_bytes + Format::byte_offset(n);
    };
    BlockAhead<Format> next(w);
    if (!p.prefetched)
        for (size_t block = 0; block < kBlocksAhead; ++block)
            next.prefetch(block / blocks * kBlockChannels % w.k, p.n_from + block % blocks * kBlockColumns);
    next.begin(0, p.n_from, ahead_of(0, 0), strip.tile[0]);
    next.unpack_all();
    size_t current = 0;
    for (size_t k = 0; k < w.k; k += kBlockChannels) {
        const bool first = k % w.group_size == 0, last = (k + kBlockChannels) % w.group_size == 0 || k + kBlockChannels == w.k;
        if constexpr (Format::kNibbles)
            if (first) expand_group<Format>(w, k, p.n_from, columns, strip.scale, strip.zero_point);
        for (size_t block = 0; block < blocks; ++block, current ^= 1) {
            // behind the last block of all the first one once more, for nobody: cheaper than to ask in every step
            const bool down = block + 1 == blocks;
            const size_t next_k = down ? (k + kBlockChannels) % w.k : k, next_block = down ? 0 : block + 1;
            next.begin(next_k, p.n_from + next_block * kBlockColumns, ahead_of(next_k, next_block), strip.tile[current ^ 1]);
            const uint8_t* tile = strip.tile[current];
            if constexpr (Format::kNibbles) {
                if (first)
                    last ? multiply_block<Format, true, true>(p, strip, block, k, tile, next)
                         : multiply_block<Format, true, false>(p, strip, block, k, tile, next);
                else
                    last ? multiply_block<Format, false, true>(p, strip, block, k, tile, next)
                         : multiply_block<Format, false, false>(p, strip, block, k, tile, next);
            } else {
                multiply_block<Format, true, true>(p, strip, block, k, tile, next);
            }
        }
    }
    finish_strip<Format>(p, strip);
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
