// AVX2 vocabulary and micro-kernels of generic/{gemm,quantize_rows}.hpp:
// gemm_qd8_u4g_6x16c4, gemm_qd8_u8g_3x16c4, gemm_f32_*_6x16. Included inside the target region.
//
// Products of nibbles and int8 gather in 16 bits for eight quads before they are widened (8 * 2 * 15 * 127 < 32767). Bytes are
// stored as two planes of nibbles for that: w = low + 16 * high.
#pragma once

namespace scap_ov {
namespace avx2 {
namespace {

using Float = __m256;
using Bits = __m256i;
constexpr size_t kLanes = 8;
constexpr size_t kNr = 16;      // two registers of columns
constexpr size_t kMrFloat = 6;  // 12 accumulators: more than FMA latency x throughput (4 x 2), 16 registers
constexpr size_t kMaxPlanes = 2;
template <class Format>
constexpr int kPlanes = Format::kFormat == WeightFormat::u8 ? 2 : 1;
template <int Planes>
constexpr size_t kMrQuantized = Planes == 1 ? 6 : 3;  // 12 accumulators of 16 bits either way
constexpr size_t kWidenQuads = 8;

inline Float load(const float* p) {
    return _mm256_loadu_ps(p);
}
inline Float load_part(const float* p, size_t n) {
    return Simd::load_part(p, n);
}
inline Float load_f16(const uint16_t* p) {
    return Simd::load_half(p);
}
inline Float load_u8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(Simd::load_u8(p));
}
inline void store(float* p, Float v) {
    _mm256_storeu_ps(p, v);
}
inline Float broadcast(float v) {
    return _mm256_set1_ps(v);
}
inline Float mul(Float a, Float b) {
    return _mm256_mul_ps(a, b);
}

inline Bits zero_bits() {
    return _mm256_setzero_si256();
}
inline Bits absolute_bits(Float v) {
    return _mm256_castps_si256(Simd::absolute(v));
}
inline Bits max_bits(Bits a, Bits b) {
    return _mm256_max_epi32(a, b);
}  // of absolute_bits: NaN is the largest
inline float float_of_largest(Bits v) {
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(Simd::maximum_of(v))));
}
inline Bits round_to_int(Float v) {
    return _mm256_cvtps_epi32(v);
}
inline Bits add_bits(Bits a, Bits b) {
    return _mm256_add_epi32(a, b);
}
inline int32_t sum_of_bits(Bits v) {
    return Simd::sum_of(v);
}
inline void store_i8(int8_t* p, Bits v) {
    Simd::store_i8(p, v);
}

// Half `part` of the 64 unsigned values of a block of a row, in position order.
template <class Format>
inline __m256i load_block(const uint8_t* row, size_t block, size_t n_padded, size_t part) {
    if constexpr (Format::kFormat == WeightFormat::u8) return Simd::load(row + block * kColumnBlock + part * Simd::kBytes);
    const uint8_t* at = row + block / 2 * kColumnBlock;
    if (block % 2 == 0 && (block + 1) * kColumnBlock == n_padded) return Simd::last_nibbles(at, part);
    const __m256i bytes = Simd::load(at + part * Simd::kBytes);
    return block % 2 ? Simd::high_nibbles(bytes) : Simd::low_nibbles(bytes);
}

inline void store_bytes(uint8_t* p, __m256i v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}

// Four rows of a block, interleaved byte by byte: strip j is channels 16j … 16j + 15, four bytes each; bytes as two planes of nibbles.
template <class Format>
inline void unpack_quad(const uint8_t* const* rows, size_t block, size_t n_padded, uint8_t* out, size_t strip_bytes) {
    for (size_t part = 0; part < Simd::kParts; ++part) {
        __m256i row[kQuad], quads[kQuad];
        for (size_t i = 0; i < kQuad; ++i) row[i] = load_block<Format>(rows[i], block, n_padded, part);
        Simd::interleave(row, quads);
        for (size_t j = 0; j < kQuad; ++j) {
            uint8_t* to = out + j * strip_bytes + part * Simd::kBytes;
            if constexpr (kPlanes<Format> == 1) {
                store_bytes(to, quads[j]);
            } else {
                store_bytes(to, Simd::low_nibbles(quads[j]));
                store_bytes(to + kNr * kQuad, Simd::high_nibbles(quads[j]));
            }
        }
    }
}

// Sixteen channels of a row as floats: (w - zero point) * scale.
inline void expand_floats(__m128i bytes, const float* scale, const float* zero_point, float* out) {
    const Float low = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    const Float high = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)));
    store(out, _mm256_mul_ps(_mm256_sub_ps(low, load(zero_point)), load(scale)));
    store(out + kLanes, _mm256_mul_ps(_mm256_sub_ps(high, load(zero_point + kLanes)), load(scale + kLanes)));
}

// One row of a block as floats in channel order.
template <class Format>
inline void unpack_floats(const uint8_t* row, size_t block, size_t n_padded, const float* scale, const float* zero_point, float* out,
                          size_t strip_floats) {
    if constexpr (Format::kInteger) {
        // dword 4l + j of the block is channels 16j + 4l …: transpose the 4 x 4 dwords
        const __m256i l01 = load_block<Format>(row, block, n_padded, 0), l23 = load_block<Format>(row, block, n_padded, 1);
        const __m256i low = _mm256_permute2x128_si256(l01, l23, 0x20), high = _mm256_permute2x128_si256(l01, l23, 0x31);
        const __m256i j01 = _mm256_unpacklo_epi32(low, high), j23 = _mm256_unpackhi_epi32(low, high);
        const __m128i a = _mm256_castsi256_si128(j01), b = _mm256_extracti128_si256(j01, 1);
        const __m128i c = _mm256_castsi256_si128(j23), d = _mm256_extracti128_si256(j23, 1);
        expand_floats(_mm_unpacklo_epi64(a, b), scale, zero_point, out);
        expand_floats(_mm_unpackhi_epi64(a, b), scale + kNr, zero_point + kNr, out + strip_floats);
        expand_floats(_mm_unpacklo_epi64(c, d), scale + 2 * kNr, zero_point + 2 * kNr, out + 2 * strip_floats);
        expand_floats(_mm_unpackhi_epi64(c, d), scale + 3 * kNr, zero_point + 3 * kNr, out + 3 * strip_floats);
    } else {
        for (size_t c = 0; c < kColumnBlock; c += kLanes)
            store(out + c / kNr * strip_floats + c % kNr, Simd::load_weights<Format>(row + Format::byte_offset(block * kColumnBlock + c)));
    }
}

// Adds the products of at most kWidenQuads quads to dot.
template <int Rows, int Planes>
inline void multiply_quads(const uint8_t* tile, const int8_t* x, size_t x_stride, size_t quads, __m256i (*dot)[2]) {
    __m256i sum[Rows][2 * Planes];
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2 * Planes; ++j) sum[r][j] = _mm256_setzero_si256();
    for (size_t q = 0; q < quads; ++q, tile += Planes * kNr * kQuad, x += kQuad) {
        __m256i w[2 * Planes];
        for (int j = 0; j < 2 * Planes; ++j) w[j] = Simd::load(tile + j * Simd::kBytes);
        for (int r = 0; r < Rows; ++r) {
            const __m256i quad = Simd::broadcast_quad(x + r * x_stride);
            for (int j = 0; j < 2 * Planes; ++j) sum[r][j] = _mm256_add_epi16(sum[r][j], _mm256_maddubs_epi16(w[j], quad));
        }
    }
    const __m256i one = _mm256_set1_epi16(1), sixteen = _mm256_set1_epi16(16);
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) {
            dot[r][j] = _mm256_add_epi32(dot[r][j], _mm256_madd_epi16(sum[r][j], one));
            if (Planes == 2) dot[r][j] = _mm256_add_epi32(dot[r][j], _mm256_madd_epi16(sum[r][j + 2 * (Planes - 1)], sixteen));
        }
}

template <int Rows, int Planes>
void micro_quantized(const MicroQuantized& a) {
    Float sum[Rows][2];
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) sum[r][j] = a.accumulate ? load(a.y + r * a.y_stride + j * kLanes) : _mm256_setzero_ps();
    size_t quad = 0;
    for (size_t g = 0; g < a.groups; ++g) {
        const size_t end = quad + a.group_quads < a.quads ? quad + a.group_quads : a.quads;
        __m256i dot[Rows][2];
        for (int r = 0; r < Rows; ++r) dot[r][0] = dot[r][1] = _mm256_setzero_si256();
        while (quad < end) {
            const size_t count = end - quad < kWidenQuads ? end - quad : kWidenQuads;
            multiply_quads<Rows, Planes>(a.tile + quad * Planes * kNr * kQuad, a.x + quad * kQuad, a.x_stride, count, dot);
            quad += count;
        }
        for (int j = 0; j < 2; ++j) {
            const Float scale = load(a.scale + g * kGemmTileColumns + j * kLanes);
            const Float zero_point = load(a.zero_point + g * kGemmTileColumns + j * kLanes);
            for (int r = 0; r < Rows; ++r) {
                const Float x_sum = _mm256_cvtepi32_ps(_mm256_set1_epi32(a.x_sum[r * a.x_groups + g]));
                const Float value = _mm256_fnmadd_ps(zero_point, x_sum, _mm256_cvtepi32_ps(dot[r][j]));
                sum[r][j] = _mm256_fmadd_ps(_mm256_mul_ps(value, scale), broadcast(a.x_scale[r * a.x_groups + g]), sum[r][j]);
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
        for (int j = 0; j < 2; ++j) sum[r][j] = a.accumulate ? load(a.y + r * a.y_stride + j * kLanes) : _mm256_setzero_ps();
    const float* tile = a.tile;
    for (size_t k = 0; k < a.depth; ++k, tile += kNr) {
        const Float w0 = load(tile), w1 = load(tile + kLanes);
        for (int r = 0; r < Rows; ++r) {
            const Float x = broadcast(a.x[r * a.x_stride + k]);
            sum[r][0] = _mm256_fmadd_ps(w0, x, sum[r][0]);
            sum[r][1] = _mm256_fmadd_ps(w1, x, sum[r][1]);
        }
    }
    for (int r = 0; r < Rows; ++r)
        for (int j = 0; j < 2; ++j) store(a.y + r * a.y_stride + j * kLanes, sum[r][j]);
}

using MicroQuantizedFn = void (*)(const MicroQuantized&);
using MicroFloatFn = void (*)(const MicroFloat&);
template <int Planes>
constexpr MicroQuantizedFn kMicroQuantized[3] = {micro_quantized<1, Planes>, micro_quantized<2, Planes>, micro_quantized<3, Planes>};
template <>
constexpr MicroQuantizedFn kMicroQuantized<1>[6] = {micro_quantized<1, 1>, micro_quantized<2, 1>, micro_quantized<3, 1>,
                                                    micro_quantized<4, 1>, micro_quantized<5, 1>, micro_quantized<6, 1>};
constexpr MicroFloatFn kMicroFloat[kMrFloat] = {micro_float<1>, micro_float<2>, micro_float<3>,
                                                micro_float<4>, micro_float<5>, micro_float<6>};

}  // namespace
}  // namespace avx2
}  // namespace scap_ov
