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

// The integer of input channel k as it was before it was split into planes.
template <class Format>
int stored_at(const PackedWeight& w, size_t k, size_t n) {
    if constexpr (Format::kTwoPlanes) {
        const size_t i = k / w.step_group * w.n_padded + n;
        const int high = U4::at(w.data + k * w.row_bytes, w.n_padded, n), low = U4::at(w.data + (w.k + k) * w.row_bytes, w.n_padded, n);
        return w.offset[i] + w.step[i] * high + low;
    } else {
        return Format::at(w.data + k * w.row_bytes, w.n_padded, n);
    }
}

// A weight of input channel k is (stored - zero_point) * scale.
struct Affine {
    float scale, zero_point;
};
template <class Format>
Affine affine_at(const PackedWeight& w, size_t k, size_t n) {
    const size_t group = k / w.group_size;
    const float scale = scale_at(w, group, n), zero_point = static_cast<float>(zero_point_at(w, group, n));
    if constexpr (!Format::kStepped) {
        return {scale, zero_point};
    } else {
        const size_t i = k / w.step_group * w.n_padded + n;
        const float step = w.step[i];
        return {scale * step, (zero_point - static_cast<float>(w.offset[i]) - (step - 1.0f) / 2.0f) / step};
    }
}

// What multiplies the weight of a slot.
inline int32_t quantized_at(const KeptChannels& kept, size_t m, size_t list, size_t slot) {
    return kept.quantized[m * kept.capacity + slot] * (slot < kept.coarse_begin[list] ? 1 : kCoarse);
}

// Both planes: list 2g of kept channels times the high one, list 2g + 1 times the low one. See generic/sparse_gemv_planes.hpp.
template <bool Quantized>
void sparse_gemv_planes(const SparseGemvParams& p) {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    for (size_t m = 0; m < p.m; ++m)
        for (size_t n = p.n_from; n < p.n_to; ++n) {
            float y = 0.0f;
            for (size_t g = p.group_from; g < p.group_to; ++g) {
                float sum[2] = {}, x_sum[2];
                for (size_t list = 0; list < 2; ++list) {
                    const size_t of = m * kept.all_lists() + 2 * g + list;
                    x_sum[list] = Quantized ? static_cast<float>(kept.sum[of]) : kept.value_sum[of];
                    for (uint32_t i = kept.group_begin[2 * g + list]; i < kept.group_begin[2 * g + list + 1]; ++i) {
                        const float x = Quantized ? quantized_at(kept, m, 2 * g + list, i) : kept.value[m * kept.capacity + i];
                        sum[list] += x * static_cast<float>(U4::at(w.data + kept.index[i] * w.row_bytes, w.n_padded, n));
                    }
                }
                if (kept.group_begin[2 * g] == kept.group_begin[2 * g + 1]) continue;
                const size_t k = g * kept.group_size, group = k / w.group_size, i = k / w.step_group * w.n_padded + n;
                const float half = (x_sum[0] - x_sum[1]) / 2.0f, step = w.step[i];
                const float base = static_cast<float>(w.offset[i] - zero_point_at(w, group, n));
                const float value = step * (sum[0] + half) + sum[1] + base * x_sum[0] - half;
                y += value * (Quantized ? kept.scale[m * kept.groups + g] * scale_at(w, group, n) : scale_at(w, group, n));
            }
            p.y[m * p.y_stride + n] = y;
        }
}

inline void sparse_gemv_planes_qd8(const SparseGemvParams& p) noexcept {
    sparse_gemv_planes<true>(p);
}
inline void sparse_gemv_planes_f32(const SparseGemvParams& p) noexcept {
    sparse_gemv_planes<false>(p);
}

template <class Format>
void sparse_gemv_qd8(const SparseGemvParams& p) noexcept {
    const PackedWeight& w = *p.weight;
    const KeptChannels& kept = *p.kept;
    for (size_t m = 0; m < p.m; ++m) {
        for (size_t n = p.n_from; n < p.n_to; ++n) {
            float y = 0.0f;
            for (size_t g = p.group_from; g < p.group_to; ++g) {
                if (kept.group_begin[g] == kept.group_begin[g + 1]) continue;
                int32_t dot = 0;
                for (uint32_t i = kept.group_begin[g]; i < kept.group_begin[g + 1]; ++i)
                    dot += quantized_at(kept, m, g, i) * Format::at(w.data + kept.index[i] * w.row_bytes, w.n_padded, n);
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
