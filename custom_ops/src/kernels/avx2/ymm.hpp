// The 256-bit registers of AVX2, without the products of bytes: what avx2 and avx_vnni, each with SCAP_OV_ISA set, make their Simd of.
// Included inside the target region.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// Lane numbers of the set bits of a mask, in order: a left-pack, as AVX2 has no compress.
struct LeftPack {
    uint8_t lane[256][8];
    constexpr LeftPack() : lane() {
        for (int mask = 0; mask < 256; ++mask)
            for (int i = 0, to = 0; i < 8; ++i)
                if (mask >> i & 1) lane[mask][to++] = static_cast<uint8_t>(i);
    }
};
constexpr LeftPack kLeftPack;

struct Ymm {
    using Float = __m256;
    using Int = __m256i;
    static constexpr size_t kLanes = 8;
    static constexpr size_t kBytes = 32;
    static constexpr size_t kParts = kColumnBlock / kBytes;  // registers of a block of 64 bytes
    static constexpr size_t kStripColumns = 8192;            // int32 sums of these and a few rows lie in L1
    static constexpr size_t kPrefetchRows = 8;               // 16 and 32 gain nothing (docs/performance.md)
    static constexpr int kMostQuads = 2;                     // of rows that are multiplied at a time: 16 registers
    static constexpr size_t kMrFloat = 6;                    // 12 accumulators: more than FMA latency x throughput (4 x 2), 16 registers

    static Float load(const float* p) { return _mm256_loadu_ps(p); }
    static Int load(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static Int load(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
    static Float load_part(const float* p, size_t lanes) {
        if (lanes == kLanes) return load(p);
        return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(lanes)), iota(0)));
    }
    static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
    static void store(int32_t* p, Int v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
    static void store(uint8_t* p, Int v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
    static void store_i8(int8_t* p, Int v) {
        const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
    }
    static Float broadcast(float v) { return _mm256_set1_ps(v); }
    static Int broadcast(int32_t v) { return _mm256_set1_epi32(v); }
    static Float zero_float() { return _mm256_setzero_ps(); }
    static Int zero() { return _mm256_setzero_si256(); }
    static Int iota(int32_t from) { return _mm256_add_epi32(_mm256_set1_epi32(from), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }

    static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
    static Float subtract(Float a, Float b) { return _mm256_sub_ps(a, b); }
    static Float multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
    static Float divide(Float a, Float b) { return _mm256_div_ps(a, b); }
    static Float multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
    static Float negative_multiply_add(Float a, Float b, Float c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a b
    static Float minimum(Float a, Float b) { return _mm256_min_ps(a, b); }                               // b where either is NaN
    static Float maximum(Float a, Float b) { return _mm256_max_ps(a, b); }
    static Float absolute(Float v) { return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))); }
    static float sum_of(Float v) {
        __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        half = _mm_add_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
    }
    static Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
    static Int subtract(Int a, Int b) { return _mm256_sub_epi32(a, b); }
    static Int multiply(Int a, Int b) { return _mm256_mullo_epi32(a, b); }
    static Int times_32(Int v) { return _mm256_slli_epi32(v, 5); }
    static Int add_bytes(Int a, Int b) { return _mm256_add_epi8(a, b); }
    static Int add_words(Int a, Int b) { return _mm256_add_epi16(a, b); }
    static Int multiply_words(Int a, Int b) { return _mm256_mullo_epi16(a, b); }
    static Int maximum(Int a, Int b) { return _mm256_max_epi32(a, b); }
    static int32_t maximum_of(Int v) {
        __m128i half = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
        return _mm_cvtsi128_si32(_mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
    }
    static int32_t sum_of(Int v) {
        __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
        return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
    }
    static Int bits(Float v) { return _mm256_castps_si256(v); }
    static Float as_float(Int v) { return _mm256_castsi256_ps(v); }
    static Int round(Float v) { return _mm256_cvtps_epi32(v); }
    static Float to_float(Int v) { return _mm256_cvtepi32_ps(v); }
    static Float power_of_two(Int n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }

    static uint32_t not_at_most(Float a, Float b) { return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLE_UQ))); }
    static Float where(uint32_t mask, Float v) {
        const Int bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        const Int lanes = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(mask)), bit), bit);
        return _mm256_and_ps(v, _mm256_castsi256_ps(lanes));
    }
    static Int packing_order(uint32_t mask) {
        return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(kLeftPack.lane[mask])));
    }
    static Float compress(uint32_t mask, Float v) { return _mm256_permutevar8x32_ps(v, packing_order(mask)); }
    static Int compress(uint32_t mask, Int v) { return _mm256_permutevar8x32_epi32(v, packing_order(mask)); }

    static Float load_half(const void* p) { return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
    static void store_half(void* p, Float v) {
        _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
    static Float load_scale(const PackedWeight& w, size_t i) {
        if (w.scale_is_f16) return load_half(static_cast<const uint16_t*>(w.scale) + i);
        return _mm256_loadu_ps(static_cast<const float*>(w.scale) + i);
    }
    static Int load_u8(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
    static Float load_weights(F32, const uint8_t* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }
    static Float load_weights(F16, const uint8_t* p) { return load_half(p); }
    static Float load_weights(BF16, const uint8_t* p) {
        const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    }

    static Int low_nibbles(Int v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
    static Int shift_nibbles(Int v) { return _mm256_srli_epi16(v, 4); }  // high nibbles to where low_nibbles takes them
    // Part `part` of a last single block: 32 bytes, low nibbles are positions 0…31, high ones 32…63.
    static Int last_nibbles(const uint8_t* p, size_t part) { return part ? low_nibbles(shift_nibbles(load(p))) : low_nibbles(load(p)); }
    // in: 32 positions of four rows -> out j: eight channels, [row 3|row 2|row 1|row 0] in each int32
    static void interleave(const Int* rows, Int* out) {
        const Int low01 = _mm256_unpacklo_epi8(rows[0], rows[1]), high01 = _mm256_unpackhi_epi8(rows[0], rows[1]);
        const Int low23 = _mm256_unpacklo_epi8(rows[2], rows[3]), high23 = _mm256_unpackhi_epi8(rows[2], rows[3]);
        out[0] = _mm256_unpacklo_epi16(low01, low23);
        out[1] = _mm256_unpackhi_epi16(low01, low23);
        out[2] = _mm256_unpacklo_epi16(high01, high23);
        out[3] = _mm256_unpackhi_epi16(high01, high23);
    }
    static Int broadcast_quad(const int8_t* p) {
        int32_t quad;
        std::memcpy(&quad, p, sizeof(quad));
        return _mm256_set1_epi32(quad);
    }
    // Of a byte in every lane.
    static Int low_nibble(Int v) { return _mm256_and_si256(v, _mm256_set1_epi32(15)); }
    static Int high_nibble(Int v) { return _mm256_srli_epi32(v, 4); }
    // A block of 64 bytes in position order, two registers, to channel order: dword 4l + j is channels 16j + 4l ….
    static void to_channel_order(Int* block) {
        const Int order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // pairs of l for j = 0, 1, 2, 3
        const Int l01 = _mm256_permutevar8x32_epi32(block[0], order), l23 = _mm256_permutevar8x32_epi32(block[1], order);
        const Int j02 = _mm256_unpacklo_epi64(l01, l23), j13 = _mm256_unpackhi_epi64(l01, l23);
        block[0] = _mm256_permute2x128_si256(j02, j13, 0x20);
        block[1] = _mm256_permute2x128_si256(j02, j13, 0x31);
    }
    // Register `part` of channels 16j … 16j + 15 of a block in position order.
    static Float load_channels(const float* block, size_t j, size_t part) {
        const float* from = block + 32 * part + 4 * j;
        return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from + 16), 1);
    }
};

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
