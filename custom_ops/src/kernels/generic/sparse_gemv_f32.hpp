// Sparse GEMV with float activations, of every format, over the Simd vocabulary. Included after sparse_gemv.hpp.
//
// Integer weights gather per activation group in scratch and are then scaled into y; float weights gather in y.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// The values of x that multiply the slots of a step, each in a whole register, so that they are operands in memory; of Rows rows,
// or, for kMaxGemvRows, of as many as there are.
template <int Slots, size_t Rows>
struct ValuesOfX {
    size_t rows;
    Simd::Float value[Rows][Slots];
    ValuesOfX(const SparseGemvParams& p, size_t slot) : rows(p.m) {
        for (size_t row = 0; row < count(); ++row)
            for (int i = 0; i < Slots; ++i) value[row][i] = Simd::broadcast(p.kept->value[row * p.kept->capacity + slot + i]);
    }
    size_t count() const { return Rows < kMaxGemvRows ? Rows : rows; }
};

// sum[m] += Σ x[m] w over the rows of a step, for one register of columns.
template <int Slots, size_t Rows>
inline void multiply_values(const Simd::Float* w, const ValuesOfX<Slots, Rows>& x, float* sum, size_t sum_stride) {
    for (size_t row = 0; row < x.count(); ++row, sum += sum_stride) {
        Simd::Float total = Simd::load(sum);
        for (int i = 0; i < Slots; ++i) total = Simd::multiply_add(w[i], x.value[row][i], total);
        Simd::store(sum, total);
    }
}

// Integer weights gather in scratch, in the order of positions: one byte of a row is one lane, without interleaving.
template <class Format, int Quads, size_t Rows>
void sweep_integers(const SparseGemvParams& p, const Strip& strip, size_t slot, float* sum) {
    constexpr int kRows = Quads * 4;
    RowSet<Format, Quads> rows(p, strip, slot);
    const ValuesOfX<kRows, Rows> x(p, slot);
    const size_t columns = strip.columns();
    const Simd::Float middle = Simd::broadcast(static_cast<float>(Format::kMidpoint));
    for (size_t c = 0; c < columns; c += Format::kTileColumns) {
        const size_t at = Format::byte_offset(c);
        // of a last single block of nibbles the low ones are positions 0…31, the high ones 32…63
        const bool single = Format::kNibbles && c + kColumnBlock == columns;
        const size_t bytes = single ? kColumnBlock / 2 : kColumnBlock, high = single ? kColumnBlock / 2 : kColumnBlock;
        rows.prefetch();
        for (size_t byte = 0; byte < bytes; byte += Simd::kLanes) {
            Simd::Int w[kRows];
            Simd::Float value[kRows];
            for (int i = 0; i < kRows; ++i) w[i] = Simd::load_u8(rows.row[i] + at + byte);
            for (int i = 0; i < kRows; ++i)
                value[i] = Simd::subtract(Simd::to_float(Format::kNibbles ? Simd::low_nibble(w[i]) : w[i]), middle);
            multiply_values(value, x, sum + c + byte, columns);
            if (!Format::kNibbles) continue;
            for (int i = 0; i < kRows; ++i) value[i] = Simd::subtract(Simd::to_float(Simd::high_nibble(w[i])), middle);
            multiply_values(value, x, sum + c + high + byte, columns);
        }
    }
}

// y += (sum - (zero point - midpoint) * Σx) * scale, and sum = 0 again.
template <class Format>
inline void add_group_f32(const SparseGemvParams& p, const Strip& strip, size_t g, float* sum) {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    const size_t columns = strip.columns(), from = g * kept.group_size / w.group_size * w.n_padded + strip.from;
    for (size_t row = 0; row < p.m; ++row, sum += columns) {
        float* y = p.y + row * p.y_stride + strip.from;
        const Simd::Float x_sum = Simd::broadcast(-kept.value_sum[row * kept.groups + g]);
        const Simd::Int implicit = Simd::broadcast(w.implicit_zero_point), middle = Simd::broadcast(int32_t{Format::kMidpoint});
        for (size_t block = 0; block < columns; block += kColumnBlock) {
            for (size_t i = 0; i < kColumnBlock / Simd::kLanes; ++i) {
                const size_t j = i / Simd::kParts, part = i % Simd::kParts, c = block + 16 * j + 8 * part;
                const Simd::Int zero_point = w.zero_point ? Simd::load_u8(w.zero_point + from + c) : implicit;
                const Simd::Float shift = Simd::to_float(Simd::subtract(zero_point, middle));
                const Simd::Float value = Simd::multiply_add(shift, x_sum, Simd::load_channels(sum + block, j, part));
                Simd::store(y + c, Simd::multiply_add(value, Simd::load_scale(w, from + c), Simd::load(y + c)));
            }
        }
        for (size_t c = 0; c < columns; c += Simd::kLanes) Simd::store(sum + c, Simd::zero_float());
    }
}

// Float weights gather in y itself.
template <class Format, int Quads, size_t Rows>
void sweep_floats(const SparseGemvParams& p, const Strip& strip, size_t slot) {
    constexpr int kRows = Quads * 4;
    RowSet<Format, Quads> rows(p, strip, slot);
    const ValuesOfX<kRows, Rows> x(p, slot);
    for (size_t c = 0; c < strip.columns(); c += Format::kTileColumns) {
        rows.prefetch();
        for (size_t lane = 0; lane < Format::kTileColumns; lane += Simd::kLanes) {
            const size_t from = Format::byte_offset(c + lane);
            Simd::Float w[kRows];
            for (int i = 0; i < kRows; ++i) w[i] = Simd::load_weights(Format{}, rows.row[i] + from);
            multiply_values(w, x, p.y + strip.from + c + lane, p.y_stride);
        }
    }
}

template <class Format, int Quads, size_t Rows>
inline void sweep_rows_f32(const SparseGemvParams& p, const Strip& strip, size_t slot, float* sum) {
    if constexpr (Format::kInteger)
        sweep_integers<Format, Quads, Rows>(p, strip, slot, sum);
    else
        sweep_floats<Format, Quads, Rows>(p, strip, slot);
}

template <class Format, int Quads>
inline void sweep_slots_f32(const SparseGemvParams& p, const Strip& strip, size_t slot, float* sum) {
    if (p.m == 1)
        sweep_rows_f32<Format, Quads, 1>(p, strip, slot, sum);
    else if (p.m == 2)
        sweep_rows_f32<Format, Quads, 2>(p, strip, slot, sum);
    else if (p.m == 4)
        sweep_rows_f32<Format, Quads, 4>(p, strip, slot, sum);
    else
        sweep_rows_f32<Format, Quads, kMaxGemvRows>(p, strip, slot, sum);
}

template <class Format>
inline void sweep_strip_f32(const SparseGemvParams& p, const Strip& strip, float* sum) {
    for (size_t i = strip.begin; i < strip.end;) {
        if (i + 8 <= strip.end) {
            sweep_slots_f32<Format, 2>(p, strip, i, sum);
            i += 8;
        } else {
            sweep_slots_f32<Format, 1>(p, strip, i, sum);
            i += 4;
        }
    }
}

template <class Format>
void sparse_gemv_f32(const SparseGemvParams& p) noexcept {
    const KeptChannels& kept = *p.kept;
    float* sum = static_cast<float*>(p.scratch);
    clear_y(p);
    const size_t sums = Format::kInteger ? gemv_scratch_bytes(p.m, p.n_to - p.n_from) / sizeof(float) : 0;
    for (size_t i = 0; i < sums; i += Simd::kLanes) Simd::store(sum + i, Simd::zero_float());
    for (size_t g = p.group_from; g < p.group_to; ++g) {
        if (kept.group_begin[g] == kept.group_begin[g + 1]) continue;
        for_strips<Format, 1>(p, g, [&](const Strip& strip) {
            sweep_strip_f32<Format>(p, strip, sum);
            if constexpr (Format::kInteger) add_group_f32<Format>(p, strip, g, sum);
        });
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
