// Dense product and row quantisation in plain C++, for any CPU and as the twin that the vector kernels are tested beside.
#pragma once
#include "formats/formats.hpp"
#include "kernels/scalar/compact.hpp"
#include "kernels/scalar/sparse_gemv.hpp"

namespace scap_ov::scalar {

inline void quantize_rows(const QuantizeRowsParams& p) noexcept {
    const size_t groups = ceil_div(p.k, p.group_size), stride = round_up(p.group_size, kQuad);
    for (size_t m = p.m_from; m < p.m_to; ++m) {
        for (size_t g = 0; g < groups; ++g) {
            const size_t from = g * p.group_size, count = p.k - from < p.group_size ? p.k - from : p.group_size;
            int8_t* out = p.quantized + m * p.k_padded + g * stride;
            float *scale = p.scale + (m * groups + g) * p.fine(), *sums = p.sums + (m * groups + g) * 2;
            sums[0] = 0.0f;
            for (size_t i = 0, f = 0; i < count; i += p.fine_size, ++f) {
                const float* x = p.x + m * p.k + from + i;
                const size_t fine = count - i < p.fine_size ? count - i : p.fine_size;
                const float inverse = find_scale(x, fine, scale + f);
                sums[0] += scale[f] * static_cast<float>(round_values(x, fine, inverse, out + i));
                if (i % kRun) scale[f - 1] -= scale[f];
            }
            for (size_t i = count; i < round_up(count, kQuad); ++i) out[i] = 0;
        }
    }
}

template <class Format>
void gemm_qd8(const GemmParams& p) noexcept {
    const PackedWeight& w = *p.weight;
    const QuantizeRowsParams& q = *p.q;
    const size_t groups = ceil_div(q.k, q.group_size), stride = round_up(q.group_size, kQuad);
    for (size_t n = p.n_from; n < p.n_to; ++n) {
        for (size_t m = p.m_from; m < p.m_to; ++m) {
            float y = 0.0f;
            for (size_t g = 0; g < groups; ++g) {
                const size_t from = g * q.group_size, count = q.k - from < q.group_size ? q.k - from : q.group_size;
                const int8_t* x = q.quantized + m * q.k_padded + g * stride;
                const size_t of = m * groups + g;
                const float* scale = q.scale + of * q.fine();
                float sum = 0.0f;
                int32_t dot = 0;
                for (size_t i = 0; i < count; ++i) {
                    if (i % kRun == 0) dot = 0;
                    dot += x[i] * stored_at<Format>(w, from + i, n);
                    if (i + 1 == count || (i + 1) % q.fine_size == 0) sum += static_cast<float>(dot) * scale[i / q.fine_size];
                }
                const Affine affine = affine_at<Format>(w, from, n);
                y += (sum - affine.zero_point * q.sums[of * 2]) * affine.scale;
            }
            p.y[m * p.y_stride + n] = (p.accumulate ? p.y[m * p.y_stride + n] : 0.0f) + y;
        }
    }
}

template <class Format>
void gemm_f32(const GemmParams& p) noexcept {
    const PackedWeight& w = *p.weight;
    for (size_t n = p.n_from; n < p.n_to; ++n) {
        for (size_t m = p.m_from; m < p.m_to; ++m) {
            float y = 0.0f;
            for (size_t k = 0; k < w.k; ++k) {
                const float x = p.x[m * w.k + k];
                if constexpr (Format::kInteger) {
                    const Affine affine = affine_at<Format>(w, k, n);
                    y += x * ((static_cast<float>(stored_at<Format>(w, k, n)) - affine.zero_point) * affine.scale);
                } else {
                    y += x * Format::at(w.data + k * w.row_bytes, w.n_padded, n);
                }
            }
            p.y[m * p.y_stride + n] = (p.accumulate ? p.y[m * p.y_stride + n] : 0.0f) + y;
        }
    }
}

constexpr size_t kLeastRowsOfPlanes = kMaxGemvRows + 1;

// None: plain C++ gains nothing from an order of reading.
constexpr FewRows::Range kFewRows[3] = {};
constexpr FewRows::ByShape kFewRowsOfBytes{}, kFewRowsOfPlanes{};

template <class Format>
constexpr void (*few_kernel())(const FewRowsParams&) noexcept {
    return nullptr;
}
template <class Format>
constexpr void (*wide_kernel())(const FewRowsParams&) noexcept {
    return nullptr;
}
constexpr decltype(FewRows::scratch_bytes) few_scratch_bytes = nullptr;

inline size_t gemm_scratch_bytes(size_t, size_t) noexcept {
    return 0;
}
inline size_t gemm_columns(size_t, bool, size_t) noexcept {
    return kGemmColumns;
}

}  // namespace scap_ov::scalar
