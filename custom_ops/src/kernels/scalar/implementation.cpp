// Plain C++: every CPU, every format; runs the same plumbing as the vector implementations.
#include "implementation.hpp"

#include "kernels/scalar/activate.hpp"
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

}  // namespace scap_ov::scalar

#define SCAP_OV_ISA scalar
#include "kernels/generic/table.hpp"

namespace scap_ov::scalar {

const Implementation& implementation() {
    static const Implementation kernels = table("scalar", "plain C++, any CPU", 0);
    return kernels;
}

}  // namespace scap_ov::scalar
