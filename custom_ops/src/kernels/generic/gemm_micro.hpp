// Register-blocked micro-kernels that gemm.hpp calls: Rows rows of x times kNr columns, which are two registers. Over Simd, and over
// multiply_fine, kPlanes and kMrQuantized, in which instruction sets differ.
#pragma once

namespace scap_ov {

struct MicroQuantized {
    const uint8_t* tile;              // [quads][planes][kNr][4]
    const float *scale, *zero_point;  // [groups, kGemmColumns]
    const int8_t* x;                  // [rows, x_stride], groups padded to group_quads quads
    size_t x_stride;
    const float* x_scale;               // [fine groups, rows]
    const float* x_sums;                // [groups, rows, 2]: of QuantizeRowsParams::sums the first, and -kBias times the second
    bool one_scale;                     // of all groups; then the second of all groups is with the first group
    size_t groups, group_quads, quads;  // the last group has what is left of quads
    float* y;                           // [rows, y_stride]
    size_t y_stride;
    bool accumulate;  // false: y is overwritten
};

struct MicroFloat {
    const float* tile;  // [depth][kNr]
    size_t depth;
    const float* x;  // [rows, x_stride]
    size_t x_stride;
    float* y;  // [rows, y_stride]
    size_t y_stride;
    bool accumulate;
};

namespace SCAP_OV_ISA {
namespace {

template <int Rows>
inline void load_sums(const float* y, size_t y_stride, bool accumulate, Simd::Float (*sum)[2]) {
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) sum[r][j] = accumulate ? Simd::load(y + r * y_stride + j * Simd::kLanes) : Simd::zero_float();
}

template <int Rows>
inline void store_sums(const Simd::Float (*sum)[2], float* y, size_t y_stride) {
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) Simd::store(y + r * y_stride + j * Simd::kLanes, sum[r][j]);
}

// Products of a run are added to the bits of this float, whose last binary place is 1: |their sum| <= 128 · 127 · 255 < 2^22, so the bits
// are those of the float kBias + sum. A fine group costs one instruction a sum so, where a conversion would be a second and a fresh start
// a third. What kBias adds is taken off beforehand.
constexpr float kBias = 12582912.0f;  // 1.5 · 2^23
constexpr int32_t kBiasBits = 0x4b400000;
static_assert(kRun * 127 * 255 < size_t{1} << 22, "the sum of a run does not fit");

// sum += scale times value of x and a weight, over `quads` quads; returns the scales behind theirs.
template <int Rows, int Planes, bool Fine>
inline const float* multiply_group(const uint8_t* tile, const int8_t* x, size_t x_stride, size_t quads, const float* x_scale,
                                   Simd::Float (*sum)[2]) {
    constexpr size_t step = kFineGroup / kQuad, run = kRun / kQuad;
    for (size_t from = 0; from < quads; from += run) {
        const size_t to = from + run < quads ? from + run : quads;
        SumsOfRows<Rows> dot(kBiasBits);
        for (size_t q = from; q < to; q += step) {
            multiply_fine<Rows, Planes>(tile + q * Planes * kNr * kQuad, x + q * kQuad, x_stride, to - q < step ? to - q : step, dot);
            if (!Fine && q + step < to) continue;
            for (int r = 0; r < Rows; ++r)
                for (int j = 0; j < 2; ++j)
                    sum[r][j] = Simd::multiply_add(Simd::as_float(to_register(dot.of[r][j])), Simd::broadcast(x_scale[r]), sum[r][j]);
            x_scale += Rows;
        }
    }
    return x_scale;
}

template <int Rows>
inline void scale_sums(const MicroQuantized& a, const float* scales, bool add, const Simd::Float (*sum)[2]) {
    for (int j = 0; j < 2; ++j) {
        const Simd::Float scale = Simd::load(scales + j * Simd::kLanes);
        for (int r = 0; r < Rows; ++r) {
            float* y = a.y + r * a.y_stride + j * Simd::kLanes;
            Simd::store(y, add ? Simd::multiply_add(sum[r][j], scale, Simd::load(y)) : Simd::multiply(sum[r][j], scale));
        }
    }
}

template <int Rows, int Planes, bool Fine>
void micro_quantized(const MicroQuantized& a) {
    const float *x_scale = a.x_scale, *x_sums = a.x_sums;
    Simd::Float sum[Rows][2];
    for (size_t g = 0, quad = 0; g < a.groups; ++g, quad += a.group_quads, x_sums += 2 * Rows) {
        if (g == 0 || !a.one_scale)
            for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = Simd::broadcast(x_sums[2 * r + 1]);
        const size_t quads = a.quads - quad < a.group_quads ? a.quads - quad : a.group_quads;
        x_scale =
            multiply_group<Rows, Planes, Fine>(a.tile + quad * Planes * kNr * kQuad, a.x + quad * kQuad, a.x_stride, quads, x_scale, sum);
        for (int j = 0; j < 2; ++j) {
            const Simd::Float zero_point = Simd::load(a.zero_point + g * kGemmColumns + j * Simd::kLanes);
            for (int r = 0; r < Rows; ++r) sum[r][j] = Simd::negative_multiply_add(zero_point, Simd::broadcast(x_sums[2 * r]), sum[r][j]);
        }
        if (!a.one_scale || g + 1 == a.groups) scale_sums<Rows>(a, a.scale + g * kGemmColumns, a.accumulate || (g && !a.one_scale), sum);
    }
}

template <int Rows>
void micro_float(const MicroFloat& a) {
    Simd::Float sum[Rows][2];
    load_sums<Rows>(a.y, a.y_stride, a.accumulate, sum);
    const float* tile = a.tile;
    for (size_t k = 0; k < a.depth; ++k, tile += kNr) {
        const Simd::Float w0 = Simd::load(tile), w1 = Simd::load(tile + Simd::kLanes);
        for (int r = 0; r < Rows; ++r) {
            const Simd::Float x = Simd::broadcast(a.x[r * a.x_stride + k]);
            sum[r][0] = Simd::multiply_add(w0, x, sum[r][0]);
            sum[r][1] = Simd::multiply_add(w1, x, sum[r][1]);
        }
    }
    store_sums<Rows>(sum, a.y, a.y_stride);
}

// The micro-kernels by their number of rows, less one.
template <int Planes, bool Fine, class Rows>
struct QuantizedByRows;
template <int Planes, bool Fine, size_t... R>
struct QuantizedByRows<Planes, Fine, std::index_sequence<R...>> {
    static constexpr void (*kKernel[])(const MicroQuantized&) = {micro_quantized<R + 1, Planes, Fine>...};
};
template <class Rows>
struct FloatByRows;
template <size_t... R>
struct FloatByRows<std::index_sequence<R...>> {
    static constexpr void (*kKernel[])(const MicroFloat&) = {micro_float<R + 1>...};
};
template <int Planes, bool Fine>
constexpr auto& kMicroQuantized = QuantizedByRows<Planes, Fine, std::make_index_sequence<kMrQuantized<Planes>>>::kKernel;
constexpr auto& kMicroFloat = FloatByRows<std::make_index_sequence<Simd::kMrFloat>>::kKernel;

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
