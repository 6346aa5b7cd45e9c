// Simd of CPUs whose vpdpbusd takes bytes and nibbles as they are: unsigned weights, signed x, sums of 32 bits. Over the Registers that
// <isa>/simd.hpp defines before it includes this file.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

struct Simd : Registers {
    static constexpr bool kDotOfBytes = true;
    template <class Format>
    using Multiplier = Int;  // four int8 in every int32
    template <class Format>
    static Multiplier<Format> multiplier(const int8_t* quad) {
        return broadcast_quad(quad);
    }
    // Σ x w, less what the products give: nothing.
    template <class Format>
    static int32_t left_out(const int8_t*, size_t, int32_t) {
        return 0;
    }
    // Products of a quad of rows gather in `partial`, which starts at 0.
    template <class Format>
    static Int multiply_quad(Int partial, Int w, Int x) {
        return dot_bytes(partial, w, x);
    }
    template <class Format>
    static Int add_partial(Int sum, Int partial) {
        return add(sum, partial);
    }
};

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
