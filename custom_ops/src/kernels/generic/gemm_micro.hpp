// Register-blocked micro-kernels that gemm.hpp calls: Rows rows of x times kNr columns, which are two registers. Over Simd, and over
// multiply_group, kPlanes and kMrQuantized, in which instruction sets differ.
#pragma once

namespace scap_ov {

struct MicroQuantized {
    const uint8_t* tile;              // [quads][planes][kNr][4]
    const float *scale, *zero_point;  // [groups, kGemmColumns]
    const int8_t* x;                  // [rows, x_stride], groups padded to group_quads quads
    size_t x_stride;
    const float* x_scale;  // [rows, x_groups]
    const int32_t* x_sum;  // [rows, x_groups]
    size_t x_groups;
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

template <int Rows, int Planes>
void micro_quantized(const MicroQuantized& a) {
    Simd::Float sum[Rows][2];
    load_sums<Rows>(a.y, a.y_stride, a.accumulate, sum);
    for (size_t g = 0, quad = 0; g < a.groups; ++g, quad += a.group_quads) {
        const size_t quads = a.quads - quad < a.group_quads ? a.quads - quad : a.group_quads;
        Simd::Int dot[Rows][2];
        multiply_group<Rows, Planes>(a.tile + quad * Planes * kNr * kQuad, a.x + quad * kQuad, a.x_stride, quads, dot);
        for (int j = 0; j < 2; ++j) {
            const Simd::Float scale = Simd::load(a.scale + g * kGemmColumns + j * Simd::kLanes);
            const Simd::Float zero_point = Simd::load(a.zero_point + g * kGemmColumns + j * Simd::kLanes);
            for (int r = 0; r < Rows; ++r) {
                const Simd::Float x_sum = Simd::to_float(Simd::broadcast(a.x_sum[r * a.x_groups + g]));
                const Simd::Float value = Simd::negative_multiply_add(zero_point, x_sum, Simd::to_float(dot[r][j]));
                sum[r][j] = Simd::multiply_add(Simd::multiply(value, scale), Simd::broadcast(a.x_scale[r * a.x_groups + g]), sum[r][j]);
            }
        }
    }
    store_sums<Rows>(sum, a.y, a.y_stride);
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
template <int Planes, class Rows>
struct QuantizedByRows;
template <int Planes, size_t... R>
struct QuantizedByRows<Planes, std::index_sequence<R...>> {
    static constexpr void (*kKernel[])(const MicroQuantized&) = {micro_quantized<R + 1, Planes>...};
};
template <class Rows>
struct FloatByRows;
template <size_t... R>
struct FloatByRows<std::index_sequence<R...>> {
    static constexpr void (*kKernel[])(const MicroFloat&) = {micro_float<R + 1>...};
};
template <int Planes>
constexpr auto& kMicroQuantized = QuantizedByRows<Planes, std::make_index_sequence<kMrQuantized<Planes>>>::kKernel;
constexpr auto& kMicroFloat = FloatByRows<std::make_index_sequence<Simd::kMrFloat>>::kKernel;

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
