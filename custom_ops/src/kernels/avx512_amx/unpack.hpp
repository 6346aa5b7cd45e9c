// Rows of a packed weight to signed bytes that AMX multiplies: nibbles less their zero point, bytes less 128, so that what a product
// leaves to be taken off is small or nothing. Over Simd and generic/gemm_unpack.hpp.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kMostColumns = 1024;  // of a task

// What the columns of a task are unpacked with, a byte of each in all four bytes of an int32.
struct ColumnBytes {
    int32_t* add;   // to every byte
    int32_t* step;  // planes: in both halves
};

// Whether sums of these bytes have something taken off.
template <class Format>
inline bool leaves_zero_point(const PackedWeight& w) {
    return Format::kStepped || (!Format::kNibbles && (w.zero_point || w.implicit_zero_point != 128));
}

// Scales, and zero points of the signed bytes, of the group of input channel k.
template <class Format>
inline void load_scales(const PackedWeight& w, size_t k, size_t n, size_t columns, float* scale, float* zero_point) {
    expand_group<Format>(w, k, n, columns, scale, zero_point);
    if constexpr (Format::kNibbles) return;
    const size_t at = k / w.group_size * w.n_padded + n;
    for (size_t c = 0; c < columns; c += Simd::kLanes) {
        const Simd::Int zero = w.zero_point ? Simd::load_u8(w.zero_point + at + c) : Simd::broadcast(w.implicit_zero_point);
        Simd::store(zero_point + c, Simd::to_float(Simd::subtract(zero, Simd::broadcast(128))));
    }
}

// Of the group, or the step group, of input channel k.
template <class Format>
inline void load_bytes(const PackedWeight& w, size_t k, size_t n, size_t columns, const ColumnBytes& bytes) {
    if constexpr (Format::kStepped) return;
    for (size_t c = 0; c < columns; c += Simd::kLanes) {
        Simd::Int add = Simd::broadcast(128);
        if constexpr (Format::kNibbles) {
            const size_t at = k / w.group_size * w.n_padded + n + c;
            const Simd::Int zero = w.zero_point ? Simd::load_u8(w.zero_point + at) : Simd::broadcast(w.implicit_zero_point);
            add = Simd::subtract(Simd::broadcast(256), zero);
        }
        if constexpr (Format::kTwoPlanes) {
            const size_t at = k / w.step_group * w.n_padded + n + c;
            add = Simd::add(add, Simd::load_u8(w.offset + at));
            Simd::store(bytes.step + c, Simd::multiply(Simd::load_u8(w.step + at), Simd::broadcast(0x00010001)));
        }
        add = _mm512_and_si512(add, Simd::broadcast(255));
        Simd::store(bytes.add + c, Simd::multiply(add, Simd::broadcast(0x01010101)));
    }
}

// Input channels from k on that share what load_bytes loads.
template <class Format>
inline size_t channels_alike(const PackedWeight& w, size_t k) {
    const size_t size = Format::kTwoPlanes || Format::kStepped ? at_most(w.step_group, w.group_size) : w.group_size;
    return size - k % size;
}

constexpr size_t kAhead = 16;  // rows of the weight

// A line of a row and, Ahead, the same line of a later row on its way into L2. One by one, between the arithmetic: bursts wait for each
// other.
template <bool Ahead>
inline Simd::Int load_line(const uint8_t* from, size_t ahead) {
    if constexpr (Ahead) _mm_prefetch(reinterpret_cast<const char*>(from + ahead), _MM_HINT_T1);
    return Simd::load(from);
}

// Four rows that are unpacked, and how far ahead of them rows are prefetched.
struct FourRows {
    const uint8_t* at[kQuad];
    size_t ahead, low_plane;  // bytes
};

// Four bytes of each of 64 columns, to two strips.
template <class Format>
inline void store_signed(const Simd::Int* quads, const int32_t* add, uint8_t* out, size_t strip_bytes) {
    for (size_t j = 0; j < kQuad; ++j) {
        const Simd::Int bytes = Format::kStepped ? quads[j] : Simd::add_bytes(quads[j], Simd::load(add + j * Simd::kLanes));
        Simd::store(out + j / 2 * strip_bytes + j % 2 * kTileBytes, bytes);
    }
}

// 64 columns of U8.
template <bool Ahead>
inline void unpack_bytes(const FourRows& rows, size_t at, const int32_t* add, uint8_t* out, size_t strip_bytes) {
    Simd::Int row[kQuad], quads[kQuad];
    for (size_t i = 0; i < kQuad; ++i) row[i] = load_line<Ahead>(rows.at[i] + at, rows.ahead);
    Simd::interleave(row, quads);
    store_signed<U8>(quads, add, out, strip_bytes);
}

// 128 columns of nibbles, or, Single, the 64 of a last block; of planes step * high + low.
template <class Format, bool Single, bool Ahead>
inline void unpack_nibbles(const FourRows& rows, size_t at, const int32_t* add, const int32_t* step, uint8_t* out, size_t strip_bytes) {
    Simd::Int row[kQuad], high[kQuad], low[kQuad], quads[kQuad];
    const auto load = [&](const uint8_t* from) { return Single ? Simd::last_nibbles(from, 0) : load_line<Ahead>(from, rows.ahead); };
    for (size_t i = 0; i < kQuad; ++i) row[i] = load(rows.at[i] + at);
    Simd::interleave(row, high);
    if constexpr (Format::kTwoPlanes) {
        for (size_t i = 0; i < kQuad; ++i) row[i] = load(rows.at[i] + rows.low_plane + at);
        Simd::interleave(row, low);
    }
    for (size_t odd = 0; odd < (Single ? 1 : 2); ++odd) {
        for (size_t j = 0; j < kQuad; ++j) {
            quads[j] = Simd::low_nibbles(odd ? Simd::shift_nibbles(high[j]) : high[j]);
            if constexpr (Format::kTwoPlanes) {
                const int32_t* of = step + odd * kColumnBlock + j * Simd::kLanes;
                quads[j] = join_bytes(quads[j], Simd::low_nibbles(odd ? Simd::shift_nibbles(low[j]) : low[j]), of);
            }
        }
        store_signed<Format>(quads, add + odd * kColumnBlock, out + odd * 2 * strip_bytes, strip_bytes);
    }
}

// Four rows, columns [n, n + columns), interleaved byte by byte.
template <class Format, bool Ahead>
inline void unpack_signed(const FourRows& rows, const ColumnBytes& bytes, size_t n, size_t columns, uint8_t* out, size_t strip_bytes) {
    size_t c = 0;
    if constexpr (!Format::kNibbles && !Format::kTwoPlanes) {
        for (; c < columns; c += kColumnBlock, out += 2 * strip_bytes) unpack_bytes<Ahead>(rows, n + c, bytes.add + c, out, strip_bytes);
    } else {
        for (; c + U4::kTileColumns <= columns; c += U4::kTileColumns, out += 4 * strip_bytes)
            unpack_nibbles<Format, false, Ahead>(rows, U4::byte_offset(n + c), bytes.add + c, bytes.step + c, out, strip_bytes);
        if (c < columns) unpack_nibbles<Format, true, Ahead>(rows, U4::byte_offset(n + c), bytes.add + c, bytes.step + c, out, strip_bytes);
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
