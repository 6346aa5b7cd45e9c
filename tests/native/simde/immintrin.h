// Stands in for the compiler's immintrin.h: every intrinsic is emulated by SIMDe in portable C, so that AVX-512 kernels run on any
// CPU. Intrinsics that SIMDe 0.7.4 lacks are supplied here, lane by lane.
#pragma once
#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#ifdef SIMDE_NO_VECTOR  // SIMDe asks for the compiler's builtins on vectors even then
#    include <simde/hedley.h>
#    undef HEDLEY_HAS_BUILTIN
#    define HEDLEY_HAS_BUILTIN(builtin) (0)
#endif
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "amx.h"
#include "half.hpp"

using __mmask16 = simde__mmask16;
using __mmask64 = simde__mmask64;

namespace simde_missing {

template <class T, class V>
struct Lanes {
    T at[sizeof(V) / sizeof(T)];
    explicit Lanes(const V& v) { std::memcpy(at, &v, sizeof(v)); }
    V vector() const {
        V v;
        std::memcpy(&v, at, sizeof(v));
        return v;
    }
};

template <class To, class ToV, class From, class FromV, class Body>
ToV each(const FromV& from, const Body& body) {
    const Lanes<From, FromV> in(from);
    Lanes<To, ToV> out{ToV{}};
    for (int i = 0; i < 16; ++i) out.at[i] = body(in.at[i]);
    return out.vector();
}

inline __m512 cvtepi32_ps(__m512i v) {
    return each<float, __m512, int32_t>(v, [](int32_t x) { return static_cast<float>(x); });
}
inline __m512i cvtps_epi32(__m512 v) {
    return each<int32_t, __m512i, float>(v, [](float x) {
        return x >= -2147483648.0f && x < 2147483648.0f ? static_cast<int32_t>(std::nearbyint(x)) : INT32_MIN;  // NaN too
    });
}
inline __m512i cvtepu16_epi32(__m256i v) {
    return each<int32_t, __m512i, uint16_t>(v, [](uint16_t x) { return static_cast<int32_t>(x); });
}
inline __m512i cvtepu8_epi32(__m128i v) {
    return each<int32_t, __m512i, uint8_t>(v, [](uint8_t x) { return static_cast<int32_t>(x); });
}
inline __m512 cvtph_ps(__m256i v) {
    return each<float, __m512, uint16_t>(v, [](uint16_t x) { return simde_float16_to_float32(simde_uint16_as_float16(x)); });
}
inline __m256i cvtps_ph(__m512 v, int) {  // nearest even, as the kernels ask for
    const Lanes<float, __m512> in(v);
    Lanes<uint16_t, __m256i> out{__m256i{}};
    for (int i = 0; i < 16; ++i) out.at[i] = scap_ov::f32_to_f16(in.at[i]);
    return out.vector();
}
inline __m512i srai_epi32(__m512i v, unsigned count) {
    return each<int32_t, __m512i, int32_t>(v, [count](int32_t x) { return x >> count; });
}
inline __m512 maskz_loadu_ps(__mmask16 mask, const void* p) {
    Lanes<float, __m512> out{__m512{}};
    for (int i = 0; i < 16; ++i) {
        out.at[i] = 0.0f;
        if (mask >> i & 1) std::memcpy(&out.at[i], static_cast<const char*>(p) + 4 * i, 4);
    }
    return out.vector();
}
inline int32_t reduce_add_epi32(__m512i v) {
    uint32_t sum = 0;
    for (const uint32_t x : Lanes<uint32_t, __m512i>(v).at) sum += x;
    return static_cast<int32_t>(sum);
}
inline int32_t reduce_max_epi32(__m512i v) {
    int32_t largest = INT32_MIN;
    for (const int32_t x : Lanes<int32_t, __m512i>(v).at) largest = x > largest ? x : largest;
    return largest;
}
inline float reduce_add_ps(__m512 v) {
    Lanes<float, __m512> lanes(v);
    for (int width = 8; width; width /= 2)
        for (int i = 0; i < width; ++i) lanes.at[i] += lanes.at[i + width];
    return lanes.at[0];
}

}  // namespace simde_missing

#ifndef _MM_FROUND_NO_EXC
#    define _MM_FROUND_NO_EXC SIMDE_MM_FROUND_NO_EXC
#endif
#ifndef _MM_FROUND_TO_NEAREST_INT
#    define _MM_FROUND_TO_NEAREST_INT SIMDE_MM_FROUND_TO_NEAREST_INT
#endif
#define _mm512_cvtepi32_ps simde_missing::cvtepi32_ps
#define _mm512_cvtps_epi32 simde_missing::cvtps_epi32
#define _mm512_cvtepu16_epi32 simde_missing::cvtepu16_epi32
#define _mm512_cvtepu8_epi32 simde_missing::cvtepu8_epi32
#define _mm512_cvtph_ps simde_missing::cvtph_ps
#define _mm512_cvtps_ph simde_missing::cvtps_ph
#define _mm512_srai_epi32 simde_missing::srai_epi32
#define _mm512_maskz_loadu_ps simde_missing::maskz_loadu_ps
#define _mm512_reduce_add_epi32 simde_missing::reduce_add_epi32
#define _mm512_reduce_max_epi32 simde_missing::reduce_max_epi32
#define _mm512_reduce_add_ps simde_missing::reduce_add_ps
