// Sparse GEMV of bytes and nibbles with int8 activations, over the Simd vocabulary. Included after sparse_gemv.hpp.
//
// Per activation group the products of M rows gather in scratch as int32, in L1 for M = 1, and are then scaled into y.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// What multiplies the slots of a step, as the dot product wants it, of Rows rows of x; kMaxGemvRows: of as many as there are.
// One row stays in registers.
template <class Format, int Quads, size_t Rows>
struct QuadsOfX {
    size_t rows;
    typename Simd::Multiplier<Format> quad[Rows][Quads];
    QuadsOfX(const SparseGemvParams& p, size_t slot) : rows(p.m) {
        for (size_t row = 0; row < count(); ++row)
            for (int q = 0; q < Quads; ++q)
                quad[row][q] = Simd::multiplier<Format>(p.kept->quantized + row * p.kept->capacity + slot + 4 * q);
    }
    size_t count() const { return Rows < kMaxGemvRows ? Rows : rows; }
};

// Multiplies one register of bytes of each row with M rows of x and adds to dot[m], at the four registers of columns it covers.
template <class Format, int Quads, bool First, size_t Rows>
inline void multiply_bytes(const Simd::Int* bytes, const QuadsOfX<Format, Quads, Rows>& x, int32_t* dot, size_t dot_stride) {
    Simd::Int w[Quads][4];
    for (int q = 0; q < Quads; ++q) Simd::interleave(bytes + 4 * q, w[q]);
    for (int j = 0; j < 4; ++j) {
        int32_t* to = dot + 16 * j;
        for (size_t row = 0; row < x.count(); ++row, to += dot_stride) {
            const Simd::Int sum = First ? Simd::zero() : Simd::load(to);
            if constexpr (Quads == 2)
                Simd::store(to, Simd::dot8<Format>(sum, w[0][j], x.quad[row][0], w[1][j], x.quad[row][1]));
            else
                Simd::store(to, Simd::dot4<Format>(sum, w[0][j], x.quad[row][0]));
        }
    }
}

template <class Format, int Quads, bool First, size_t Rows>
void sweep_quantized(const SparseGemvParams& p, size_t slot, int32_t* dot) {
    const RowSet<Quads> rows(p, slot, p.kept->group_begin[p.kept->groups], Format::byte_offset(p.n_from));
    const QuadsOfX<Format, Quads, Rows> x(p, slot);
    const size_t columns = p.n_to - p.n_from;
    constexpr int kRows = Quads * 4;
    size_t c = 0;
    Simd::Int bytes[kRows];
    for (; c + Format::kTileColumns <= columns; c += Format::kTileColumns) {
        const size_t at = Format::byte_offset(c);
        rows.prefetch(at);
        for (size_t part = 0; part < Simd::kParts; ++part) {
            int32_t* to = dot + c + part * 8;
            for (int r = 0; r < kRows; ++r) bytes[r] = Simd::load(rows.row[r] + at + part * Simd::kBytes);
            if constexpr (Format::kFormat == WeightFormat::u8) {
                multiply_bytes<Format, Quads, First, Rows>(bytes, x, to, columns);
            } else {
                Simd::Int nibbles[kRows];
                for (int r = 0; r < kRows; ++r) nibbles[r] = Simd::low_nibbles(bytes[r]);
                multiply_bytes<Format, Quads, First, Rows>(nibbles, x, to, columns);
                for (int r = 0; r < kRows; ++r) nibbles[r] = Simd::high_nibbles(bytes[r]);
                multiply_bytes<Format, Quads, First, Rows>(nibbles, x, to + kColumnBlock, columns);
            }
        }
    }
    if (Format::kFormat == WeightFormat::u4 && c < columns) {  // a last single block
        rows.prefetch(Format::byte_offset(c));
        for (size_t part = 0; part < Simd::kParts; ++part) {
            for (int r = 0; r < kRows; ++r) bytes[r] = Simd::last_nibbles(rows.row[r] + Format::byte_offset(c), part);
            multiply_bytes<Format, Quads, First, Rows>(bytes, x, dot + c + part * 8, columns);
        }
    }
}

// One scale per channel over all of K: it is multiplied once per task (scale_columns), not once per activation group.
inline bool scaled_at_the_end(const PackedWeight& w) {
    return w.group_size >= w.k;
}

// y += (dot - zero point * sum) * scale, for one activation group; the first group of a task overwrites y.
template <class Format>
inline void add_group(const SparseGemvParams& p, size_t g, const int32_t* dot, size_t columns, bool first) {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    const size_t from = g * kept.group_size / w.group_size * w.n_padded + p.n_from, begin = kept.group_begin[g];
    const bool scaled = !scaled_at_the_end(w);
    for (size_t row = 0; row < p.m; ++row, dot += columns) {
        float* y = p.y + row * p.y_stride + p.n_from;
        const int32_t sum = kept.sum[row * kept.groups + g];
        const int32_t left_out = Simd::left_out<Format>(kept.quantized + row * kept.capacity + begin, kept.group_begin[g + 1] - begin, sum);
        const Simd::Int x_sum = Simd::broadcast(sum), rest = Simd::broadcast(left_out);
        const Simd::Int shift = Simd::broadcast(sum * w.implicit_zero_point - left_out);
        const Simd::Float x_scale = Simd::broadcast(kept.scale[row * kept.groups + g]);
        for (size_t c = 0; c < columns; c += Simd::kLanes) {
            const Simd::Int correction =
                w.zero_point ? Simd::subtract(Simd::multiply(Simd::load_u8(w.zero_point + from + c), x_sum), rest) : shift;
            const Simd::Float value = Simd::to_float(Simd::subtract(Simd::load(dot + c), correction));
            const Simd::Float scale = scaled ? Simd::multiply(Simd::load_scale(w, from + c), x_scale) : x_scale;
            Simd::store(y + c, first ? Simd::multiply(value, scale) : Simd::multiply_add(value, scale, Simd::load(y + c)));
        }
    }
}

inline void scale_columns(const SparseGemvParams& p) {
    for (size_t row = 0; row < p.m; ++row) {
        float* y = p.y + row * p.y_stride;
        for (size_t n = p.n_from; n < p.n_to; n += Simd::kLanes)
            Simd::store(y + n, Simd::multiply(Simd::load(y + n), Simd::load_scale(*p.weight, n)));
    }
}

template <class Format, int Quads, bool First>
inline void sweep_slots(const SparseGemvParams& p, size_t slot, int32_t* dot) {
    if (p.m == 1)
        sweep_quantized<Format, Quads, First, 1>(p, slot, dot);
    else if (p.m == 2)
        sweep_quantized<Format, Quads, First, 2>(p, slot, dot);
    else if (p.m == 3)
        sweep_quantized<Format, Quads, First, 3>(p, slot, dot);
    else if (p.m == 4)
        sweep_quantized<Format, Quads, First, 4>(p, slot, dot);
    else
        sweep_quantized<Format, Quads, First, kMaxGemvRows>(p, slot, dot);
}

template <class Format>
void sparse_gemv_qd8(const SparseGemvParams& p) noexcept {
    const KeptChannels& kept = *p.kept;
    const size_t columns = p.n_to - p.n_from;
    int32_t* dot = static_cast<int32_t*>(p.scratch);
    bool first = true;
    for (size_t g = p.group_from; g < p.group_to; ++g) {
        const size_t begin = kept.group_begin[g], end = kept.group_begin[g + 1];
        if (begin == end) continue;
        for (size_t i = begin; i < end;) {
            if (i + 8 <= end) {
                i == begin ? sweep_slots<Format, 2, true>(p, i, dot) : sweep_slots<Format, 2, false>(p, i, dot);
                i += 8;
            } else {
                i == begin ? sweep_slots<Format, 1, true>(p, i, dot) : sweep_slots<Format, 1, false>(p, i, dot);
                i += 4;
            }
        }
        add_group<Format>(p, g, dot, columns, first);
        first = false;
    }
    if (first)
        clear_y(p);
    else if (scaled_at_the_end(*p.weight))
        scale_columns(p);
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
