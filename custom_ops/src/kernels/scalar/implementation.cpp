// Plain C++: every CPU, every format; runs the same plumbing as the vector implementations.
#include "implementation.hpp"

#include "kernels/scalar/compact.hpp"
#include "kernels/scalar/gemm.hpp"
#include "kernels/scalar/sparse_gemv.hpp"

namespace scap_ov::scalar {
namespace {

void widen(const uint16_t* from, size_t count, float* to) noexcept {
    for (size_t i = 0; i < count; ++i) to[i] = f16_to_f32(from[i]);
}

void narrow(const float* from, size_t count, uint16_t* to) noexcept {
    for (size_t i = 0; i < count; ++i) to[i] = f32_to_f16(from[i]);
}

void add(const float* other, size_t count, float* y) noexcept {
    for (size_t i = 0; i < count; ++i) y[i] += other[i];
}

}  // namespace

const Implementation& implementation() {
    static const Implementation table = {
        "scalar",
        "plain C++, any CPU",
        0,
        widen,
        narrow,
        add,
        compact,
        quantize_rows,
        {sparse_gemv_qd8<U4>, sparse_gemv_qd8<U8>, nullptr, nullptr, nullptr},
        {sparse_gemv_f32<U4>, sparse_gemv_f32<U8>, sparse_gemv_f32<F16>, sparse_gemv_f32<BF16>, sparse_gemv_f32<F32>},
        {gemm_qd8<U4>, gemm_qd8<U8>, nullptr, nullptr, nullptr},
        {gemm_f32<U4>, gemm_f32<U8>, gemm_f32<F16>, gemm_f32<BF16>, gemm_f32<F32>},
        gemv_scratch_bytes,
        gemm_scratch_bytes,
    };
    return table;
}

}  // namespace scap_ov::scalar
