// Sparse GEMV in plain C++: the order of operations that the vector kernels follow, without their speed.
#pragma once
#include "formats/formats.hpp"

namespace scap_ov::scalar {

inline float scale_at(const PackedWeight& w, size_t group, size_t n) {
    const size_t i = group * w.n_padded + n;
    return w.scale_is_f16 ? f16_to_f32(static_cast<const uint16_t*>(w.scale)[i]) : static_cast<const float*>(w.scale)[i];
}

inline int zero_point_at(const PackedWeight& w, size_t group, size_t n) {
    return w.zero_point ? w.zero_point[group * w.n_padded + n] : w.implicit_zero_point;
}

template <class Format>
void sparse_gemv_qd8(const SparseGemvParams& p) noexcept {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    for (size_t m = 0; m < p.m; ++m) {
        const int8_t* q = kept.quantized + m * kept.capacity;
        for (size_t n = p.n_from; n < p.n_to; ++n) {
            float y = 0.0f;
            for (size_t g = p.group_from; g < p.group_to; ++g) {
                if (kept.group_begin[g] == kept.group_begin[g + 1]) continue;
                int32_t dot = 0;
                for (uint32_t i = kept.group_begin[g]; i < kept.group_begin[g + 1]; ++i)
                    dot += q[i] * Format::at(w.data + kept.index[i] * w.row_bytes, w.n_padded, n);
                const size_t group = g * kept.group_size / w.group_size;
                dot -= zero_point_at(w, group, n) * kept.sum[m * kept.groups + g];
                y += static_cast<float>(dot) * (kept.scale[m * kept.groups + g] * scale_at(w, group, n));
            }
            p.y[m * p.y_stride + n] = y;
        }
    }
}

template <class Format>
void sparse_gemv_f32(const SparseGemvParams& p) noexcept {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    for (size_t m = 0; m < p.m; ++m) {
        const float* value = kept.value + m * kept.capacity;
        for (size_t n = p.n_from; n < p.n_to; ++n) {
            float y = 0.0f;
            for (size_t g = p.group_from; g < p.group_to; ++g) {
                float dot = 0.0f;
                for (uint32_t i = kept.group_begin[g]; i < kept.group_begin[g + 1]; ++i) {
                    if constexpr (Format::kInteger)
                        dot += value[i] *
                               static_cast<float>(Format::at(w.data + kept.index[i] * w.row_bytes, w.n_padded, n) - Format::kMidpoint);
                    else
                        y += value[i] * Format::at(w.data + kept.index[i] * w.row_bytes, w.n_padded, n);
                }
                if constexpr (Format::kInteger) {
                    const size_t group = g * kept.group_size / w.group_size;
                    const int shift = zero_point_at(w, group, n) - Format::kMidpoint;
                    dot -= static_cast<float>(shift) * kept.value_sum[m * kept.groups + g];
                    y += dot * scale_at(w, group, n);
                }
            }
            p.y[m * p.y_stride + n] = y;
        }
    }
}

inline size_t gemv_scratch_bytes(size_t, size_t) noexcept {
    return 0;
}

}  // namespace scap_ov::scalar
