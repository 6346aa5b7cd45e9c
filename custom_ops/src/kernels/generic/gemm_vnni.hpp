// What gemm_unpack.hpp and gemm_micro.hpp want of vpdpbusd: whole bytes, products of 32 bits.
#pragma once
#include "kernels/generic/compiler.hpp"

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kNr = 2 * Simd::kLanes;
template <int Planes>
constexpr size_t kMrQuantized = 6;  // 12 accumulators, 2 weights and x: 15 registers; of 32 the sums of the groups fill 12 more
constexpr size_t kMaxPlanes = 1;
template <class Format>
constexpr int kPlanes = 1;

// dot += the products of `quads` quads of input channels.
template <int Rows, int>
inline void multiply_fine(const uint8_t* tile, const int8_t* x, size_t x_stride, size_t quads, SumsOfRows<Rows>& dot) {
    for (size_t q = 0; q < quads; ++q, tile += kNr * kQuad, x += kQuad) {
        const Simd::Int w[2] = {Simd::load(tile), Simd::load(tile + Simd::kBytes)};
        for (int r = 0; r < Rows; ++r) {
            const Simd::Int quad = Simd::broadcast_quad(x + r * x_stride);
            for (int j = 0; j < 2; ++j) dot.of[r][j] = to_sums<Sums32>(Simd::dot_bytes(to_register(dot.of[r][j]), w[j], quad));
        }
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
