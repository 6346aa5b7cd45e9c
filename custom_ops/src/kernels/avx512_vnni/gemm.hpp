// AVX-512 VNNI vocabulary and micro-kernels of generic/{gemm,quantize_rows}.hpp:
// gemm_qd8_{u4,u8}g_6x32c4, gemm_f32_*_8x32. Included inside the target region.
#pragma once

namespace scap_ov {
namespace avx512_vnni {
namespace {

using Float = __m512;
using Bits = __m512i;
constexpr size_t kLanes = 16;
constexpr size_t kNr = 32;  // two registers of columns
template <int Planes>
constexpr size_t kMrQuantized = 6;  // 12 int32 and 12 float accumulators, 2 weights, 1 broadcast: 27 of 32 registers
constexpr size_t kMrFloat = 8;      // 16 accumulators: more than FMA latency x throughput (4 x 2)
constexpr size_t kMaxPlanes = 1;
template <class Format>
constexpr int kPlanes = 1;  // vpdpbusd takes the whole byte

inline Float load(const float* p) {
    return _mm512_loadu_ps(p);
}
inline Float load_part(const float* p, size_t n) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
}
inline Float load_f16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Float load_bf16(const uint16_t* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
inline Float load_u8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline void store(float* p, Float v) {
    _mm512_storeu_ps(p, v);
}
inline Float broadcast(float v) {
    return _mm512_set1_ps(v);
}
inline Float mul(Float a, Float b) {
    return _mm512_mul_ps(a, b);
}

inline Bits zero_bits() {
    return _mm512_setzero_si512();
}
inline Bits absolute_bits(Float v) {
    return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff));
}
inline Bits max_bits(Bits a, Bits b) {
    return _mm512_max_epi32(a, b);
}  // of absolute_bits: NaN is the largest
inline float float_of_largest(Bits v) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(v))));
}
inline Bits round_to_int(Float v) {
    return _mm512_cvtps_epi32(v);
}
inline Bits add_bits(Bits a, Bits b) {
    return _mm512_add_epi32(a, b);
}
inline int32_t sum_of_bits(Bits v) {
    return _mm512_reduce_add_epi32(v);
}
inline void store_i8(int8_t* p, Bits v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(v));
}

// 64 unsigned values of a block of a row, in position order.
template <class Format>
inline __m512i load_block(const uint8_t* row, size_t block, size_t n_padded) {
    if constexpr (Format::kFormat == WeightFormat::u8) return _mm512_loadu_si512(row + block * kColumnBlock);
    const __m512i nibble = _mm512_set1_epi8(15);
    if (block % 2 == 0 && (block + 1) * kColumnBlock == n_padded) {  // a last single block
        const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + block / 2 * 64));
        const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(bytes), _mm256_srli_epi16(bytes, 4), 1);
        return _mm512_and_si512(both, nibble);
    }
    const __m512i bytes = _mm512_loadu_si512(row + block / 2 * 64);
    return _mm512_and_si512(block % 2 ? _mm512_srli_epi16(bytes, 4) : bytes, nibble);
}

// Four rows of a block, interleaved byte by byte: register j is channels 16j … 16j + 15, four bytes each.
template <class Format>
inline void unpack_quad(const uint8_t* const* rows, size_t block, size_t n_padded, uint8_t* out, size_t strip_bytes) {
    const __m512i r0 = load_block<Format>(rows[0], block, n_padded), r1 = load_block<Format>(rows[1], block, n_padded);
    const __m512i r2 = load_block<Format>(rows[2], block, n_padded), r3 = load_block<Format>(rows[3], block, n_padded);
    const __m512i low01 = _mm512_unpacklo_epi8(r0, r1), high01 = _mm512_unpackhi_epi8(r0, r1);
    const __m512i low23 = _mm512_unpacklo_epi8(r2, r3), high23 = _mm512_unpackhi_epi8(r2, r3);
    _mm512_storeu_si512(out, _mm512_unpacklo_epi16(low01, low23));
    _mm512_storeu_si512(out + 64, _mm512_unpackhi_epi16(low01, low23));
    _mm512_storeu_si512(out + strip_bytes, _mm512_unpacklo_epi16(high01, high23));
    _mm512_storeu_si512(out + strip_bytes + 64, _mm512_unpackhi_epi16(high01, high23));
}

// One row of a block as floats in channel order: (w - zero point) * scale.
template <class Format>
inline void unpack_floats(const uint8_t* row, size_t block, size_t n_padded, const float* scale, const float* zero_point, float* out,
                          size_t strip_floats) {
    Float v[4];
    if constexpr (Format::kInteger) {
        // dword 4l + j of the block is channels 16j + 4l …: transpose the 4 x 4 dwords
        const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        const __m512i bytes = _mm512_permutexvar_epi32(order, load_block<Format>(row, block, n_padded));
        v[0] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm512_castsi512_si128(bytes)));
        v[1] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(bytes, 1)));
        v[2] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(bytes, 2)));
        v[3] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(bytes, 3)));
        for (size_t j = 0; j < 4; ++j) v[j] = _mm512_mul_ps(_mm512_sub_ps(v[j], load(zero_point + j * kLanes)), load(scale + j * kLanes));
    } else {
        const uint8_t* from = row + Format::byte_offset(block * kColumnBlock);
        for (size_t j = 0; j < 4; ++j) {
            if constexpr (Format::kFormat == WeightFormat::f32)
                v[j] = load(reinterpret_cast<const float*>(from) + j * kLanes);
            else if constexpr (Format::kFormat == WeightFormat::f16)
                v[j] = load_f16(reinterpret_cast<const uint16_t*>(from) + j * kLanes);
            else
                v[j] = load_bf16(reinterpret_cast<const uint16_t*>(from) + j * kLanes);
        }
    }
    store(out, v[0]);
    store(out + kLanes, v[1]);
    store(out + strip_floats, v[2]);
    store(out + strip_floats + kLanes, v[3]);
}

inline __m512i broadcast_quad(const int8_t* p) {
    int32_t quad;
    __builtin_memcpy(&quad, p, sizeof(quad));
    return _mm512_set1_epi32(quad);
}

template <int Rows>
void micro_quantized(const MicroQuantized& a) {
    Float sum[Rows][2];
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) sum[r][j] = a.accumulate ? load(a.y + r * a.y_stride + j * kLanes) : _mm512_setzero_ps();
    const uint8_t* tile = a.tile;
    size_t quad = 0;
    for (size_t g = 0; g < a.groups; ++g) {
        const size_t end = quad + a.group_quads < a.quads ? quad + a.group_quads : a.quads;
        __m512i dot[Rows][2];
        for (int r = 0; r < Rows; ++r) dot[r][0] = dot[r][1] = _mm512_setzero_si512();
        for (; quad < end; ++quad, tile += kNr * kQuad) {
            const __m512i w0 = _mm512_loadu_si512(tile), w1 = _mm512_loadu_si512(tile + 64);
            for (int r = 0; r < Rows; ++r) {
                const __m512i x = broadcast_quad(a.x + r * a.x_stride + quad * kQuad);
                dot[r][0] = _mm512_dpbusd_epi32(dot[r][0], w0, x);
                dot[r][1] = _mm512_dpbusd_epi32(dot[r][1], w1, x);
            }
        }
        for (int j = 0; j < 2; ++j) {
            const Float scale = load(a.scale + g * kGemmTileColumns + j * kLanes);
            const Float zero_point = load(a.zero_point + g * kGemmTileColumns + j * kLanes);
            for (int r = 0; r < Rows; ++r) {
                const Float x_sum = _mm512_cvtepi32_ps(_mm512_set1_epi32(a.x_sum[r * a.x_groups + g]));
                const Float value = _mm512_fnmadd_ps(zero_point, x_sum, _mm512_cvtepi32_ps(dot[r][j]));
                sum[r][j] = _mm512_fmadd_ps(_mm512_mul_ps(value, scale), broadcast(a.x_scale[r * a.x_groups + g]), sum[r][j]);
            }
        }
    }
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) store(a.y + r * a.y_stride + j * kLanes, sum[r][j]);
}

template <int Rows>
void micro_float(const MicroFloat& a) {
    Float sum[Rows][2];
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) sum[r][j] = a.accumulate ? load(a.y + r * a.y_stride + j * kLanes) : _mm512_setzero_ps();
    const float* tile = a.tile;
    for (size_t k = 0; k < a.depth; ++k, tile += kNr) {
        const Float w0 = load(tile), w1 = load(tile + kLanes);
        for (int r = 0; r < Rows; ++r) {
            const Float x = broadcast(a.x[r * a.x_stride + k]);
            sum[r][0] = _mm512_fmadd_ps(w0, x, sum[r][0]);
            sum[r][1] = _mm512_fmadd_ps(w1, x, sum[r][1]);
        }
    }
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) store(a.y + r * a.y_stride + j * kLanes, sum[r][j]);
}

using MicroQuantizedFn = void (*)(const MicroQuantized&);
using MicroFloatFn = void (*)(const MicroFloat&);
template <int Planes>
constexpr MicroQuantizedFn kMicroQuantized[kMrQuantized<Planes>] = {micro_quantized<1>, micro_quantized<2>, micro_quantized<3>,
                                                                    micro_quantized<4>, micro_quantized<5>, micro_quantized<6>};
constexpr MicroFloatFn kMicroFloat[kMrFloat] = {micro_float<1>, micro_float<2>, micro_float<3>, micro_float<4>,
                                                micro_float<5>, micro_float<6>, micro_float<7>, micro_float<8>};

}  // namespace
}  // namespace avx512_vnni
}  // namespace scap_ov
