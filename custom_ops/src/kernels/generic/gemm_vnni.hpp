// What gemm_unpack.hpp and gemm_micro.hpp want of vpdpbusd: whole bytes, products of 32 bits.
#pragma once
#include "kernels/generic/compiler.hpp"
#include "kernels/generic/micro_few.hpp"

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

constexpr size_t kMrFew = Simd::kBytes == 64 ? 12 : 6;  // two accumulators each, two weights and x
// Narrow, middle and wide rows of the weight (docs/performance.md). With registers of 256 bits it is at 0.88 to 0.98 of the other's speed.
constexpr bool kGains = Simd::kBytes == 64;
constexpr FewRows::Range kFewRows[3] = {{6, kGains ? 63 : 0}, {9, kGains ? 63 : 0}, {9, kGains ? 48 : 0}};
// Tall and square weights, wide rows of them, and others.
constexpr FewRows::ByShape kFewRowsOfBytes{{9, kGains ? 32 : 0}, {9, kGains ? 32 : 0}, {9, kGains ? 32 : 0}, {9, kGains ? 32 : 0}};
constexpr FewRows::ByShape kFewRowsOfPlanes{{5, kGains ? 32 : 0}, {5, kGains ? 32 : 0}, {5, kGains ? 32 : 0}, {5, kGains ? 32 : 0}};

// finish(r, dot): the products of one group, of row r, at both registers of columns. The second one holds high nibbles, not shifted until
// the end.
template <int Rows, TileKind Kind, class Finish>
inline void multiply_few(const MicroFew& a, const Finish& finish) {
    Sums32 sum[Rows][2] = {};
    const uint8_t *tile = a.tile, *ahead = a.ahead, *end = tile + a.quads * Simd::kBytes;
    const int8_t* x = a.x;
    do {
        const Simd::Int first = Simd::load(tile), second = Simd::high_nibbles(first);
        prefetch_line(ahead);
        for (int r = 0; r < Rows; ++r) {
            const Simd::Int quad = Simd::broadcast_quad(x + r * kQuad);
            sum[r][0] = to_sums<Sums32>(Simd::dot_bytes(to_register(sum[r][0]), first, quad));
            if (Kind == TileKind::nibbles) sum[r][1] = to_sums<Sums32>(Simd::dot_bytes(to_register(sum[r][1]), second, quad));
        }
        tile += Simd::kBytes;
        ahead += a.ahead_step;
        x += Rows * kQuad;
    } while (tile != end);
    for_rows<Rows>([&](auto r) {
        Simd::Int dot[2] = {to_register(sum[r][0]), to_register(sum[r][1])};
        if (Kind == TileKind::nibbles) {
            dot[0] = Simd::of_low_nibbles(dot[0], dot[1]);
            dot[1] = Simd::of_high_nibbles(dot[1]);
        }
        finish(r, dot);
    });
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
