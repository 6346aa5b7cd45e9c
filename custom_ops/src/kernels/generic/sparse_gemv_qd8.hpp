// Sparse GEMV of bytes and nibbles with int8 activations, over the Simd vocabulary. Included after sparse_gemv.hpp.
//
// Per activation group and strip the products of M rows gather in scratch as int32 [columns / lanes, M, lanes], and are then scaled into y.
// Rows of sums one behind the other would be a power of two apart, and a load that follows a store 4 KB away waits for it.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// What multiplies the slots of a step, as the dot product wants it, of Rows rows of x. One row stays in registers.
template <class Format, int Quads, size_t Rows>
struct QuadsOfX {
    Simd::Multiplier<Format> quad[Rows][Quads];
    QuadsOfX(const SparseGemvParams& p, size_t slot) {
        for (size_t row = 0; row < count(); ++row)
            for (int q = 0; q < Quads; ++q)
                quad[row][q] = Simd::multiplier<Format>(p.kept->quantized + row * p.kept->capacity + slot + 4 * q);
    }
    static constexpr size_t count() { return Rows; }
};

// How products meet the sums so far: there are none, they are added, or kCoarse times they.
enum class Sums { begin, more, coarse };
static_assert(kCoarse == 32, "Simd::times_32");

// Adds the products of M rows of x and the quads [quad][j] of rows to their sums, at four registers of columns.
template <class Format, int Quads, Sums Kind, size_t Rows>
inline void multiply_quads(const Simd::Int (*quads)[4], const QuadsOfX<Format, Quads, Rows>& x, int32_t* dot) {
    for (int j = 0; j < 4; ++j) {
        int32_t* to = dot + 16 * j * x.count();
        for (size_t row = 0; row < x.count(); ++row, to += Simd::kLanes) {
            const Simd::Int sum = Kind == Sums::begin ? Simd::zero() : Simd::load(to), start = Kind == Sums::coarse ? Simd::zero() : sum;
            Simd::Int partial = Simd::start_partial(start);
            for (int q = 0; q < Quads; ++q) partial = Simd::multiply_quad<Format>(partial, quads[q][j], x.quad[row][q]);
            const Simd::Int added = Simd::add_partial<Format>(start, partial);
            Simd::store(to, Kind == Sums::coarse ? Simd::add(sum, Simd::times_32(added)) : added);
        }
    }
}

// The same for a register of bytes of each row. Bytes of nibbles are interleaved before they are split: half the shuffles.
template <class Format, int Quads, Sums Kind, size_t Rows>
inline void multiply_bytes(const RowSet<Format, Quads>& rows, size_t at, const QuadsOfX<Format, Quads, Rows>& x, int32_t* dot) {
    Simd::Int quads[Quads][4];
    for (int q = 0; q < Quads; ++q) {
        Simd::Int bytes[4];
        for (int r = 0; r < 4; ++r) bytes[r] = Simd::load(rows.row[4 * q + r] + at);
        Simd::interleave(bytes, quads[q]);
    }
    if constexpr (!Format::kNibbles) {
        multiply_quads<Format, Quads, Kind, Rows>(quads, x, dot);
    } else {
        Simd::Int nibbles[Quads][4];
        for (int q = 0; q < Quads; ++q)
            for (int j = 0; j < 4; ++j) nibbles[q][j] = Simd::low_operand(quads[q][j]);
        multiply_quads<Format, Quads, Kind, Rows>(nibbles, x, dot);
        for (int q = 0; q < Quads; ++q)
            for (int j = 0; j < 4; ++j) nibbles[q][j] = Simd::high_nibbles(quads[q][j]);
        multiply_quads<Format, Quads, Kind, Rows>(nibbles, x, dot + kColumnBlock * x.count());
    }
}

template <class Format, int Quads, Sums Kind, size_t Rows>
void sweep_quantized(const SparseGemvParams& p, const Strip& strip, size_t slot, int32_t* dot) {
    RowSet<Format, Quads> rows(p, strip, slot);
    const QuadsOfX<Format, Quads, Rows> x(p, slot);
    const size_t columns = strip.columns();
    size_t c = 0;
    for (; c + Format::kTileColumns <= columns; c += Format::kTileColumns) {
        const size_t at = Format::byte_offset(c);
        rows.prefetch();
        for (size_t part = 0; part < Simd::kParts; ++part)
            multiply_bytes<Format, Quads, Kind, Rows>(rows, at + part * Simd::kBytes, x, dot + (c + part * 8) * x.count());
    }
    if (Format::kNibbles && c < columns) {  // a last single block
        rows.prefetch();
        for (size_t part = 0; part < Simd::kParts; ++part) {
            Simd::Int quads[Quads][4];
            for (int q = 0; q < Quads; ++q) {
                Simd::Int nibbles[4];
                for (int r = 0; r < 4; ++r) nibbles[r] = Simd::last_nibbles(rows.row[4 * q + r] + Format::byte_offset(c), part);
                Simd::interleave(nibbles, quads[q]);
            }
            multiply_quads<Format, Quads, Kind, Rows>(quads, x, dot + (c + part * 8) * x.count());
        }
    }
}

// One scale per channel over all of K: it is multiplied once per task (scale_columns), not once per activation group.
inline bool scaled_at_the_end(const PackedWeight& w) {
    return w.group_size >= w.k;
}

// y += (dot - zero point * sum) * scale, for one activation group and strip; the first group of a task overwrites y.
template <class Format, bool Scaled, bool ZeroPoint>
inline void add_row_of_group(const SparseGemvParams& p, const Strip& strip, size_t g, const int32_t* dot, size_t row, bool first) {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    const size_t from = g * kept.group_size / w.group_size * w.n_padded + strip.from, columns = strip.columns();
    float* y = p.y + row * p.y_stride + strip.from;
    const int32_t sum = kept.sum[row * kept.groups + g];
    const int8_t* x = kept.quantized + row * kept.capacity;
    const int32_t left_out = Simd::left_out<Format>(x + strip.begin, strip.coarse - strip.begin, sum) +
                             kCoarse * Simd::left_out<Format>(x + strip.coarse, strip.end - strip.coarse, 0);
    const Simd::Int x_sum = Simd::broadcast(sum), rest = Simd::broadcast(left_out);
    const Simd::Int shift = Simd::broadcast(sum * w.implicit_zero_point - left_out);
    const Simd::Float x_scale = Simd::broadcast(kept.scale[row * kept.groups + g]);
    dot += row * Simd::kLanes;
    const auto add = [&](size_t c, Simd::Int product) {
        const Simd::Int correction =
            ZeroPoint ? Simd::subtract(Simd::multiply(Simd::load_u8(w.zero_point + from + c), x_sum), rest) : shift;
        const Simd::Float value = Simd::to_float(Simd::subtract(product, correction));
        const Simd::Float scale = Scaled ? Simd::multiply(Simd::load_scale(w, from + c), x_scale) : x_scale;
        Simd::store(y + c, first ? Simd::multiply(value, scale) : Simd::multiply_add(value, scale, Simd::load(y + c)));
    };
    size_t c = 0;
    if (Format::kNibbles)  // blocks of low and high nibbles alternate, but for a last single block
        for (; c + Format::kTileColumns <= columns; c += Format::kTileColumns)
            for (size_t lane = 0; lane < kColumnBlock; lane += Simd::kLanes) {
                const Simd::Int low = Simd::load(dot + (c + lane) * p.m), high = Simd::load(dot + (c + lane + kColumnBlock) * p.m);
                add(c + lane, Simd::of_low_nibbles(low, high));
                add(c + lane + kColumnBlock, Simd::of_high_nibbles(high));
            }
    for (; c < columns; c += Simd::kLanes) add(c, Simd::load(dot + c * p.m));
}

template <class Format>
inline void add_group(const SparseGemvParams& p, const Strip& strip, size_t g, const int32_t* dot, bool first) {
    const bool scaled = !scaled_at_the_end(*p.weight), zero_point = p.weight->zero_point != nullptr;
    const auto add = scaled ? (zero_point ? add_row_of_group<Format, true, true> : add_row_of_group<Format, true, false>)
                            : (zero_point ? add_row_of_group<Format, false, true> : add_row_of_group<Format, false, false>);
    for (size_t row = 0; row < p.m; ++row) add(p, strip, g, dot, row, first);
}

inline void scale_columns(const SparseGemvParams& p) {
    for (size_t row = 0; row < p.m; ++row) {
        float* y = p.y + row * p.y_stride;
        for (size_t n = p.n_from; n < p.n_to; n += Simd::kLanes)
            Simd::store(y + n, Simd::multiply(Simd::load(y + n), Simd::load_scale(*p.weight, n)));
    }
}

template <class Format, int Quads, Sums Kind>
inline void sweep_slots(const SparseGemvParams& p, const Strip& strip, size_t slot, int32_t* dot) {
    // An own sweep for each number of rows: a loop over rows inside takes 1.02 to 1.1 times as long.
    switch (p.m) {
        case 1:
            return sweep_quantized<Format, Quads, Kind, 1>(p, strip, slot, dot);
        case 2:
            return sweep_quantized<Format, Quads, Kind, 2>(p, strip, slot, dot);
        case 3:
            return sweep_quantized<Format, Quads, Kind, 3>(p, strip, slot, dot);
        case 4:
            return sweep_quantized<Format, Quads, Kind, 4>(p, strip, slot, dot);
        case 5:
            return sweep_quantized<Format, Quads, Kind, 5>(p, strip, slot, dot);
        case 6:
            return sweep_quantized<Format, Quads, Kind, 6>(p, strip, slot, dot);
        case 7:
            return sweep_quantized<Format, Quads, Kind, 7>(p, strip, slot, dot);
        default:
            return sweep_quantized<Format, Quads, Kind, kMaxGemvRows>(p, strip, slot, dot);
    }
}

// Short rows of a group that is kept whole are taken sixteen at a time where registers allow: sums are loaded and stored half as often.
// Rows of 768 bytes take 0.96 of the time so; with half of them dropped 1.02.
template <class Format>
inline bool takes_sixteen(const SparseGemvParams& p, const Strip& strip) {
    return p.m == 1 && strip.coarse - strip.begin == p.kept->group_size && has_short_rows<Format>(strip);
}

template <class Format>
inline void sweep_strip(const SparseGemvParams& p, const Strip& strip, int32_t* dot) {
    size_t i = strip.begin;
    if constexpr (Simd::kMostQuads >= 4 && std::is_same<Format, U4>::value)
        if (takes_sixteen<Format>(p, strip))
            for (; i + 16 <= strip.coarse; i += 16)
                i == strip.begin ? sweep_quantized<Format, 4, Sums::begin, 1>(p, strip, i, dot)
                                 : sweep_quantized<Format, 4, Sums::more, 1>(p, strip, i, dot);
    for (size_t step; i < strip.coarse; i += step) {
        step = i + 8 <= strip.coarse ? 8 : 4;
        if (step == 8)
            i == strip.begin ? sweep_slots<Format, 2, Sums::begin>(p, strip, i, dot) : sweep_slots<Format, 2, Sums::more>(p, strip, i, dot);
        else
            i == strip.begin ? sweep_slots<Format, 1, Sums::begin>(p, strip, i, dot) : sweep_slots<Format, 1, Sums::more>(p, strip, i, dot);
    }
    for (; i + 8 <= strip.end; i += 8) sweep_slots<Format, 2, Sums::coarse>(p, strip, i, dot);
    if (i < strip.end) sweep_slots<Format, 1, Sums::coarse>(p, strip, i, dot);
}

template <class Format>
void sparse_gemv_qd8(const SparseGemvParams& p) noexcept {
    const KeptChannels& kept = *p.kept;
    int32_t* dot = static_cast<int32_t*>(p.scratch);
    bool first = true;
    for (size_t g = p.group_from; g < p.group_to; ++g) {
        if (kept.group_begin[g] == kept.group_begin[g + 1]) continue;
        for_strips<Format, 1>(p, g, [&](const Strip& strip) {
            sweep_strip<Format>(p, strip, dot);
            add_group<Format>(p, strip, g, dot, first);
        });
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
