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

// Four rows of a block, interleaved byte by byte: four bytes a channel, in strips of kNr channels; bytes as two planes of nibbles where
// there are two.
template <class Format>
inline void unpack_quad(const uint8_t* const* rows, size_t block, size_t n_padded, uint8_t* out, size_t strip_bytes) {
    for (size_t part = 0; part < Simd::kParts; ++part) {
        Simd::Int row[kQuad], quads[kQuad];
        for (size_t i = 0; i < kQuad; ++i) row[i] = load_block<Format>(rows[i], block, n_padded, part);
        Simd::interleave(row, quads);
        for (size_t j = 0; j < kQuad; ++j) {
            const size_t channel = 16 * j + 8 * part;
            uint8_t* to = out + channel / kNr * strip_bytes + channel % kNr * kQuad;
            if constexpr (kPlanes<Format> == 1) {
                Simd::store(to, quads[j]);
            } else {
                Simd::store(to, Simd::low_nibbles(quads[j]));
                Simd::store(to + kNr * kQuad, Simd::low_nibbles(Simd::shift_nibbles(quads[j])));
            }
        }
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
