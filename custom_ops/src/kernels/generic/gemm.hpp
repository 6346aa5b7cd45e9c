// Dense prompt path: y = x Wᵀ for many rows, from the packed weight. Over Simd, gemm_unpack.hpp and gemm_micro.hpp.
//
// A tile of some columns x input channels (TileShape) is unpacked once into scratch (L2) and used for all rows
// of the call; strips of kNr columns of it stay in L1 while the rows pass by, kMr at a time, and the products of one
// strip x kMr rows stay in registers.
//   qd8 tile: [strip][quad of input channels][plane][kNr columns][4 bytes], unsigned, zero point not subtracted:
//             Σ q (w - z) = Σ q w - z Σ q, once per activation group; then scaled into float.
//   f32 tile: [strip][input channel][kNr columns], the plain weight.
// An element of y is summed in an order that the shape alone sets, so any split into tasks gives the same bits.
// Split by columns first, in tasks as wide as a tile: a split by rows unpacks the tile once for each part.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kFloatColumns = 256;  // of a float tile
constexpr size_t kFloatTileK = 192;    // input channels of a float tile: 192 KB; 128 was 10 % slower, 256 no faster
constexpr size_t kUnpackAhead = 16;    // rows of the weight; 32 is no faster
// The sparse GEMV of planes takes 1.3 times as long as this path for six rows where registers have 512 bits, 0.7 times where they have 256.
constexpr size_t kLeastRowsOfPlanes = Simd::kBytes == 64 ? 6 : kMaxGemvRows + 1;
constexpr size_t kRowParts = 4;  // register blocks of rows whose x is copied together: rows of x are often a power of two apart,
                                 // and would share few sets of L1

inline size_t at_most(size_t value, size_t limit) {
    return value < limit ? value : limit;
}

// Columns and input channels of a qd8 tile, in whole activation groups: 128 KB of bytes in L2. A row of planes is read in pieces of 256
// bytes, as one of bytes is; 128 take 1.1 times as long up to 32 rows.
template <class Format>
struct TileShape {
    static constexpr size_t kColumns = Format::kTwoPlanes ? kGemmColumns : kGemmColumns / 2;
    static constexpr size_t kChannels = (size_t{128} << 10) / kColumns;
    static size_t groups(size_t group_size) { return group_size >= kChannels ? 1 : kChannels / group_size; }
};

// A tile, its scales and zero points, and rows of x with their scales and sums.
template <class Format>
inline size_t tile_scratch_bytes(size_t group_size) {
    const size_t groups = TileShape<Format>::groups(group_size), channels = groups * round_up(group_size, kQuad);
    const size_t of_row = round_up(channels, 64) + groups * (ceil_div(group_size, kFineGroup) + 2) * sizeof(float);
    return TileShape<Format>::kColumns * channels * kMaxPlanes + kGemmColumns * groups * 2 * sizeof(float) +
           kRowParts * kMrQuantized<1> * of_row;
}

// Bytes of scratch for either kind of gemm; group_size is that of the activations.
inline size_t gemm_scratch_bytes(size_t k, size_t group_size) noexcept {
    group_size = group_size == 0 ? k : group_size;
    const size_t bytes = tile_scratch_bytes<U8>(group_size), planes = tile_scratch_bytes<U8Planes>(group_size);
    const size_t quantized = bytes > planes ? bytes : planes;
    const size_t plain = (kFloatColumns * kFloatTileK + 2 * kGemmColumns + kRowParts * Simd::kMrFloat * kFloatTileK) * sizeof(float);
    return quantized > plain ? quantized : plain;
}

inline size_t gemm_columns(size_t, bool in_planes, size_t) noexcept {
    return in_planes ? TileShape<U8Planes>::kColumns : TileShape<U8>::kColumns;
}

// Scales and zero points of the group of input channel k for `columns` columns, as floats. The tile of two planes holds step * h + r, so
// the offset is part of the zero point. Of the high plane alone a weight is
// scale * step * (h - (zero point - offset - (step - 1) / 2) / step).
template <class Format>
inline void expand_group(const PackedWeight& w, size_t k, size_t n, size_t columns, float* scale, float* zero_point) {
    const size_t at = k / w.group_size * w.n_padded + n;
    for (size_t c = 0; c < columns; c += Simd::kLanes) {
        Simd::Float factor = Simd::load_scale(w, at + c);
        Simd::Float zero = Simd::to_float(w.zero_point ? Simd::load_u8(w.zero_point + at + c) : Simd::broadcast(w.implicit_zero_point));
        const size_t step_at = Format::kStepped || Format::kTwoPlanes ? k / w.step_group * w.n_padded + n + c : 0;
        if constexpr (Format::kTwoPlanes) zero = Simd::subtract(zero, Simd::to_float(Simd::load_u8(w.offset + step_at)));
        if constexpr (Format::kStepped) {
            const Simd::Float step = Simd::to_float(Simd::load_u8(w.step + step_at));
            zero = Simd::subtract(zero, Simd::to_float(Simd::load_u8(w.offset + step_at)));
            zero = Simd::subtract(zero, Simd::multiply(Simd::subtract(step, Simd::broadcast(1.0f)), Simd::broadcast(0.5f)));
            zero = Simd::divide(zero, step);
            factor = Simd::multiply(factor, step);
        }
        Simd::store(scale + c, factor);
        Simd::store(zero_point + c, zero);
    }
}

// Rows in parts of at most `limit`, as even as possible: 32 rows are 6+6+5+5+5+5, not 5 x 6 and a slow 2.
struct EvenRows {
    size_t parts, base, longer;
    EvenRows(size_t rows, size_t limit) : parts(ceil_div(rows, limit)), base(rows / parts), longer(rows % parts) {}
    size_t count(size_t part) const { return base + (part < longer ? 1 : 0); }
};

// Of pieces of rows this short the hardware prefetches nothing, and few rows of x do not hide the latency. Into L2: where rows are a power
// of two apart they share the sets of L1.
template <class Format>
inline void prefetch_ahead(const PackedWeight& w, size_t k, size_t n, size_t columns) {
    if (k + kUnpackAhead >= w.k) return;
    for (size_t plane = 0; plane < (Format::kTwoPlanes ? 2 : 1); ++plane) {
        const uint8_t* row = w.data + (plane * w.k + k + kUnpackAhead) * w.row_bytes;
        for (size_t at = Format::byte_offset(n); at < Format::byte_offset(n + columns); at += 64)
            _mm_prefetch(reinterpret_cast<const char*>(row + at), _MM_HINT_T1);
    }
}

template <class Format>
void unpack_quantized_block(const GemmParams& p, size_t n, size_t columns, QuantizedBlock& block, uint8_t* tile, float* scale,
                            float* zero_point) {
    const PackedWeight& w = *p.weight;
    const size_t group_size = p.q->group_size, planes = kPlanes<Format>;
    size_t quad = 0;
    block.quads = 0;
    for (size_t g = block.group; g < block.group + block.groups; ++g)
        block.quads += ceil_div(at_most(group_size, w.k - g * group_size), kQuad);
    for (size_t g = block.group; g < block.group + block.groups; ++g) {
        const size_t from = g * group_size, to = at_most(from + group_size, w.k), at = (g - block.group) * kGemmColumns;
        expand_group<Format>(w, from, n, columns, scale + at, zero_point + at);
        Steps<Format> steps(w, from, n, columns);
        for (size_t k = from; k < to; k += kQuad, ++quad) {
            const uint8_t* rows[kQuad];  // past the end of a group the last row again: x is 0 there
            for (size_t i = 0; i < kQuad; ++i) rows[i] = w.data + at_most(k + i, to - 1) * w.row_bytes;
            const size_t ahead = k + kUnpackAhead + kQuad <= w.k ? kUnpackAhead * w.row_bytes : 0;
            uint8_t* out = tile + quad * planes * kNr * kQuad;
            const size_t strip_bytes = block.quads * planes * kNr * kQuad;
            if constexpr (Format::kTwoPlanes)
                unpack_quad_of_planes(rows, ahead, w, steps, n, columns, out, strip_bytes);
            else
                for (size_t c = 0; c < columns; c += kColumnBlock)
                    unpack_quad<Format>(rows, ahead, (n + c) / kColumnBlock, w.n_padded, out + c / kNr * strip_bytes, strip_bytes);
        }
    }
    block.tile = tile;
    block.scale = scale;
    block.zero_point = zero_point;
}

// Register blocks [first, last) of rows, from row m on, times an unpacked tile; returns the number of rows.
template <class Format>
inline size_t multiply_rows(const GemmParams& p, const QuantizedBlock& block, const EvenRows& parts, size_t first, size_t last, size_t m,
                            size_t n, size_t columns, const RowsOfX& x) {
    const size_t depth = block.quads * kQuad, fine = block.groups * p.q->fine();
    const Joined joined = joined_groups<Format>(p);
    const bool fine_kernel = p.q->fine_size == kFineGroup;
    const size_t groups = joined == Joined::whole ? 1 : block.groups;
    size_t rows = 0;
    for (size_t part = first; part < last; rows += parts.count(part++)) x.copy(*p.q, block, m + rows, parts.count(part), rows, joined);
    for (size_t c = 0; c < columns; c += kNr) {
        MicroQuantized a;
        a.tile = block.tile + c * block.quads * kPlanes<Format> * kQuad;
        a.scale = block.scale + c;
        a.zero_point = block.zero_point + c;
        a.x = x.value;
        a.x_stride = depth;
        a.x_scale = x.scale;
        a.x_sums = x.sums;
        a.one_scale = joined != Joined::none;
        a.groups = groups;
        a.group_quads = joined == Joined::whole ? block.quads : round_up(p.q->group_size, kQuad) / kQuad;
        a.quads = block.quads;
        a.y = p.y + m * p.y_stride + n + c;
        a.y_stride = p.y_stride;
        a.accumulate = p.accumulate || block.group != 0;
        for (size_t part = first; part < last; ++part) {
            const size_t count = parts.count(part);
            (fine_kernel ? kMicroQuantized<kPlanes<Format>, true> : kMicroQuantized<kPlanes<Format>, false>)[count - 1](a);
            a.x += count * depth;
            a.x_scale += count * fine;
            a.x_sums += count * groups * 2;
            a.y += count * p.y_stride;
        }
    }
    return rows;
}

template <class Format>
void gemm_qd8(const GemmParams& p) noexcept {
    const QuantizeRowsParams& q = *p.q;
    const size_t groups = ceil_div(q.k, q.group_size), step = TileShape<Format>::groups(q.group_size);
    float* scale = static_cast<float*>(p.scratch);
    float* zero_point = scale + step * kGemmColumns;
    uint8_t* tile = reinterpret_cast<uint8_t*>(zero_point + step * kGemmColumns);
    const size_t tile_k = step * round_up(q.group_size, kQuad);
    const RowsOfX x(tile + TileShape<Format>::kColumns * tile_k * kMaxPlanes, tile_k, step * q.fine(), kRowParts * kMrQuantized<1>);
    const EvenRows parts(p.m_to - p.m_from, kMrQuantized<kPlanes<Format>>);
    for (size_t n = p.n_from; n < p.n_to; n += TileShape<Format>::kColumns) {
        const size_t columns = at_most(TileShape<Format>::kColumns, p.n_to - n);
        for (size_t group = 0; group < groups; group += step) {
            QuantizedBlock block{};
            block.group = group;
            block.groups = at_most(step, groups - group);
            unpack_quantized_block<Format>(p, n, columns, block, tile, scale, zero_point);
            size_t m = p.m_from;
            for (size_t first = 0; first < parts.parts; first += kRowParts)
                m += multiply_rows<Format>(p, block, parts, first, at_most(first + kRowParts, parts.parts), m, n, columns, x);
        }
    }
}

template <class Format>
void unpack_float_block(const PackedWeight& w, size_t k_from, size_t k_to, size_t n, size_t columns, float* tile, float* scale,
                        float* zero_point) {
    const size_t depth = k_to - k_from;
    size_t known = SIZE_MAX;  // group that is expanded
    for (size_t k = k_from; k < k_to; ++k) {
        if constexpr (Format::kInteger) {
            const size_t size = Format::kStepped || Format::kTwoPlanes ? at_most(w.step_group, w.group_size) : w.group_size;
            if (k / size != known) expand_group<Format>(w, k, n, columns, scale, zero_point);
            known = k / size;
        }
        prefetch_ahead<Format>(w, k, n, columns);
        for (size_t c = 0; c < columns; c += kColumnBlock) {
            float* out = tile + (c / kNr * depth + k - k_from) * kNr;
            if constexpr (Format::kTwoPlanes)
                unpack_floats_of_planes(w, k, n + c, scale + c, zero_point + c, out, depth * kNr);
            else
                unpack_floats<Format>(w.data + k * w.row_bytes, (n + c) / kColumnBlock, w.n_padded, scale + c, zero_point + c, out,
                                      depth * kNr);
        }
    }
}

// Copies depth channels of some rows of x side by side.
inline void copy_rows(const float* x, size_t x_stride, size_t rows, size_t depth, float* out) {
    for (size_t r = 0; r < rows; ++r, x += x_stride, out += depth) {
        size_t k = 0;
        for (; k + Simd::kLanes <= depth; k += Simd::kLanes) Simd::store(out + k, Simd::load(x + k));
        for (; k < depth; ++k) out[k] = x[k];
    }
}

template <class Format>
void gemm_f32(const GemmParams& p) noexcept {
    const PackedWeight& w = *p.weight;
    float* scale = static_cast<float*>(p.scratch);
    float* zero_point = scale + kGemmColumns;
    float* rows_of_x = zero_point + kGemmColumns;
    float* tile = rows_of_x + kRowParts * Simd::kMrFloat * kFloatTileK;
    const EvenRows parts(p.m_to - p.m_from, Simd::kMrFloat);
    for (size_t n = p.n_from; n < p.n_to; n += kFloatColumns) {
        const size_t columns = at_most(kFloatColumns, p.n_to - n);
        for (size_t k = 0; k < w.k; k += kFloatTileK) {
            const size_t depth = at_most(k + kFloatTileK, w.k) - k;
            unpack_float_block<Format>(w, k, k + depth, n, columns, tile, scale, zero_point);
            size_t m = p.m_from;
            for (size_t first = 0; first < parts.parts; first += kRowParts) {
                const size_t last = at_most(first + kRowParts, parts.parts);
                size_t rows = 0;
                for (size_t part = first; part < last; ++part) rows += parts.count(part);
                copy_rows(p.x + m * w.k + k, w.k, rows, depth, rows_of_x);
                for (size_t c = 0; c < columns; c += kNr) {
                    MicroFloat a;
                    a.tile = tile + c * depth;
                    a.depth = depth;
                    a.x = rows_of_x;
                    a.x_stride = depth;
                    a.y = p.y + m * p.y_stride + n + c;
                    a.y_stride = p.y_stride;
                    a.accumulate = p.accumulate || k != 0;
                    for (size_t part = first; part < last; ++part) {
                        const size_t count = parts.count(part);
                        kMicroFloat[count - 1](a);
                        a.x += count * depth;
                        a.y += count * p.y_stride;
                    }
                }
                m += rows;
            }
        }
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
