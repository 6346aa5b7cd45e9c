// f32: channel order, little endian.
#pragma once
#include <cstring>

#include "formats/format.hpp"
#include "half.hpp"

namespace scap_ov {

struct F32 {
    static constexpr const char* kName = "f32";
    static constexpr bool kInteger = false;
    static constexpr bool kTwoPlanes = false;
    static constexpr bool kStepped = false;
    static constexpr size_t kTileColumns = 16;
    static size_t row_bytes(size_t n_padded) { return n_padded * 4; }
    static size_t byte_offset(size_t column) { return column * 4; }
    static float at(const uint8_t* row, size_t, size_t n) {
        uint32_t bits;
        std::memcpy(&bits, row + n * 4, 4);
        return float_of_bits(bits);
    }
};

}  // namespace scap_ov
