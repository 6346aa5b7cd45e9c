// Simd of CPUs whose vpdpbusd takes bytes and nibbles as they are: unsigned weights, signed x, sums of 32 bits. Over the Registers that
// <isa>/simd.hpp defines before it includes this file.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

struct Simd : Registers {
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
    // Low nibbles are multiplied with the high ones in the same byte, whose products are taken off the sums.
    static Int low_operand(Int v) { return v; }
    static Int of_low_nibbles(Int low, Int high) { return subtract(low, high); }
    // Products of a quad of rows gather in the sum itself.
    static Int start_partial(Int sum) { return sum; }
    template <class Format>
    static Int multiply_quad(Int partial, Int w, Int x) {
        return dot_bytes(partial, w, x);
    }
    template <class Format>
    static Int add_partial(Int, Int partial) {
        return partial;
    }
};

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
