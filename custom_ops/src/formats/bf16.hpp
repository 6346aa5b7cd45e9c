// bf16: channel order, little endian.
#pragma once
#include <cstring>

#include "formats/format.hpp"
#include "half.hpp"

namespace scap_ov {

struct BF16 {
    static constexpr const char* kName = "bf16";
    static constexpr bool kInteger = false;
    static constexpr bool kTwoPlanes = false;
    static constexpr bool kStepped = false;
    static constexpr size_t kTileColumns = 32;
    static size_t row_bytes(size_t n_padded) { return n_padded * 2; }
    static size_t byte_offset(size_t column) { return column * 2; }
    static float at(const uint8_t* row, size_t, size_t n) {
        uint16_t bits;
        std::memcpy(&bits, row + n * 2, 2);
        return bf16_to_f32(bits);
    }
};

}  // namespace scap_ov
