// Sparse GEMV with float activations, of every format, over the Simd vocabulary. Included after sparse_gemv.hpp.
//
// Integer weights gather per activation group in scratch, less their midpoint, and are then scaled into y; float weights gather in y.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// Without quantisation: sum[m] += x[m] * (w - midpoint), four rows at a time.
template <class Format>
inline void multiply_bytes_f32(Simd::Int* bytes, const float* x, size_t x_stride, size_t m, float* sum, size_t sum_stride) {
    Simd::Int w[4];
    for (int r = 0; r < 4; ++r) bytes[r] = Simd::subtract_bytes(bytes[r], Format::kMidpoint);
    Simd::interleave(bytes, w);
    for (int j = 0; j < 4; ++j) {
        const Simd::Float w0 = Simd::to_float(Simd::signed_byte<0>(w[j])), w1 = Simd::to_float(Simd::signed_byte<1>(w[j]));
        const Simd::Float w2 = Simd::to_float(Simd::signed_byte<2>(w[j])), w3 = Simd::to_float(Simd::signed_byte<3>(w[j]));
        for (size_t row = 0; row < m; ++row) {
            const float* v = x + row * x_stride;
            float* to = sum + row * sum_stride + 16 * j;
            Simd::Float total = Simd::load(to);
            total = Simd::multiply_add(w0, Simd::broadcast(v[0]), total);
            total = Simd::multiply_add(w1, Simd::broadcast(v[1]), total);
            total = Simd::multiply_add(w2, Simd::broadcast(v[2]), total);
            Simd::store(to, Simd::multiply_add(w3, Simd::broadcast(v[3]), total));
        }
    }
}

template <class Format>
void sweep_integers_f32(const RowSet<1>& rows, const float* x, size_t x_stride, size_t m, float* sum, size_t columns) {
    size_t c = 0;
    Simd::Int bytes[4];
    for (; c + Format::kTileColumns <= columns; c += Format::kTileColumns) {
        const size_t at = Format::byte_offset(c);
        rows.prefetch(at);
        for (size_t part = 0; part < Simd::kParts; ++part) {
            for (int half = 0; half < (Format::kFormat == WeightFormat::u4 ? 2 : 1); ++half) {
                for (int r = 0; r < 4; ++r) {
                    bytes[r] = Simd::load(rows.row[r] + at + part * Simd::kBytes);
                    if constexpr (Format::kFormat == WeightFormat::u4)
                        bytes[r] = half ? Simd::high_nibbles(bytes[r]) : Simd::low_nibbles(bytes[r]);
                }
                multiply_bytes_f32<Format>(bytes, x, x_stride, m, sum + c + part * 8 + half * kColumnBlock, columns);
            }
        }
    }
    if (Format::kFormat == WeightFormat::u4 && c < columns) {
        rows.prefetch(Format::byte_offset(c));
        for (size_t part = 0; part < Simd::kParts; ++part) {
            for (int r = 0; r < 4; ++r) bytes[r] = Simd::last_nibbles(rows.row[r] + Format::byte_offset(c), part);
            multiply_bytes_f32<Format>(bytes, x, x_stride, m, sum + c + part * 8, columns);
        }
    }
}

// y += (sum - (zero point - midpoint) * Σx) * scale, and sum = 0 again.
template <class Format>
inline void add_group_f32(const SparseGemvParams& p, size_t g, float* sum, size_t columns) {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    const size_t from = g * kept.group_size / w.group_size * w.n_padded + p.n_from;
    for (size_t row = 0; row < p.m; ++row, sum += columns) {
        float* y = p.y + row * p.y_stride + p.n_from;
        const Simd::Float x_sum = Simd::broadcast(kept.value_sum[row * kept.groups + g]);
        const Simd::Int implicit = Simd::broadcast(w.implicit_zero_point), midpoint = Simd::broadcast(Format::kMidpoint);
        for (size_t c = 0; c < columns; c += Simd::kLanes) {
            const Simd::Int zero_point = w.zero_point ? Simd::load_u8(w.zero_point + from + c) : implicit;
            const Simd::Float shift = Simd::to_float(Simd::subtract(midpoint, zero_point));
            const Simd::Float value = Simd::multiply_add(shift, x_sum, Simd::load(sum + c));
            Simd::store(y + c, Simd::multiply_add(value, Simd::load_scale(w, from + c), Simd::load(y + c)));
            Simd::store(sum + c, Simd::zero_float());
        }
    }
}

// The values of x that multiply the slots of a step, each in a whole register, so that they are operands in memory.
template <int Slots>
struct ValuesOfX {
    size_t m;
    Simd::Float value[kMaxGemvRows][Slots];
    ValuesOfX(const SparseGemvParams& p, size_t slot) : m(p.m) {
        for (size_t row = 0; row < m; ++row)
            for (int i = 0; i < Slots; ++i) value[row][i] = Simd::broadcast(p.kept->value[row * p.kept->capacity + slot + i]);
    }
};

// Float weights gather in y itself.
template <class Format, int Quads>
void sweep_floats(const SparseGemvParams& p, size_t slot) {
    constexpr int kRows = Quads * 4;
    const RowSet<Quads> rows(p, slot, p.kept->group_begin[p.kept->groups], Format::byte_offset(p.n_from));
    const ValuesOfX<kRows> x(p, slot);
    const size_t columns = p.n_to - p.n_from;
    for (size_t c = 0; c < columns; c += Format::kTileColumns) {
        rows.prefetch(Format::byte_offset(c));
        for (size_t lane = 0; lane < Format::kTileColumns; lane += Simd::kLanes) {
            const size_t from = Format::byte_offset(c + lane);
            Simd::Float w[kRows];
            for (int i = 0; i < kRows; ++i) w[i] = Simd::load_weights<Format>(rows.row[i] + from);
            float* y = p.y + p.n_from + c + lane;
            for (size_t row = 0; row < x.m; ++row, y += p.y_stride) {
                Simd::Float total = Simd::load(y);
                for (int i = 0; i < kRows; ++i) total = Simd::multiply_add(w[i], x.value[row][i], total);
                Simd::store(y, total);
            }
        }
    }
}

template <class Format>
void sparse_gemv_f32(const SparseGemvParams& p) noexcept {
    const KeptChannels& kept = *p.kept;
    const size_t columns = p.n_to - p.n_from, at = Format::byte_offset(p.n_from), last = kept.group_begin[kept.groups];
    float* sum = static_cast<float*>(p.scratch);
    clear_y(p);
    for (size_t i = 0; Format::kInteger && i < p.m * columns; i += Simd::kLanes) Simd::store(sum + i, Simd::zero_float());
    for (size_t g = p.group_from; g < p.group_to; ++g) {
        const size_t begin = kept.group_begin[g], end = kept.group_begin[g + 1];
        for (size_t i = begin; i < end;) {
            if constexpr (Format::kInteger) {
                sweep_integers_f32<Format>(RowSet<1>(p, i, last, at), kept.value + i, kept.capacity, p.m, sum, columns);
                i += 4;
            } else if (i + 8 <= end) {
                sweep_floats<Format, 2>(p, i);
                i += 8;
            } else {
                sweep_floats<Format, 1>(p, i);
                i += 4;
            }
        }
        if constexpr (Format::kInteger)
            if (begin < end) add_group_f32<Format>(p, g, sum, columns);
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
