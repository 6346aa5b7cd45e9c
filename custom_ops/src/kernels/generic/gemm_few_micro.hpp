// Register-blocked micro-kernels that gemm_few.hpp calls: the rows of a part times a stream of a tile, one activation group. Over Simd, and
// over multiply_few and kMrFew, in which instruction sets differ.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

template <int Rows, TileKind Kind>
void micro_few(const MicroFew& a) {
    constexpr int registers = Kind == TileKind::nibbles ? 2 : 1;
    Simd::Float scale[registers], zero_point[registers];
    for (int j = 0; j < registers; ++j) {
        scale[j] = Simd::load(a.scale + j * kColumnBlock);
        zero_point[j] = Simd::load(a.zero_point + j * kColumnBlock);
    }
    multiply_few<Rows, Kind>(a, [&](auto r, const Simd::Int* dot) {
        const Simd::Float x_scale = Simd::broadcast(a.x_scale[r * a.x_groups]), x_sum = Simd::broadcast(a.x_sums[2 * r * a.x_groups]);
        float* y = a.y + r * a.y_stride;
        for (int j = 0; j < registers; ++j, y += kColumnBlock) {
            const Simd::Float product = Simd::multiply(Simd::to_float(dot[j]), x_scale);
            const Simd::Float value = Simd::negative_multiply_add(zero_point[j], x_sum, product);
            Simd::store(y, a.accumulate ? Simd::multiply_add(value, scale[j], Simd::load(y)) : Simd::multiply(value, scale[j]));
        }
    });
}

template <TileKind Kind, class Rows>
struct FewByRows;
template <TileKind Kind, size_t... R>
struct FewByRows<Kind, std::index_sequence<R...>> {
    static constexpr void (*kKernel[])(const MicroFew&) = {micro_few<R + 1, Kind>...};
};
// By their number of rows, less one.
template <TileKind Kind>
constexpr auto& kMicroFew = FewByRows<Kind, std::make_index_sequence<kMrFew>>::kKernel;

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
