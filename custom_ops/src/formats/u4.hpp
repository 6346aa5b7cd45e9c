// u4, and i4 stored as value + 8.
// byte 64b' + p of a row: [hhhh|llll]  l = position p of block 2b', h = position p of block 2b'+1
// a last single block:    [hhhh|llll]  l = position p (0..31),      h = position p + 32; then 32 bytes of padding
#pragma once
#include "formats/format.hpp"

namespace scap_ov {

struct U4 {
    static constexpr const char* kName = "u4";
    static constexpr bool kInteger = true;
    static constexpr bool kNibbles = true;
    static constexpr bool kTwoPlanes = false;
    static constexpr bool kStepped = false;
    static constexpr int kMidpoint = 8;          // subtracted before float arithmetic, to keep products small
    static constexpr size_t kTileColumns = 128;  // columns of one 64-byte line
    static size_t row_bytes(size_t n_padded) { return round_up(n_padded / 2, 64); }
    static size_t byte_offset(size_t column) { return column / 2; }  // of a column that starts a tile
    static int at(const uint8_t* row, size_t n_padded, size_t n) {
        const size_t block = n / kColumnBlock, p = channel_of_position(n % kColumnBlock);
        if (block % 2 == 0 && (block + 1) * kColumnBlock == n_padded) {
            const uint8_t byte = row[block / 2 * 64 + p % 32];
            return p < 32 ? byte & 15 : byte >> 4;
        }
        const uint8_t byte = row[block / 2 * 64 + p];
        return block % 2 == 0 ? byte & 15 : byte >> 4;
    }
};

}  // namespace scap_ov
