// At most 16 rows of x: the weight is read four rows at a time, along a strip of columns, in the order of memory, for prefetchers follow
// that. Over gemm.hpp, whose tiles read short pieces of rows, pages apart.
//
// All columns of a strip, of 128 input channels, are unpacked into L2: [quad of input channels][columns][4], rows of it padded. Meanwhile
// the channels before them are multiplied, 32 columns at a time and in stages, one for every 128 columns of four rows that are unpacked, so
// that no instruction waits for the one before: products, one or two; their sums stored; those of 16 columns joined; those of the other 16.
// So a core reads on while it multiplies. Sums of a group of x are integers and lie in L2, [16 columns][rows][16], as those of all do.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kStreamedRows = kTileRows;
constexpr size_t kStreamedColumns = 2048;  // of a strip, at least, where there are as many, and less than twice as many
constexpr size_t kStreamedSteps = 2;       // of 64 input channels, in a block
constexpr size_t kStages = 4;              // of 32 columns and a step
constexpr size_t kStreamedAhead = 8;       // rows of the weight
constexpr size_t kStreamedPadding = 64;    // bytes: rows that are a power of two apart would share few sets of L1

inline size_t streamed_row_bytes(size_t columns) {
    return columns * kQuad + kStreamedPadding;
}
// Of one of the two blocks.
inline size_t streamed_block_bytes(size_t columns) {
    return kStreamedSteps * kStepQuads * streamed_row_bytes(columns);
}
inline size_t streamed_scratch_bytes(size_t rows, size_t columns) {
    return 2 * streamed_block_bytes(columns) + columns * (2 * rows + 2) * sizeof(int32_t);
}

template <class Format, int Tiles>
class Streamed {
public:
    Streamed(const GemmParams& p, size_t n, size_t columns)
        : p_(p), w_(*p.weight), q_(*p.q), n_(n), columns_(columns), m_(p.m_to - p.m_from), row_bytes_(streamed_row_bytes(columns_)) {
        uint8_t* scratch = static_cast<uint8_t*>(p.scratch);
        for (uint8_t*& block : block_) {
            block = scratch;
            scratch += streamed_block_bytes(columns_);
        }
        bytes_.add = reinterpret_cast<int32_t*>(scratch);
        bytes_.step = bytes_.add + columns_;
        sums_ = bytes_.step + columns_;
        y_ = reinterpret_cast<float*>(sums_ + columns_ * m_);
        x_ = RowBlock(q_, p.m_from).at;
        group_steps_ = ceil_div(q_.group_size, kTileBytes);
        has_zero_point_ = leaves_zero_point<Format>(w_);
    }

    void run() {
        const size_t steps = ceil_div(w_.k, kTileBytes);
        size_t stage = 0, stages = 0;  // nothing to multiply yet
        for (size_t step = 0, block = 0, count; step < steps; step += count, ++block) {
            count = at_most(at_most(kStreamedSteps, group_steps_ - step % group_steps_), steps - step);
            const size_t end = at_most((step + count) * kTileBytes, w_.k);
            uint8_t* out = block_[block % 2];
            for (size_t k = step * kTileBytes; k < end; k += kQuad, out += row_bytes_) {
                if (k >= alike_) {
                    load_bytes<Format>(w_, k, n_, columns_, bytes_);
                    alike_ = k + channels_alike<Format>(w_, k);
                }
                unpack_rows(k, out, stage, stages);
            }
            while (stage < stages) run_stage(stage++);
            begin_block(block_[block % 2], step, count);
            stage = 0;
            stages = columns_ / kNr * kStages * count;
        }
        while (stage < stages) run_stage(stage++);
    }

private:
    void begin_block(const uint8_t* weight, size_t step, size_t count) {
        weight_ = weight;
        steps_ = count;
        x_of_block_ = x_ + step * Tiles * kTile;
        group_ = step / group_steps_;
        first_ = step % group_steps_ == 0;
        last_ = (step + count) % group_steps_ == 0 || (step + count) * kTileBytes >= w_.k;
    }

    void unpack_rows(size_t k, uint8_t* out, size_t& stage, size_t stages) {
        FourRows rows{{}, k + kStreamedAhead + kQuad <= w_.k ? kStreamedAhead * w_.row_bytes : 0, w_.k * w_.row_bytes};
        for (size_t i = 0; i < kQuad; ++i) rows.at[i] = w_.data + at_most(k + i, w_.k - 1) * w_.row_bytes;
        for (size_t c = 0; c < columns_; c += U4::kTileColumns) {
            const size_t columns = at_most(U4::kTileColumns, columns_ - c);
            unpack_signed<Format, true>(rows, {bytes_.add + c, bytes_.step + c}, n_ + c, columns, out + c * kQuad, kNr * kQuad);
            if (stage < stages) run_stage(stage++);
        }
    }

    void run_stage(size_t stage) {
        const size_t of_columns = kStages * steps_, c = stage / of_columns * kNr;
        stage %= of_columns;
        if (stage < steps_) return multiply(c, stage);
        switch (of_columns - stage) {
            case 3:
                return store();
            case 2:
                return join(c, 0);
            case 1:
                return join(c, Simd::kLanes);
            default:
                return;  // of two steps, so that sums are complete when they are stored
        }
    }

    void multiply(size_t c, size_t step) const {
        const uint8_t* weight = weight_ + step * kStepQuads * row_bytes_ + c * kQuad;
        const int8_t* x = x_of_block_ + step * Tiles * kTile;
        if (step == 0) {
            _tile_zero(0);
            _tile_zero(1);
            if (Tiles == 2) {
                _tile_zero(2);
                _tile_zero(3);
            }
        }
        _tile_loadd(4, x, kTileBytes);
        _tile_loadd(6, weight, row_bytes_);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(7, weight + kTileBytes, row_bytes_);
        _tile_dpbssd(1, 4, 7);
        if (Tiles == 2) {
            _tile_loadd(5, x + kTile, kTileBytes);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
    }

    void store() {
        constexpr size_t stride = Simd::kLanes * sizeof(int32_t), tile = kTileRows * Simd::kLanes;
        _tile_stored(0, products_, stride);
        _tile_stored(1, products_ + Tiles * tile, stride);
        if (Tiles == 2) {
            _tile_stored(2, products_ + tile, stride);
            _tile_stored(3, products_ + 3 * tile, stride);
        }
    }

    // Adds the products of columns [c + of, c + of + 16) to the sums of their group, and a group that is complete to the sums of all.
    void join(size_t c, size_t of) {
        constexpr size_t low = Tiles * kTileRows / 2 * Simd::kLanes;
        const int32_t* products = products_ + of * Tiles * kTileRows;
        int32_t* sums = sums_ + (c + of) * m_;
        for (size_t r = 0; r < m_; ++r, products += Simd::kLanes) {
            Simd::Int sum = Simd::add(_mm512_slli_epi32(Simd::load(products), 7), Simd::load(products + low));
            if (!first_) sum = Simd::add(sum, Simd::load(sums + r * Simd::kLanes));
            Simd::store(sums + r * Simd::kLanes, sum);
        }
        if (last_) finish_group(c + of, sums);
    }

    void finish_group(size_t c, const int32_t* sums) const {
        const size_t at = group_ * q_.group_size / w_.group_size * w_.n_padded + n_ + c, groups = ceil_div(q_.k, q_.group_size);
        const Simd::Float scale = Simd::load_scale(w_, at);
        const Simd::Int stored = w_.zero_point ? Simd::load_u8(w_.zero_point + at) : Simd::broadcast(w_.implicit_zero_point);
        const Simd::Int zero_point = Simd::subtract(stored, Simd::broadcast(128));
        float* y = y_ + c * m_;
        for (size_t r = 0; r < m_; ++r, y += Simd::kLanes) {
            Simd::Int sum = Simd::load(sums + r * Simd::kLanes);
            if (has_zero_point_)
                sum = Simd::subtract(sum, Simd::multiply(zero_point, Simd::broadcast(q_.sum[(p_.m_from + r) * groups + group_])));
            const Simd::Float value = Simd::to_float(sum);
            Simd::store(y, group_ == 0 ? Simd::multiply(value, scale) : Simd::multiply_add(value, scale, Simd::load(y)));
        }
        if (group_ + 1 == groups) write(c);
    }

    void write(size_t c) const {
        const float* from = y_ + c * m_;
        for (size_t r = 0; r < m_; ++r, from += Simd::kLanes) {
            const Simd::Float value = Simd::load(from), scale = Simd::broadcast(q_.scale[p_.m_from + r]);
            float* y = p_.y + (p_.m_from + r) * p_.y_stride + n_ + c;
            Simd::store(y, p_.accumulate ? Simd::multiply_add(value, scale, Simd::load(y)) : Simd::multiply(value, scale));
        }
    }

    const GemmParams& p_;
    const PackedWeight& w_;
    const QuantizeRowsParams& q_;
    size_t n_, columns_, m_, row_bytes_;
    uint8_t* block_[2];
    ColumnBytes bytes_;
    int32_t* sums_;
    float* y_;
    const int8_t* x_;
    size_t group_steps_;
    bool has_zero_point_;
    size_t alike_ = 0;  // up to which channel bytes_ are of use
    // of the block that is multiplied
    const uint8_t* weight_ = nullptr;
    const int8_t* x_of_block_ = nullptr;
    size_t steps_ = 0, group_ = 0;
    bool first_ = false, last_ = false;  // of its group
    alignas(64) int32_t products_[2 * Tiles * kTileRows * Simd::kLanes];
};

// Whether a step of 64 input channels lies inside one group, and what it is unpacked with is the same for all of it.
template <class Format>
inline bool takes_streamed(const GemmParams& p) {
    const PackedWeight& w = *p.weight;
    const QuantizeRowsParams& q = *p.q;
    const auto divides = [&](size_t group) { return group >= w.k || group % kTileBytes == 0; };
    return !Format::kStepped && p.m_to - p.m_from <= kStreamedRows && q.group_size <= kExactChannels && divides(q.group_size) &&
           divides(w.group_size) && (!Format::kTwoPlanes || divides(w.step_group));
}

// Columns of the strip that begins at n: up to where as many bytes as a strip has begin in memory, for in another page prefetchers begin
// anew.
template <class Format>
inline size_t streamed_columns(const GemmParams& p, size_t n) {
    constexpr size_t of_line = Format::kTileColumns, lines = kStreamedColumns / of_line;
    const size_t line = (reinterpret_cast<uintptr_t>(p.weight->data) + Format::byte_offset(n)) / kTileBytes;
    size_t count = lines - line % lines;
    if (count < lines / 2) count += lines;
    const size_t left = p.n_to - n, columns = count * of_line;
    return left < columns + kStreamedColumns / 2 ? at_most(left, 2 * kStreamedColumns) : columns;
}

template <class Format>
void gemm_streamed(const GemmParams& p) {
    const TileRegisters configured;
    for (size_t n = p.n_from, columns; n < p.n_to; n += columns) {
        columns = streamed_columns<Format>(p, n);
        if (RowBlock(*p.q, p.m_from).tiles == 1)
            Streamed<Format, 1>(p, n, columns).run();
        else
            Streamed<Format, 2>(p, n, columns).run();
    }
}

inline size_t amx_columns(size_t m, bool in_planes, size_t group_size) noexcept {
    if (m <= kStreamedRows && group_size != 0 && group_size % kTileBytes == 0) return 4 * kStreamedColumns;
    return m <= (in_planes ? 128 : 64) ? kMostColumns : kMostColumns / 2;  // long pieces of rows to read; of many rows sums that stay in L2
}

inline size_t amx_scratch_bytes(size_t group_size) noexcept {
    const size_t groups = groups_per_block(group_size), streamed = streamed_scratch_bytes(kStreamedRows, 2 * kStreamedColumns);
    const size_t tiles = groups * (2 * sizeof(float) * kMostColumns + round_up(group_size, kQuad) * kMostColumns) +
                         kStripPadding * kQuad * kMostColumns + kOverrun;
    return tiles > streamed ? tiles : streamed;
}

template <class Format>
void gemm_amx(const GemmParams& p) noexcept {
    if (takes_streamed<Format>(p)) return gemm_streamed<Format>(p);
    const QuantizeRowsParams& q = *p.q;
    const size_t groups = ceil_div(q.k, q.group_size), step = groups_per_block(q.group_size);
    SignedBlock block{};
    block.scale = static_cast<float*>(p.scratch);
    block.zero_point = block.scale + step * kMostColumns;
    block.tile = reinterpret_cast<uint8_t*>(block.zero_point + step * kMostColumns);
    const TileRegisters configured;
    for (size_t n = p.n_from; n < p.n_to; n += kMostColumns) {
        const size_t columns = at_most(kMostColumns, p.n_to - n);
        for (block.group = 0; block.group < groups; block.group += step) {
            block.groups = at_most(step, groups - block.group);
            unpack_block<Format>(p, n, columns, block);
            multiply_block(p, block, n, columns);
        }
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
