// AVX-512 VNNI vocabulary of what is in generic/. Included inside the target region.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

struct Registers {
    using Float = __m512;
    using Int = __m512i;
    static constexpr size_t kLanes = 16;
    static constexpr size_t kBytes = 64;
    static constexpr size_t kParts = kColumnBlock / kBytes;  // registers of a block of 64 bytes
    static constexpr size_t kStripColumns = 4096;            // int32 sums of these and a few rows lie in L1
    static constexpr size_t kPrefetchRows = 16;  // 8 take 1.06 to 1.15 times as long, 24 and 48 gain nothing (docs/performance.md)
    static constexpr int kMostQuads = 4;         // of rows that are multiplied at a time
    static constexpr size_t kMrFloat = 8;        // 16 accumulators: more than FMA latency x throughput (4 x 2)

    static Float load(const float* p) { return _mm512_loadu_ps(p); }
    static Int load(const int32_t* p) { return _mm512_loadu_si512(p); }
    static Int load(const uint8_t* p) { return _mm512_loadu_si512(p); }
    static Float load_part(const float* p, size_t lanes) { return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << lanes) - 1u), p); }
    static void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
    static void store(int32_t* p, Int v) { _mm512_storeu_si512(p, v); }
    static void store(uint8_t* p, Int v) { _mm512_storeu_si512(p, v); }
    static void store_i8(int8_t* p, Int v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(v)); }
    static Float broadcast(float v) { return _mm512_set1_ps(v); }
    static Int broadcast(int32_t v) { return _mm512_set1_epi32(v); }
    static Float zero_float() { return _mm512_setzero_ps(); }
    static Int zero() { return _mm512_setzero_si512(); }
    static Int iota(int32_t from) {
        return _mm512_add_epi32(_mm512_set1_epi32(from), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    }

    static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
    static Float subtract(Float a, Float b) { return _mm512_sub_ps(a, b); }
    static Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
    static Float divide(Float a, Float b) { return _mm512_div_ps(a, b); }
    static Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
    static Float negative_multiply_add(Float a, Float b, Float c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
    static Float minimum(Float a, Float b) { return _mm512_min_ps(a, b); }                               // b where either is NaN
    static Float maximum(Float a, Float b) { return _mm512_max_ps(a, b); }
    static Float absolute(Float v) { return _mm512_abs_ps(v); }
    static float sum_of(Float v) { return _mm512_reduce_add_ps(v); }
    static Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
    static Int subtract(Int a, Int b) { return _mm512_sub_epi32(a, b); }
    static Int multiply(Int a, Int b) { return _mm512_mullo_epi32(a, b); }
    static Int times_32(Int v) { return _mm512_slli_epi32(v, 5); }
    static Int add_bytes(Int a, Int b) { return _mm512_add_epi8(a, b); }
    static Int add_words(Int a, Int b) { return _mm512_add_epi16(a, b); }
    static Int multiply_words(Int a, Int b) { return _mm512_mullo_epi16(a, b); }
    static Int maximum(Int a, Int b) { return _mm512_max_epi32(a, b); }
    static int32_t maximum_of(Int v) { return _mm512_reduce_max_epi32(v); }
    static int32_t sum_of(Int v) { return _mm512_reduce_add_epi32(v); }
    static Int bits(Float v) { return _mm512_castps_si512(v); }
    static Float as_float(Int v) { return _mm512_castsi512_ps(v); }
    static Int round(Float v) { return _mm512_cvtps_epi32(v); }
    static Float to_float(Int v) { return _mm512_cvtepi32_ps(v); }
    static Float power_of_two(Int n) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23)); }

    static uint32_t not_at_most(Float a, Float b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ); }
    static Float where(uint32_t mask, Float v) { return _mm512_maskz_mov_ps(static_cast<__mmask16>(mask), v); }
    static Float compress(uint32_t mask, Float v) { return _mm512_maskz_compress_ps(static_cast<__mmask16>(mask), v); }
    static Int compress(uint32_t mask, Int v) { return _mm512_maskz_compress_epi32(static_cast<__mmask16>(mask), v); }

    static Float load_half(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
    static void store_half(void* p, Float v) {
        _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
    static Float load_scale(const PackedWeight& w, size_t i) {
        if (w.scale_is_f16) return load_half(static_cast<const uint16_t*>(w.scale) + i);
        return _mm512_loadu_ps(static_cast<const float*>(w.scale) + i);
    }
    static Int load_u8(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
    static Float load_weights(F32, const uint8_t* p) { return _mm512_loadu_ps(p); }
    static Float load_weights(F16, const uint8_t* p) { return load_half(p); }
    static Float load_weights(BF16, const uint8_t* p) {
        const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    }

    static Int low_nibbles(Int v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
    static Int shift_nibbles(Int v) { return _mm512_srli_epi16(v, 4); }                    // high nibbles to where low_nibbles takes them
    static Int high_nibbles(Int v) { return _mm512_and_si512(v, _mm512_set1_epi8(-16)); }  // multiplied where they are,
    static Int of_high_nibbles(Int sum) { return _mm512_srai_epi32(sum, 4); }              // and their sums shifted once
    // Part `part` of a last single block: 32 bytes, low nibbles are positions 0…31, high ones 32…63.
    static Int last_nibbles(const uint8_t* p, size_t) {
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        return low_nibbles(_mm512_inserti64x4(_mm512_castsi256_si512(bytes), _mm256_srli_epi16(bytes, 4), 1));
    }
    // in: 64 positions of four rows -> out j: channels 16j … 16j + 15, [row 3|row 2|row 1|row 0] in each int32
    static void interleave(const Int* rows, Int* out) {
        interleave_low(rows, out);
        interleave_high(rows, out + 2);
    }
    // Its first two registers, and its last two.
    static void interleave_low(const Int* rows, Int* out) {
        const Int low01 = _mm512_unpacklo_epi8(rows[0], rows[1]), low23 = _mm512_unpacklo_epi8(rows[2], rows[3]);
        out[0] = _mm512_unpacklo_epi16(low01, low23);
        out[1] = _mm512_unpackhi_epi16(low01, low23);
    }
    static void interleave_high(const Int* rows, Int* out) {
        const Int high01 = _mm512_unpackhi_epi8(rows[0], rows[1]), high23 = _mm512_unpackhi_epi8(rows[2], rows[3]);
        out[0] = _mm512_unpacklo_epi16(high01, high23);
        out[1] = _mm512_unpackhi_epi16(high01, high23);
    }
    static Int broadcast_quad(const int8_t* p) {
        int32_t quad;
        std::memcpy(&quad, p, sizeof(quad));
        return _mm512_set1_epi32(quad);
    }
    // sum + Σ w x over the four bytes of each int32; w unsigned, x signed.
    static Int dot_bytes(Int sum, Int w, Int x) { return _mm512_dpbusd_epi32(sum, w, x); }
    // Of a byte in every lane.
    static Int low_nibble(Int v) { return _mm512_and_si512(v, _mm512_set1_epi32(15)); }
    static Int high_nibble(Int v) { return _mm512_srli_epi32(v, 4); }
    // A block of 64 bytes in position order to channel order: dword 4l + j is channels 16j + 4l ….
    static void to_channel_order(Int* block) {
        *block = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), *block);
    }
    // Channels 16j … 16j + 15 of a block in position order.
    static Float load_channels(const float* block, size_t j, size_t) {
        const float* from = block + 4 * j;
        const Float low = _mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(from)), _mm_loadu_ps(from + 16), 1);
        return _mm512_insertf32x4(_mm512_insertf32x4(low, _mm_loadu_ps(from + 32), 2), _mm_loadu_ps(from + 48), 3);
    }
};

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov

#include "kernels/generic/simd_vnni.hpp"
