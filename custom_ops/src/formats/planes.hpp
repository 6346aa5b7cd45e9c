// u8 (and i8 stored as value + 128) in two planes of nibbles: q = offset + step * h + r. Row k is the high plane of input channel k, row
// K + k its low plane, each laid out as a row of u4; step and offset are one per output channel and step group of input channels.
#pragma once
#include "formats/u4.hpp"

namespace scap_ov {

struct U8Planes {
    static constexpr const char* kName = "planes";
    static constexpr bool kInteger = true;
    static constexpr bool kNibbles = false;  // both planes together are bytes
    static constexpr bool kTwoPlanes = true;
    static constexpr bool kStepped = false;
    static constexpr int kMidpoint = 128;
    static constexpr size_t kTileColumns = U4::kTileColumns;
    static size_t row_bytes(size_t n_padded) { return U4::row_bytes(n_padded); }  // of either plane
    static size_t byte_offset(size_t column) { return U4::byte_offset(column); }
};

// The high plane alone, where a weight stands for the middle of its range, offset + step * h + (step - 1) / 2: nibbles whose scale and
// zero point follow from the step group. What the dense path multiplies rows with that are half read.
struct HighPlane : U4 {
    static constexpr bool kStepped = true;
};

}  // namespace scap_ov
