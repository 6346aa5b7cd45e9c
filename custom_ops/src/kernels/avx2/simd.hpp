// AVX2 vocabulary of what is in generic/: products of bytes in pairs (vpmaddubsw). Included inside the target region.
#pragma once
#include "kernels/avx2/ymm.hpp"

namespace scap_ov {
namespace avx2 {
namespace {

struct Simd : Ymm {
    static Int low_operand(Int v) { return low_nibbles(v); }
    static Int of_low_nibbles(Int low, Int) { return low; }
    static Int high_nibbles(Int v) { return low_nibbles(shift_nibbles(v)); }
    static Int of_high_nibbles(Int sum) { return sum; }

    struct Quad {
        Int bytes;
    };
    // Products of an unsigned byte of weight would saturate in maddubs: 255 * 127 * 2 > 32767. So |x| is the unsigned operand, and the
    // weight w becomes the signed w - 128, or its complement -(w - 128) - 1 where x is negative: 127 * 128 * 2 fits. left_out() is what is
    // missing then.
    struct Folded {
        Int magnitude, flip;
    };
    template <class Format>
    using Multiplier = std::conditional_t<Format::kNibbles, Quad, Folded>;
    template <class Format>
    static Multiplier<Format> multiplier(const int8_t* p) {
        const Int quad = broadcast_quad(p);
        if constexpr (!Format::kNibbles)
            return {_mm256_abs_epi8(quad), _mm256_xor_si256(_mm256_cmpgt_epi8(zero(), quad), _mm256_set1_epi8(-128))};
        else
            return {quad};
    }
    static Int dot_folded(Int w, const Folded& x) {
        return _mm256_madd_epi16(_mm256_maddubs_epi16(x.magnitude, _mm256_xor_si256(w, x.flip)), _mm256_set1_epi16(1));
    }
    // Σ x w of `count` values of x (whole quads), less what the products gave for them; `sum` is Σ x.
    template <class Format>
    static int32_t left_out(const int8_t* x, size_t count, int32_t sum) {
        if constexpr (Format::kNibbles) return 0;
        int32_t negative = 0;
        for (size_t i = 0; i < count; ++i) negative -= x[i] < 0 ? x[i] : 0;
        return 128 * sum + negative;
    }
    // Products of a quad of rows gather in `partial`, which starts at 0: int32 of bytes; of nibbles int16, at most eight quads: 8 * 2 * 15
    // * 127 fits.
    static Int start_partial(Int) { return zero(); }
    template <class Format>
    static Int multiply_quad(Int partial, Int w, const Multiplier<Format>& x) {
        if constexpr (!Format::kNibbles)
            return _mm256_add_epi32(partial, dot_folded(w, x));
        else
            return _mm256_add_epi16(partial, _mm256_maddubs_epi16(w, x.bytes));
    }
    template <class Format>
    static Int add_partial(Int sum, Int partial) {
        if constexpr (!Format::kNibbles)
            return _mm256_add_epi32(sum, partial);
        else
            return _mm256_add_epi32(sum, _mm256_madd_epi16(partial, _mm256_set1_epi16(1)));
    }
};

}  // namespace
}  // namespace avx2
}  // namespace scap_ov
