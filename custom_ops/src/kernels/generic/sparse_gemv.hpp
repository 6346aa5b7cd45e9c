// Sparse GEMV over the Simd vocabulary of <isa>/simd.hpp, which is included before, inside the target region, with SCAP_OV_ISA set.
//
// Kept channels are taken eight (then four) at a time and swept over the task's whole piece of their rows, while the next ones
// are prefetched into L2; long stretches of memory are what the prefetchers want, short random ones are slower than dense.
// Per activation group the products of M rows gather in scratch (int32, or float without quantisation), in L1 for M = 1, and
// are then scaled into y.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// Rows of `Quads` quads of kept slots from `slot` on, at column byte offset `at`, and those to prefetch.
template <int Quads>
struct RowSet {
    const uint8_t* row[Quads * 4];
    const uint8_t* next[Quads * 4];
    RowSet(const SparseGemvParams& p, size_t slot, size_t end, size_t at) {
        const PackedWeight& w = *p.weight;
        for (int r = 0; r < Quads * 4; ++r) {
            const size_t ahead = slot + r + p.prefetch_rows;
            row[r] = w.data + p.kept->index[slot + r] * w.row_bytes + at;
            next[r] = w.data + p.kept->index[ahead < end ? ahead : end - 1] * w.row_bytes + at;
        }
    }
    void prefetch(size_t at) const {
        for (int r = 0; r < Quads * 4; ++r) _mm_prefetch(reinterpret_cast<const char*>(next[r] + at), _MM_HINT_T1);
    }
};

// Multiplies one register of bytes of each row with M rows of x and adds to dot[m], at the four registers of columns it covers.
template <class Format, int Quads, bool First>
inline void multiply_bytes(const Simd::Int* bytes, const int8_t* x, size_t x_stride, size_t m, int32_t* dot, size_t dot_stride) {
    Simd::Int w[Quads][4];
    for (int q = 0; q < Quads; ++q) Simd::interleave(bytes + 4 * q, w[q]);
    for (size_t row = 0; row < m; ++row, x += x_stride, dot += dot_stride) {
        const Simd::Int x0 = Simd::broadcast_quad(x), x1 = Quads == 2 ? Simd::broadcast_quad(x + 4) : x0;
        for (int j = 0; j < 4; ++j) {
            const Simd::Int sum = First ? Simd::zero() : Simd::load(dot + 16 * j);
            if constexpr (Quads == 2)
                Simd::store(dot + 16 * j, Simd::dot8<Format>(sum, w[0][j], x0, w[1][j], x1));
            else
                Simd::store(dot + 16 * j, Simd::dot4<Format>(sum, w[0][j], x0));
        }
    }
}

template <class Format, int Quads, bool First>
void sweep_quantized(const RowSet<Quads>& rows, const int8_t* x, size_t x_stride, size_t m, int32_t* dot, size_t columns) {
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
                multiply_bytes<Format, Quads, First>(bytes, x, x_stride, m, to, columns);
            } else {
                Simd::Int nibbles[kRows];
                for (int r = 0; r < kRows; ++r) nibbles[r] = Simd::low_nibbles(bytes[r]);
                multiply_bytes<Format, Quads, First>(nibbles, x, x_stride, m, to, columns);
                for (int r = 0; r < kRows; ++r) nibbles[r] = Simd::high_nibbles(bytes[r]);
                multiply_bytes<Format, Quads, First>(nibbles, x, x_stride, m, to + kColumnBlock, columns);
            }
        }
    }
    if (Format::kFormat == WeightFormat::u4 && c < columns) {  // a last single block
        rows.prefetch(Format::byte_offset(c));
        for (size_t part = 0; part < Simd::kParts; ++part) {
            for (int r = 0; r < kRows; ++r) bytes[r] = Simd::last_nibbles(rows.row[r] + Format::byte_offset(c), part);
            multiply_bytes<Format, Quads, First>(bytes, x, x_stride, m, dot + c + part * 8, columns);
        }
    }
}

// y += (dot - zero point * sum) * scale, for one activation group.
inline void add_group(const SparseGemvParams& p, size_t g, const int32_t* dot, size_t columns) {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    const size_t from = g * kept.group_size / w.group_size * w.n_padded + p.n_from;
    for (size_t row = 0; row < p.m; ++row, dot += columns) {
        float* y = p.y + row * p.y_stride + p.n_from;
        const int32_t sum = kept.sum[row * kept.groups + g];
        const Simd::Int x_sum = Simd::broadcast(sum), shift = Simd::broadcast(sum * w.implicit_zero_point);
        const Simd::Float x_scale = Simd::broadcast(kept.scale[row * kept.groups + g]);
        for (size_t c = 0; c < columns; c += Simd::kLanes) {
            const Simd::Int correction = w.zero_point ? Simd::multiply(Simd::load_u8(w.zero_point + from + c), x_sum) : shift;
            const Simd::Float value = Simd::to_float(Simd::subtract(Simd::load(dot + c), correction));
            const Simd::Float scale = Simd::multiply(Simd::load_scale(w, from + c), x_scale);
            Simd::store(y + c, Simd::multiply_add(value, scale, Simd::load(y + c)));
        }
    }
}

inline void clear_y(const SparseGemvParams& p) {
    for (size_t row = 0; row < p.m; ++row)
        for (size_t n = p.n_from; n < p.n_to; n += Simd::kLanes) Simd::store(p.y + row * p.y_stride + n, Simd::zero_float());
}

template <class Format>
void sparse_gemv_qd8(const SparseGemvParams& p) noexcept {
    const KeptChannels& kept = *p.kept;
    const size_t columns = p.n_to - p.n_from, at = Format::byte_offset(p.n_from), last = kept.group_begin[kept.groups];
    int32_t* dot = static_cast<int32_t*>(p.scratch);
    clear_y(p);
    for (size_t g = p.group_from; g < p.group_to; ++g) {
        const size_t begin = kept.group_begin[g], end = kept.group_begin[g + 1];
        for (size_t i = begin; i < end;) {
            const int8_t* x = kept.quantized + i;
            if (i + 8 <= end) {
                const RowSet<2> rows(p, i, last, at);
                if (i == begin)
                    sweep_quantized<Format, 2, true>(rows, x, kept.capacity, p.m, dot, columns);
                else
                    sweep_quantized<Format, 2, false>(rows, x, kept.capacity, p.m, dot, columns);
                i += 8;
            } else {
                const RowSet<1> rows(p, i, last, at);
                if (i == begin)
                    sweep_quantized<Format, 1, true>(rows, x, kept.capacity, p.m, dot, columns);
                else
                    sweep_quantized<Format, 1, false>(rows, x, kept.capacity, p.m, dot, columns);
                i += 4;
            }
        }
        if (begin < end) add_group(p, g, dot, columns);
    }
}

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

// Float weights gather in y itself.
template <class Format>
void sweep_floats(const RowSet<1>& rows, const float* x, size_t x_stride, const SparseGemvParams& p) {
    const size_t columns = p.n_to - p.n_from;
    for (size_t c = 0; c < columns; c += Format::kTileColumns) {
        const size_t at = Format::byte_offset(c);
        rows.prefetch(at);
        for (size_t lane = 0; lane < Format::kTileColumns; lane += Simd::kLanes) {
            const size_t from = Format::byte_offset(c + lane);
            const Simd::Float w0 = Simd::load_weights<Format>(rows.row[0] + from), w1 = Simd::load_weights<Format>(rows.row[1] + from);
            const Simd::Float w2 = Simd::load_weights<Format>(rows.row[2] + from), w3 = Simd::load_weights<Format>(rows.row[3] + from);
            for (size_t row = 0; row < p.m; ++row) {
                const float* v = x + row * x_stride;
                float* y = p.y + row * p.y_stride + p.n_from + c + lane;
                Simd::Float total = Simd::load(y);
                total = Simd::multiply_add(w0, Simd::broadcast(v[0]), total);
                total = Simd::multiply_add(w1, Simd::broadcast(v[1]), total);
                total = Simd::multiply_add(w2, Simd::broadcast(v[2]), total);
                Simd::store(y, Simd::multiply_add(w3, Simd::broadcast(v[3]), total));
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
        for (size_t i = begin; i < end; i += kQuad) {
            const RowSet<1> rows(p, i, last, at);
            if constexpr (Format::kInteger)
                sweep_integers_f32<Format>(rows, kept.value + i, kept.capacity, p.m, sum, columns);
            else
                sweep_floats<Format>(rows, kept.value + i, kept.capacity, p);
        }
        if constexpr (Format::kInteger)
            if (begin < end) add_group_f32<Format>(p, g, sum, columns);
    }
}

inline size_t gemv_scratch_bytes(size_t m, size_t columns) noexcept {
    return m * columns * sizeof(int32_t);
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
