// What the kernels want of a compiler beyond C++17 and the intrinsics, each with an alternative for compilers that are not gcc or clang.
// SCAP_OV_PLAIN_CXX chooses the alternatives everywhere: the emulated kernels of tests/ are built so. Included behind the vocabulary,
// inside the target region.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

#if defined(__GNUC__) && !defined(SCAP_OV_PLAIN_CXX)
// To gcc (12 at least) a register of int32 is another type than __m512i, and where a loop takes one for the other it copies every
// accumulator twice a step, or spills it: 49 instructions for 12 products, 25 without. So accumulators are vectors of their lanes.
using Sums16 = int16_t __attribute__((vector_size(sizeof(Simd::Int))));
using Sums32 = int32_t __attribute__((vector_size(sizeof(Simd::Int))));

template <class Sums>
inline Sums to_sums(Simd::Int v) {
    return reinterpret_cast<Sums>(v);
}
template <class Sums>
inline Simd::Int to_register(Sums v) {
    return reinterpret_cast<Simd::Int>(v);
}
inline Sums16 add_words(Sums16 a, Sums16 b) {
    return a + b;
}
inline size_t count_bits(uint32_t mask) {
    return static_cast<size_t>(__builtin_popcount(mask));
}
#else
using Sums16 = Simd::Int;
using Sums32 = Simd::Int;

template <class Sums>
inline Simd::Int to_sums(Simd::Int v) {
    return v;
}
inline Simd::Int to_register(Simd::Int v) {
    return v;
}
inline Simd::Int add_words(Simd::Int a, Simd::Int b) {
    return Simd::add_words(a, b);
}
inline size_t count_bits(uint32_t mask) {
    mask -= mask >> 1 & 0x55555555u;
    mask = (mask & 0x33333333u) + (mask >> 2 & 0x33333333u);
    return ((mask + (mask >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}
#endif

// Sums of int32 of some rows at two registers of columns.
template <int Rows>
struct SumsOfRows {
    Sums32 of[Rows][2];
    explicit SumsOfRows(int32_t start) {
        for (int r = 0; r < Rows; ++r) of[r][0] = of[r][1] = to_sums<Sums32>(Simd::broadcast(start));
    }
};

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
