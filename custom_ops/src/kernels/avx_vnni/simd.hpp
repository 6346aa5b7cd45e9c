// AVX-VNNI vocabulary of what is in generic/: AVX2's registers with vpdpbusd. Included inside the target region.
#pragma once
#include "kernels/avx2/ymm.hpp"

namespace scap_ov {
namespace avx_vnni {
namespace {

struct Registers : Ymm {
    static Int high_nibbles(Int v) { return _mm256_and_si256(v, _mm256_set1_epi8(-16)); }  // multiplied where they are,
    static Int of_high_nibbles(Int sum) { return _mm256_srai_epi32(sum, 4); }              // and their sums shifted once
    // sum + Σ w x over the four bytes of each int32; w unsigned, x signed.
    static Int dot_bytes(Int sum, Int w, Int x) { return _mm256_dpbusd_avx_epi32(sum, w, x); }
};

}  // namespace
}  // namespace avx_vnni
}  // namespace scap_ov

#include "kernels/generic/simd_vnni.hpp"
