// Output channels, as a model stores them, to rows of input channels, as the kernels read them (docs/packing.md): what formats/u4.py, u8.py
// and planes.py do in numpy, bit for bit, many times as fast.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "c_api.h"

namespace {

constexpr size_t kBlock = 64;  // output channels, and bytes of a cache line
constexpr size_t kTile = 128;  // bytes of an output channel at a time: what is made of two blocks of them stays in the first cache

// The channel of a block whose weight lies at a position, docs/packing.md.
constexpr size_t channel_at(size_t position) {
    return 16 * (position / 4 % 4) + 4 * (position / 16) + position % 4;
}

// Some input channels of a block: [64, width], and after `transpose` [width, 64].
class Tile {
public:
    uint8_t* row(size_t position, size_t width) { return bytes_.data() + position * width; }
    const uint8_t* line(size_t i) const { return bytes_.data() + kBlock * i; }

    // Each of six perfect shuffles moves one bit of a row's number behind that of the column.
    void transpose(size_t width) {
        const size_t half = kBlock / 2 * width;
        for (int turn = 0; turn < 6; turn++) {
            const uint8_t* from = bytes_.data();
            uint8_t* to = other_.data();
            for (size_t i = 0; i < half; i++) {
                to[2 * i] = from[i];
                to[2 * i + 1] = from[half + i];
            }
            std::swap(bytes_, other_);
        }
    }

private:
    std::vector<uint8_t> bytes_ = std::vector<uint8_t>(kBlock * kTile), other_ = bytes_;
};

// Stored bytes of a block; zeros for output channels that are not there.
void load(const scap_ov_rows& rows, size_t block, size_t first, size_t width, Tile& tile) {
    for (size_t p = 0; p < kBlock; p++) {
        const size_t channel = kBlock * block + channel_at(p);
        uint8_t* to = tile.row(p, width);
        if (channel >= rows.n) {
            std::memset(to, 0, width);
            continue;
        }
        const uint8_t* from = rows.rows[channel] + first;
        for (size_t i = 0; i < width; i++) to[i] = from[i] ^ rows.flip;
    }
    tile.transpose(width);
}

// h and r of formats/planes.py of some weights of an output channel, whose first is input channel `first`.
void split(const uint8_t* q, uint8_t flip, size_t first, size_t width, size_t group, const uint8_t* step, const uint8_t* offset,
           uint8_t* high, uint8_t* low) {
    for (size_t i = 0; i < width;) {
        const size_t at = (first + i) / group, end = std::min(width, (at + 1) * group - first);
        const auto m = static_cast<uint16_t>(step[at]), last = static_cast<uint16_t>(16 * m - 1);
        const auto reciprocal = static_cast<uint16_t>((4095 + m) / m);  // floor(a / m) = a * reciprocal >> 12 for every a < 16 m
        const uint8_t o = offset[at];
        for (; i < end; i++) {
            const uint16_t above = static_cast<uint8_t>((q[i] ^ flip) - o);
            const auto h = static_cast<uint16_t>(static_cast<uint16_t>(std::min(above, last) * reciprocal) >> 12);
            high[i] = static_cast<uint8_t>(h);
            low[i] = static_cast<uint8_t>(above - h * m);
        }
    }
}

void load_planes(const scap_ov_rows& rows, const scap_ov_steps& steps, size_t block, size_t first, size_t width, Tile& high, Tile& low) {
    for (size_t p = 0; p < kBlock; p++) {
        const size_t channel = kBlock * block + channel_at(p), group = channel * steps.groups;
        uint8_t *h = high.row(p, width), *r = low.row(p, width);
        if (channel >= rows.n) {
            std::memset(h, 0, width);
            std::memset(r, 0, width);
            continue;
        }
        split(rows.rows[channel] + first, rows.flip, first, width, steps.group, steps.step + group, steps.offset + group, h, r);
    }
    high.transpose(width);
    low.transpose(width);
}

// Nibbles of two lines of bytes in one: their low ones, or their high ones. A last single block takes half a line.
template <bool high>
void join(const Tile& first, const Tile* second, size_t i, uint8_t* to) {
    const uint8_t *a = first.line(i), *b = second ? second->line(i) : a + kBlock / 2;
    const size_t count = second ? kBlock : kBlock / 2;
    for (size_t p = 0; p < count; p++) to[p] = static_cast<uint8_t>(high ? a[p] >> 4 | (b[p] & 0xf0) : (a[p] & 15) | b[p] << 4);
    std::memset(to + count, 0, kBlock - count);
}

}  // namespace

void scap_ov_pack(const scap_ov_rows* rows, size_t first, size_t last, int32_t packed_bits, uint8_t* out, size_t row_bytes) {
    Tile tiles[2];
    const size_t blocks = (rows->n + kBlock - 1) / kBlock, at_once = packed_bits == 8 ? 1 : 2;
    for (size_t start = first; start < last; start += kTile) {
        const size_t width = std::min(kTile, last - start);
        for (size_t block = 0; block < blocks; block += at_once) {
            const size_t count = std::min(at_once, blocks - block);
            for (size_t one = 0; one < count; one++) load(*rows, block + one, start, width, tiles[one]);
            for (size_t i = 0; i < width; i++) {
                uint8_t* to = out + (start + i) * row_bytes * (rows->bits == 4 ? 2 : 1) + kBlock * (block / at_once);
                if (packed_bits == 8) {
                    std::memcpy(to, tiles[0].line(i), kBlock);
                    continue;
                }
                const Tile* second = count == 2 ? &tiles[1] : nullptr;
                join<false>(tiles[0], second, i, to);
                if (rows->bits == 4) join<true>(tiles[0], second, i, to + row_bytes);
            }
        }
    }
}

void scap_ov_pack_planes(const scap_ov_rows* rows, size_t first, size_t last, const scap_ov_steps* steps, uint8_t* high, uint8_t* low,
                         size_t row_bytes) {
    Tile upper[2], lower[2];
    const size_t blocks = (rows->n + kBlock - 1) / kBlock;
    for (size_t start = first; start < last; start += kTile) {
        const size_t width = std::min(kTile, last - start);
        for (size_t block = 0; block < blocks; block += 2) {
            const size_t count = std::min<size_t>(2, blocks - block);
            for (size_t one = 0; one < count; one++) load_planes(*rows, *steps, block + one, start, width, upper[one], lower[one]);
            for (size_t i = 0; i < width; i++) {
                const size_t to = (start + i) * row_bytes + kBlock * (block / 2);
                join<false>(upper[0], count == 2 ? &upper[1] : nullptr, i, high + to);
                join<false>(lower[0], count == 2 ? &lower[1] : nullptr, i, low + to);
            }
        }
    }
}
