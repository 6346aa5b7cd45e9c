// u8, and i8 stored as value + 128.
// byte 64b + p of a row: position p of block b
#pragma once
#include "formats/format.hpp"

namespace scap_ov {

struct U8 {
    static constexpr const char* kName = "u8";
    static constexpr bool kInteger = true;
    static constexpr bool kNibbles = false;
    static constexpr bool kTwoPlanes = false;
    static constexpr bool kStepped = false;
    static constexpr int kMidpoint = 128;
    static constexpr size_t kTileColumns = 64;
    static size_t row_bytes(size_t n_padded) { return n_padded; }
    static size_t byte_offset(size_t column) { return column; }
    static int at(const uint8_t* row, size_t, size_t n) {
        return row[n / kColumnBlock * kColumnBlock + channel_of_position(n % kColumnBlock)];
    }
};

}  // namespace scap_ov
