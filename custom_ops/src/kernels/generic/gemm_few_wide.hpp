// Blocks of gemm_few.hpp for bytes and planes that are not tall, so that input channels of a block lie far apart, often a power of two:
// blocks of 32 channels, one activation group each, for more of them would not stay in L2 beside those that come. Eight rows of the weight
// come into L2 side by side, half of their lines beside unpacking and half beside products of the first rows of x. Over
// gemm_few_bytes.hpp, whose tiles these are.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kMrFewWide = 12;  // 24 sums, two weights and x

// Scales the products of one activation group, and Adds them to y.
template <bool Add, int Rows, int Registers>
inline void finish_wide(const FewOperands& a, const SumsOfRows<Rows>& dot) {
    const float *x_scale = a.x_scale, *x_sums = a.x_sums;
    const size_t y_stride = a.y_stride;
    for_rows<Registers>([&](auto j) {
        const Simd::Float scale = Simd::load(a.scale + j * kColumnBlock), zero_point = Simd::load(a.zero_point + j * kColumnBlock);
        float* y = a.y + j * kColumnBlock;
        for_rows<Rows>([&](auto r) {
            const Simd::Float product = Simd::as_float(to_register(dot.of[r][j])), bias = Simd::broadcast(x_sums[2 * r + 1]);
            Simd::Float value = Simd::multiply_add(product, Simd::broadcast(x_scale[r]), bias);
            value = Simd::negative_multiply_add(zero_point, Simd::broadcast(x_sums[2 * r]), value);
            float* to = y + r * y_stride;
            Simd::store(to, Add ? Simd::multiply_add(value, scale, Simd::load(to)) : Simd::multiply(value, scale));
        });
    });
}

// One activation group and a stream.
template <int Rows, int Registers>
void micro_few_wide(const FewOperands& a) {
    SumsOfRows<Rows> dot(kBiasBits);
    multiply_bytes<Rows, Registers>(a.tile, a.x, a.quads, a.ahead, a.ahead_step, dot);
    if (a.accumulate)
        finish_wide<true, Rows, Registers>(a, dot);
    else
        finish_wide<false, Rows, Registers>(a, dot);
}

template <int Registers, class Rows>
struct FewWideByRows;
template <int Registers, size_t... R>
struct FewWideByRows<Registers, std::index_sequence<R...>> {
    static constexpr void (*kKernel[])(const FewOperands&) = {micro_few_wide<R + 1, Registers>...};
};
// By their number of rows, less one.
template <int Registers>
constexpr auto& kMicroFewWide = FewWideByRows<Registers, std::make_index_sequence<kMrFewWide>>::kKernel;

// Columns [n, n + 64 Registers) of a block to its tile.
template <class Format, int Registers>
inline void unpack_wide(const FewRowsParams& p, const FewBlock& block, size_t n, size_t stream_bytes, LinesAhead& ahead) {
    static_assert(Simd::kParts == 1, "a register of a block of columns");
    const PackedWeight& w = *p.weight;
    const size_t k = block.group * p.q->group_size, row_bytes = w.row_bytes;
    const size_t second = Format::kTwoPlanes ? w.k * row_bytes : kColumnBlock;  // from the high plane to the low one, or to the next block
    Simd::Int steps[2][kQuad];
    if constexpr (Format::kTwoPlanes)
        for (size_t i = 0; i < Registers * kQuad; ++i)
            steps[i / kQuad][i % kQuad] =
                Simd::multiply(Simd::load_u8(w.step + k / w.step_group * w.n_padded + n + 16 * i), Simd::broadcast(0x10001));
    const uint8_t *row = w.data + k * row_bytes + Format::byte_offset(n), *next = nullptr;
    uint8_t* out = block.tile;
    size_t left = at_most(p.q->group_size, w.k - k), next_step = 0;
    for (size_t quad = 0; left; ++quad, row += kQuad * row_bytes, out += Registers * Simd::kBytes) {
        if (quad % 2 == 0) next = ahead.take(kBeside, kBeside, &next_step);
        for (size_t i = 0; i < kBeside / 2 && next; ++i, next += next_step) prefetch_line(next);
        // past the end of a group the last row again: x is 0 there
        const size_t one = left > 1 ? row_bytes : 0, two = left > 2 ? 2 * row_bytes : one, three = left > 3 ? 3 * row_bytes : two;
        const uint8_t* const rows[kQuad] = {row, row + one, row + two, row + three};
        left -= at_most(left, kQuad);
        Simd::Int quads[2][kQuad];  // of both blocks of columns, or of both planes
        for (size_t b = 0; b < (Format::kTwoPlanes ? 2 : Registers); ++b) {
            Simd::Int bytes[kQuad];
            for (size_t i = 0; i < kQuad; ++i) {
                const uint8_t* at = rows[i] + b * second;
                bytes[i] = Format::kTwoPlanes && Registers == 1 ? Simd::last_nibbles(at, 0) : Simd::load(at);
            }
            Simd::interleave(bytes, quads[b]);
        }
        for (size_t j = 0; j < kQuad; ++j) {
            Simd::Int first = quads[0][j], other = quads[1][j];
            if constexpr (Format::kTwoPlanes) {
                const Simd::Int high = first, low = other;
                first = join_bytes(Simd::low_nibbles(high), Simd::low_nibbles(low), steps[0][j]);
                if (Registers == 2)
                    other =
                        join_bytes(Simd::low_nibbles(Simd::shift_nibbles(high)), Simd::low_nibbles(Simd::shift_nibbles(low)), steps[1][j]);
            }
            Simd::store(out + j * stream_bytes, first);
            if (Registers == 2) Simd::store(out + j * stream_bytes + Simd::kBytes, other);
        }
    }
}

template <class Format_>
struct WideTile {
    using Format = Format_;
    static constexpr size_t kMr = kMrFewWide, kBesideAhead = kBeside;
    static void prepare(const FewRowsParams& p, const FewBlock& block, const EvenRows& parts) { FewTile<Format>::prepare(p, block, parts); }
    static void multiply(const FewRowsParams& p, const FewBlock& block, const EvenRows& parts, size_t n, LinesAhead& ahead) {
        n + kColumnBlock == p.weight->n_padded ? multiply_columns<1>(p, block, parts, n, ahead)
                                               : multiply_columns<2>(p, block, parts, n, ahead);
    }
    template <int Registers>
    static void multiply_columns(const FewRowsParams& p, const FewBlock& block, const EvenRows& parts, size_t n, LinesAhead& ahead) {
        const size_t stream_bytes = stream_bytes_of(*p.q, block, Registers);
        expand_group<Format>(*p.weight, block.group * p.q->group_size, n, Registers * kColumnBlock, block.scale, block.zero_point);
        unpack_wide<Format, Registers>(p, block, n, stream_bytes, ahead);
        FewOperands a;
        a.quads = quads_of(*p.q, block.group);
        a.y_stride = p.y_stride;
        a.accumulate = block.group != p.group_from;
        for (size_t stream = 0; stream < kStreams; ++stream) {
            a.tile = block.tile + stream * stream_bytes;
            a.scale = block.scale + 16 * stream;
            a.zero_point = block.zero_point + 16 * stream;
            a.x = block.x;
            a.x_scale = block.x_scale;
            a.x_sums = block.x_sums;
            float* y = p.y + n - p.n_from + 16 * stream;
            for (size_t part = 0; part < parts.parts; ++part) {
                const size_t rows = parts.count(part);
                a.y = y;
                a.ahead = part == 0 ? ahead.take(a.quads, a.quads, &a.ahead_step) : nullptr;
                if (!a.ahead) {
                    a.ahead = a.tile;
                    a.ahead_step = 0;
                }
                kMicroFewWide<Registers>[rows - 1](a);
                y += rows * p.y_stride;
                a.x += a.quads * rows * kQuad;
                a.x_scale += rows;
                a.x_sums += 2 * rows;
            }
        }
    }
};

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
