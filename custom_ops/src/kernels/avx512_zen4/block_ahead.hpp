// How gemm_pipelined.hpp unpacks a block of the weight to a tile, a piece at a time. Over Simd, gemm_unpack.hpp and micro_few.hpp.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

static_assert(Simd::kParts == 1, "a register of a block of columns");
constexpr size_t kBlockChannels = kFineGroup;
constexpr size_t kBlockQuads = kBlockChannels / kQuad;
constexpr size_t kBlockColumns = 2 * kColumnBlock;
constexpr size_t kBlockStreams = 4;
constexpr size_t kTileBytes = kBlockStreams * kBlockQuads * 2 * Simd::kBytes;
// That are prefetched before they are unpacked. Of a whole row of blocks of a strip the first would be gone from L2.
constexpr size_t kBlocksAhead = 3;

// Joining planes takes more registers than sixteen of weights leave: the pieces of a stream are unpacked before its weights are loaded.
template <class Format>
constexpr bool kAtTheBegin = Format::kTwoPlanes;

// Steps and offsets of planes in all lanes, of one step group and block of columns: those of registers 2 j and 2 j + 1 belong to stream j.
struct JoinPlanes {
    alignas(64) int32_t step[2 * kBlockStreams][Simd::kLanes], offset[2 * kBlockStreams][Simd::kLanes];
    void load(const PackedWeight& w, size_t k, size_t n, int registers) {
        const size_t at = k / w.step_group * w.n_padded + n;
        for (size_t j = 0; j < kBlockStreams; ++j)
            for (int r = 0; r < registers; ++r) {
                const size_t from = at + r * kColumnBlock + j * Simd::kLanes;
                Simd::store(step[2 * j + r], Simd::multiply(Simd::load_u8(w.step + from), Simd::broadcast(0x10001)));
                Simd::store(offset[2 * j + r], Simd::multiply(Simd::load_u8(w.offset + from), Simd::broadcast(0x1010101)));
            }
    }
    // offset + step * high + low: the weight's byte
    Simd::Int join(Simd::Int high, Simd::Int low, size_t i) const {
        return Simd::add_bytes(join_bytes(high, low, step[i]), Simd::load(offset[i]));
    }
};

// Unpacks a block of the weight, a piece at a time.
template <class Format>
class BlockAhead {
public:
    // A quad of input channels of 64 columns where they are bytes, of 128 otherwise.
    static constexpr size_t kPieces = Format::kNibbles || Format::kTwoPlanes ? kBlockQuads : 2 * kBlockQuads;

    explicit BlockAhead(const PackedWeight& w) : w_(w), low_plane_(Format::kTwoPlanes ? w.k * w.row_bytes : 0) {}

    // Of channels [k, k + 32) and the columns from n on, to `tile`; `ahead` is where lines are prefetched that lie as those do.
    void begin(size_t k, size_t n, const uint8_t* ahead, uint8_t* tile) {
        row_ = w_.data + k * w_.row_bytes + Format::byte_offset(n);
        ahead_ = ahead;
        tile_ = tile;
        piece_ = 0;
        single_ = n + kColumnBlock == w_.n_padded;
        if constexpr (Format::kTwoPlanes) join_.load(w_, k, n, single_ ? 1 : 2);
    }
    void prefetch(size_t k, size_t n) const {
        for (size_t plane = 0; plane < (Format::kTwoPlanes ? 2 : 1); ++plane)
            for (size_t i = 0; i < kBlockChannels; ++i) {
                const uint8_t* row = w_.data + (k + i) * w_.row_bytes + plane * low_plane_;
                for (size_t at = Format::byte_offset(n); at < Format::byte_offset(n + kBlockColumns); at += 64) prefetch_line(row + at);
            }
    }
    void unpack_all() {
        while (piece_ < kPieces) unpack_piece();
    }
    // Called `steps` times for a block, it unpacks the whole one.
    void advance(size_t steps) {
        for (due_ += kPieces; due_ >= steps; due_ -= steps) unpack_piece();
    }

private:
    // One register of four rows, and the lines ahead of them.
    void load_quad(const uint8_t* row, const uint8_t* ahead, bool single, Simd::Int* quads) const {
        Simd::Int bytes[kQuad];
        for (size_t i = 0; i < kQuad; ++i, row += w_.row_bytes, ahead += w_.row_bytes) {
            bytes[i] = single ? Simd::last_nibbles(row, 0) : Simd::load(row);
            prefetch_line(ahead);
        }
        Simd::interleave(bytes, quads);
    }
    uint8_t* to(size_t stream, size_t quad, size_t registers, size_t of) const {
        return tile_ + ((stream * kBlockQuads + quad) * registers + of) * Simd::kBytes;
    }
    void unpack_piece() {
        Simd::Int quads[kQuad];
        if constexpr (Format::kTwoPlanes) {
            const size_t at = piece_ * kQuad * w_.row_bytes;
            Simd::Int low[kQuad];
            load_quad(row_ + at, ahead_ + at, single_, quads);
            load_quad(row_ + at + low_plane_, ahead_ + at + low_plane_, single_, low);
            for (size_t j = 0; j < kBlockStreams; ++j) {
                const Simd::Int first = join_.join(Simd::low_nibbles(quads[j]), Simd::low_nibbles(low[j]), 2 * j);
                Simd::store(to(j, piece_, single_ ? 1 : 2, 0), first);
                if (single_) continue;
                const Simd::Int high_odd = Simd::low_nibbles(Simd::shift_nibbles(quads[j])),
                                low_odd = Simd::low_nibbles(Simd::shift_nibbles(low[j]));
                Simd::store(to(j, piece_, 2, 1), join_.join(high_odd, low_odd, 2 * j + 1));
            }
        } else if constexpr (Format::kNibbles) {
            const size_t at = piece_ * kQuad * w_.row_bytes;
            load_quad(row_ + at, ahead_ + at, single_, quads);
            for (size_t j = 0; j < kBlockStreams; ++j) Simd::store(to(j, piece_, 1, 0), quads[j]);
        } else {
            const size_t quad = piece_ / 2, of = piece_ % 2, at = quad * kQuad * w_.row_bytes + of * kColumnBlock;
            if (!single_ || of == 0) {
                load_quad(row_ + at, ahead_ + at, false, quads);
                for (size_t j = 0; j < kBlockStreams; ++j) Simd::store(to(j, quad, single_ ? 1 : 2, of), quads[j]);
            }
        }
        ++piece_;
    }

    const PackedWeight& w_;
    const size_t low_plane_;
    const uint8_t *row_ = nullptr, *ahead_ = nullptr;
    uint8_t* tile_ = nullptr;
    size_t piece_ = 0, due_ = 0;
    bool single_ = false;
    JoinPlanes join_;
};

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
