// Rows of a packed weight to the tiles of gemm.hpp, a block of 64 columns at a time. Over Simd and kPlanes.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// Register `part` of the 64 unsigned values of a block of a row, in position order.
template <class Format>
inline Simd::Int load_block(const uint8_t* row, size_t block, size_t n_padded, size_t part) {
    if constexpr (!Format::kNibbles) return Simd::load(row + block * kColumnBlock + part * Simd::kBytes);
    const uint8_t* at = row + block / 2 * kColumnBlock;
    if (block % 2 == 0 && (block + 1) * kColumnBlock == n_padded) return Simd::last_nibbles(at, part);
    const Simd::Int bytes = Simd::load(at + part * Simd::kBytes);
    return Simd::low_nibbles(block % 2 ? Simd::shift_nibbles(bytes) : bytes);
}

// Stores a register of four bytes a channel at `channel` of a strip, as one plane or two.
template <class Format>
inline void store_quads(Simd::Int quads, size_t channel, uint8_t* out, size_t strip_bytes) {
    uint8_t* to = out + channel / kNr * strip_bytes + channel % kNr * kQuad;
    if constexpr (kPlanes<Format> == 1) {
        Simd::store(to, quads);
    } else {
        Simd::store(to, Simd::low_nibbles(quads));
        Simd::store(to + kNr * kQuad, Simd::low_nibbles(Simd::shift_nibbles(quads)));
    }
}

// Four rows of a block, interleaved byte by byte: four bytes a channel, in strips of kNr channels; bytes as two planes of nibbles where
// there are two. `ahead`: bytes from these rows to those that are prefetched, a line beside each line that is unpacked: bursts for a whole
// tile wait for each other. Into L2: where rows are a power of two apart they share the sets of L1.
template <class Format>
inline void unpack_quad(const uint8_t* const* rows, size_t ahead, size_t block, size_t n_padded, uint8_t* out, size_t strip_bytes) {
    constexpr size_t blocks_per_line = Format::kNibbles ? 2 : 1;
    for (size_t part = 0; part < Simd::kParts; ++part) {
        Simd::Int row[kQuad], quads[kQuad];
        for (size_t i = 0; i < kQuad; ++i) {
            if (part == 0 && block % blocks_per_line == 0) prefetch_line(rows[i] + ahead + block / blocks_per_line * kColumnBlock);
            row[i] = load_block<Format>(rows[i], block, n_padded, part);
        }
        Simd::interleave(row, quads);
        for (size_t j = 0; j < kQuad; ++j) {
            store_quads<Format>(quads[j], 16 * j + 8 * part, out, strip_bytes);
        }
    }
}

// Steps of one step group for the columns of a tile, each in both halves of an int32, as unpack_quad_of_planes wants them. Nothing for
// other formats.
template <class Format, bool = Format::kTwoPlanes>
struct Steps {
    Steps(const PackedWeight&, size_t, size_t, size_t) {}
};
template <class Format>
struct Steps<Format, true> {
    alignas(64) int32_t step[kGemmColumns];
    Steps(const PackedWeight& w, size_t k, size_t n, size_t columns) {
        const size_t at = k / w.step_group * w.n_padded + n;
        for (size_t c = 0; c < columns; c += Simd::kLanes) {
            Simd::store(step + c, Simd::multiply(Simd::load_u8(w.step + at + c), Simd::broadcast(0x10001)));
        }
    }
};

// step * high + low, two bytes in every 16 bits: 15 * 16 < 256, so nothing is carried over.
inline Simd::Int join_bytes(Simd::Int high, Simd::Int low, Simd::Int step) {
    return Simd::add_bytes(Simd::multiply_words(high, step), low);
}
inline Simd::Int join_bytes(Simd::Int high, Simd::Int low, const int32_t* step) {
    return join_bytes(high, low, Simd::load(step));
}

// Four rows of both planes, columns [n, n + columns); rows are those of the high plane.
inline void unpack_quad_of_planes(const uint8_t* const* rows, size_t ahead, const PackedWeight& w, const Steps<U8Planes>& steps, size_t n,
                                  size_t columns, uint8_t* out, size_t strip_bytes) {
    const size_t low_plane = w.k * w.row_bytes;
    for (size_t c = 0; c < columns; c += U4::kTileColumns) {
        const size_t at = U4::byte_offset(n + c);
        const bool single = c + kColumnBlock == columns;
        for (size_t part = 0; part < Simd::kParts; ++part) {
            Simd::Int bytes[2][kQuad], quads[2][kQuad];
            for (size_t plane = 0; plane < 2; ++plane) {
                for (size_t i = 0; i < kQuad; ++i) {
                    const uint8_t* row = rows[i] + plane * low_plane + at;
                    if (part == 0) prefetch_line(row + ahead);
                    bytes[plane][i] = single ? Simd::last_nibbles(row, part) : Simd::load(row + part * Simd::kBytes);
                }
                Simd::interleave(bytes[plane], quads[plane]);
            }
            for (size_t j = 0; j < kQuad; ++j) {
                const size_t even = c + 16 * j + 8 * part, odd = even + kColumnBlock;
                const Simd::Int high = quads[0][j], low = quads[1][j];
                store_quads<U8Planes>(join_bytes(Simd::low_nibbles(high), Simd::low_nibbles(low), steps.step + even), even, out,
                                      strip_bytes);
                if (single) continue;
                const Simd::Int high_odd = Simd::low_nibbles(Simd::shift_nibbles(high)),
                                low_odd = Simd::low_nibbles(Simd::shift_nibbles(low));
                store_quads<U8Planes>(join_bytes(high_odd, low_odd, steps.step + odd), odd, out, strip_bytes);
            }
        }
    }
}

// A block of 64 nibbles of a row in channel order.
inline void order_nibbles(const uint8_t* row, size_t block, size_t n_padded, uint8_t* bytes) {
    Simd::Int ordered[Simd::kParts];
    for (size_t part = 0; part < Simd::kParts; ++part) ordered[part] = load_block<U4>(row, block, n_padded, part);
    Simd::to_channel_order(ordered);
    for (size_t part = 0; part < Simd::kParts; ++part) Simd::store(bytes + part * Simd::kBytes, ordered[part]);
}

// A block of 64 columns of input channel k as floats, (step * high + low - zero point) * scale, in channel order; the offset is part of
// the zero point.
inline void unpack_floats_of_planes(const PackedWeight& w, size_t k, size_t n, const float* scale, const float* zero_point, float* out,
                                    size_t strip_floats) {
    alignas(64) uint8_t high[kColumnBlock], low[kColumnBlock];
    order_nibbles(w.data + k * w.row_bytes, n / kColumnBlock, w.n_padded, high);
    order_nibbles(w.data + (w.k + k) * w.row_bytes, n / kColumnBlock, w.n_padded, low);
    const size_t at = k / w.step_group * w.n_padded + n;
    for (size_t c = 0; c < kColumnBlock; c += Simd::kLanes) {
        const Simd::Int product = Simd::multiply(Simd::load_u8(high + c), Simd::load_u8(w.step + at + c));
        const Simd::Int q = Simd::add(product, Simd::load_u8(low + c));
        const Simd::Float centred = Simd::subtract(Simd::to_float(q), Simd::load(zero_point + c));
        Simd::store(out + c / kNr * strip_floats + c % kNr, Simd::multiply(centred, Simd::load(scale + c)));
    }
}

// A row of a block as floats, (w - zero point) * scale, in channel order.
template <class Format>
inline void unpack_floats(const uint8_t* row, size_t block, size_t n_padded, const float* scale, const float* zero_point, float* out,
                          size_t strip_floats) {
    alignas(64) uint8_t bytes[kColumnBlock];
    if constexpr (Format::kInteger) {
        Simd::Int ordered[Simd::kParts];
        for (size_t part = 0; part < Simd::kParts; ++part) ordered[part] = load_block<Format>(row, block, n_padded, part);
        Simd::to_channel_order(ordered);
        for (size_t part = 0; part < Simd::kParts; ++part) Simd::store(bytes + part * Simd::kBytes, ordered[part]);
    }
    for (size_t c = 0; c < kColumnBlock; c += Simd::kLanes) {
        Simd::Float v;
        if constexpr (Format::kInteger)
            v = Simd::multiply(Simd::subtract(Simd::to_float(Simd::load_u8(bytes + c)), Simd::load(zero_point + c)), Simd::load(scale + c));
        else
            v = Simd::load_weights(Format{}, row + Format::byte_offset(block * kColumnBlock + c));
        Simd::store(out + c / kNr * strip_floats + c % kNr, v);
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
