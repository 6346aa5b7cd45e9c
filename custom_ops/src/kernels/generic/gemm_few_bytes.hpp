// Tiles and micro-kernels of gemm_few.hpp for bytes: u8, or planes joined into it, with one scale for each output channel. Over it, and
// over a Simd whose dot_bytes takes bytes as they are.
//   tile: [4 kParts streams][quad of input channels][2 registers]; stream 4 part + j holds columns 16 j + 8 part ... and those kColumnBlock
//   on. A last block of 64 columns has one register.
// x has a scale for every 32 input channels, as in gemm_micro.hpp: sums of an activation group, which is one run, start from the bits of
// kBias and grow on, and differences of scales multiply them.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kMrFewBytes = 6;  // 12 sums of products, 12 of groups, two weights and x

// Columns [n, n + 64 Registers) of four input channels, whose rows of the packed weight are given; streams are stream_bytes apart.
template <class Format, int Registers>
inline void interleave_bytes(const uint8_t* const* rows, const PackedWeight& w, const Steps<Format>& steps, size_t n, uint8_t* out,
                             size_t stream_bytes) {
    for (size_t part = 0; part < Simd::kParts; ++part) {
        Simd::Int quads[2][kQuad];  // of both blocks of columns, or of both planes
        for (int b = 0; b < (Format::kTwoPlanes ? 2 : Registers); ++b) {
            Simd::Int bytes[kQuad];
            for (size_t i = 0; i < kQuad; ++i) {
                const uint8_t* row = rows[i] + Format::byte_offset(n) + (Format::kTwoPlanes ? b * w.k * w.row_bytes : b * kColumnBlock);
                bytes[i] = Format::kTwoPlanes && Registers == 1 ? Simd::last_nibbles(row, part) : Simd::load(row + part * Simd::kBytes);
            }
            Simd::interleave(bytes, quads[b]);
        }
        for (size_t j = 0; j < kQuad; ++j) {
            Simd::Int first = quads[0][j], second = quads[1][j];
            if constexpr (Format::kTwoPlanes) {
                const size_t c = 16 * j + 8 * part;
                const Simd::Int high = first, low = second;
                first = join_bytes(Simd::low_nibbles(high), Simd::low_nibbles(low), steps.step + c);
                if (Registers == 2)
                    second = join_bytes(Simd::low_nibbles(Simd::shift_nibbles(high)), Simd::low_nibbles(Simd::shift_nibbles(low)),
                                        steps.step + c + kColumnBlock);
            }
            uint8_t* to = out + (4 * part + j) * stream_bytes;
            Simd::store(to, first);
            if (Registers == 2) Simd::store(to + Simd::kBytes, second);
        }
    }
}

// dot += the products of `quads` quads of input channels.
template <int Rows, int Registers>
inline void multiply_bytes(const uint8_t* tile, const int8_t* x, size_t quads, const uint8_t* ahead, size_t ahead_step,
                           SumsOfRows<Rows>& dot) {
    for (size_t q = 0; q < quads; ++q, tile += Registers * Simd::kBytes, x += Rows * kQuad, ahead += ahead_step) {
        Simd::Int w[Registers];
        for (int j = 0; j < Registers; ++j) w[j] = Simd::load(tile + j * Simd::kBytes);
        prefetch_line(ahead);
        for (int r = 0; r < Rows; ++r) {
            const Simd::Int quad = Simd::broadcast_quad(x + r * kQuad);
            for (int j = 0; j < Registers; ++j) dot.of[r][j] = to_sums<Sums32>(Simd::dot_bytes(to_register(dot.of[r][j]), w[j], quad));
        }
    }
}

template <int Rows, int Registers>
void micro_few_bytes(const MicroFewBytes& a) {
    constexpr size_t fine = kFineGroup / kQuad;
    Simd::Float sum[Rows][Registers];
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < Registers; ++j) sum[r][j] = Simd::broadcast(a.x_sums[2 * r + 1]);
    const uint8_t *tile = a.tile, *ahead = a.ahead;
    const int8_t* x = a.x;
    const float *x_scale = a.x_scale, *x_sums = a.x_sums;
    for (size_t g = 0, left = a.quads; g < a.groups; ++g, left -= a.group_quads, x_sums += 2 * Rows) {
        const size_t quads = left < a.group_quads ? left : a.group_quads;
        SumsOfRows<Rows> dot(kBiasBits);
        for (size_t from = 0; from < quads; from += fine) {
            const size_t count = quads - from < fine ? quads - from : fine;
            multiply_bytes<Rows, Registers>(tile, x, count, ahead, a.ahead_step, dot);
            tile += count * Registers * Simd::kBytes;
            x += count * Rows * kQuad;
            ahead += count * a.ahead_step;
            for (int r = 0; r < Rows; ++r)
                for (int j = 0; j < Registers; ++j)
                    sum[r][j] = Simd::multiply_add(Simd::as_float(to_register(dot.of[r][j])), Simd::broadcast(x_scale[r]), sum[r][j]);
            x_scale += Rows;
        }
        for (int j = 0; j < Registers; ++j) {
            const Simd::Float zero_point = Simd::load(a.zero_point + g * a.scale_stride + j * kColumnBlock);
            for (int r = 0; r < Rows; ++r) sum[r][j] = Simd::negative_multiply_add(zero_point, Simd::broadcast(x_sums[2 * r]), sum[r][j]);
        }
    }
    for (int j = 0; j < Registers; ++j) {
        const Simd::Float scale = Simd::load(a.scale + j * kColumnBlock);
        for (int r = 0; r < Rows; ++r) {
            float* y = a.y + r * a.y_stride + j * kColumnBlock;
            Simd::store(y, a.accumulate ? Simd::multiply_add(sum[r][j], scale, Simd::load(y)) : Simd::multiply(sum[r][j], scale));
        }
    }
}

template <int Registers, class Rows>
struct FewBytesByRows;
template <int Registers, size_t... R>
struct FewBytesByRows<Registers, std::index_sequence<R...>> {
    static constexpr void (*kKernel[])(const MicroFewBytes&) = {micro_few_bytes<R + 1, Registers>...};
};
// By their number of rows, less one.
template <int Registers>
constexpr auto& kMicroFewBytes = FewBytesByRows<Registers, std::make_index_sequence<kMrFewBytes>>::kKernel;

inline void prefetch_lines(LinesAhead& ahead, size_t count) {
    size_t step;
    const uint8_t* at = count ? ahead.take(count, count, &step) : nullptr;
    for (size_t i = 0; at && i < count; ++i) prefetch_line(at + i * step);
}

// Columns [n, n + 64 Registers) of a block to its tile, and `lines` lines ahead for every four input channels; returns how many bytes apart
// streams are.
template <class Format, int Registers>
inline size_t interleave_block(const FewRowsParams& p, const FewBlock& block, size_t n, size_t lines, LinesAhead& ahead) {
    const size_t stream_bytes = stream_bytes_of(*p.q, block, Registers);
    uint8_t* out = block.tile;
    for (size_t g = block.group; g < block.group + block.groups; ++g) {
        const Steps<Format> steps(*p.weight, g * p.q->group_size, n, Registers * kColumnBlock);
        for_quads(p, g, [&](const uint8_t* const* rows) {
            prefetch_lines(ahead, lines);
            interleave_bytes<Format, Registers>(rows, *p.weight, steps, n, out, stream_bytes);
            out += Registers * Simd::kBytes;
        });
    }
    return stream_bytes;
}

// All rows of x times a tile, columns [n, n + 64 Registers) of a block, whose streams are stream_bytes apart.
template <class Format, int Registers>
inline void multiply_streams(const FewRowsParams& p, const FewBlock& block, const EvenRows& parts, size_t n, const uint8_t* tile,
                             size_t stream_bytes, LinesAhead& ahead) {
    const QuantizeRowsParams& q = *p.q;
    MicroFewBytes a;
    for (size_t g = 0; g < block.groups; ++g)
        expand_group<Format>(*p.weight, (block.group + g) * q.group_size, n, Registers * kColumnBlock, block.scale + g * kFewColumns,
                             block.zero_point + g * kFewColumns);
    a.quads = quads_of(q, block);
    a.groups = block.groups;
    a.group_quads = quads_of(q, block.group);
    a.scale_stride = kFewColumns;
    a.y_stride = p.y_stride;
    a.accumulate = block.group != p.group_from;
    for (size_t stream = 0; stream < kStreams; ++stream) {
        const size_t c = 16 * (stream % 4) + 8 * (stream / 4);
        a.tile = tile + stream * stream_bytes;
        a.scale = block.scale + c;
        a.zero_point = block.zero_point + c;
        a.x = block.x;
        a.x_scale = block.x_scale;
        a.x_sums = block.x_sums;
        for (size_t part = 0, m = 0; part < parts.parts; m += parts.count(part++)) {
            const size_t rows = parts.count(part);
            a.y = p.y + m * p.y_stride + n - p.n_from + c;
            a.ahead = ahead.take(a.quads, ceil_div(2 * a.quads, parts.parts), &a.ahead_step);
            if (!a.ahead) a.ahead = a.tile;
            kMicroFewBytes<Registers>[rows - 1](a);
            a.x += a.quads * rows * kQuad;
            a.x_scale += block.groups * q.fine() * rows;
            a.x_sums += block.groups * rows * 2;
        }
    }
}

template <class Format, int Registers>
inline void multiply_bytes_tile(const FewRowsParams& p, const FewBlock& block, const EvenRows& parts, size_t n, LinesAhead& ahead) {
    // Micro-kernels prefetch a line a quad: with one of them for all rows that would be half of the lines, so all are prefetched here.
    const size_t lines = parts.parts == 1 ? 2 * kStreams : 0;
    const size_t stream_bytes = interleave_block<Format, Registers>(p, block, n, lines, ahead);
    LinesAhead none;
    multiply_streams<Format, Registers>(p, block, parts, n, block.tile, stream_bytes, lines ? none : ahead);
}

template <class Format_>
struct FewTile {
    using Format = Format_;
    static constexpr size_t kMr = kMrFewBytes, kBesideAhead = 1;
    static void prepare(const FewRowsParams& p, const FewBlock& block, const EvenRows& parts) {
        const size_t fine = block.groups * p.q->fine();
        for (size_t part = 0, m = 0; part < parts.parts; m += parts.count(part++))
            order_scales(*p.q, block.group, block.groups, m, parts.count(part), Joined::sums, block.x_scale + m * fine,
                         block.x_sums + m * block.groups * 2);
    }
    static void multiply(const FewRowsParams& p, const FewBlock& block, const EvenRows& parts, size_t n, LinesAhead& ahead) {
        n + kColumnBlock == p.weight->n_padded ? multiply_bytes_tile<Format, 1>(p, block, parts, n, ahead)
                                               : multiply_bytes_tile<Format, 2>(p, block, parts, n, ahead);
    }
};

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
