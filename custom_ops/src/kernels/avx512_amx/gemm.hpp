// Dense product of bytes with AMX: tiles of 16 rows of x times 16 columns, 64 input channels at a time. Over Simd, generic/gemm.hpp,
// digits.hpp (x) and unpack.hpp (weight).
//
// Of a task's columns about kBlockK input channels are unpacked into L2, in strips of 32 columns: [strip][quad of input channels][32][4].
//   tiles 0, 1: sums int32 [16 rows][16 columns] of h     2, 3: of l     4, 5: x int8 [16 rows][64], h and l     6, 7: weight [16
//   quads][64]
// or, of at most 8 rows, 0, 1: sums of both, h in rows 0…7, l in 8…15     4: x.
//
// A group of input channels is padded to whole steps of 64, where x is 0: what the weight holds there does not matter. Its sums are
// stored, joined, and scaled into float sums that stay in L1 for all groups of the block.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kStepQuads = 16;                            // input channels of a step, four by four
constexpr size_t kOverrun = (kStepQuads - 1) * kNr * kQuad;  // bytes that the last step reads past a strip
constexpr size_t kStripPadding = 1;                          // quads: strips that are a power of two apart would share few sets of L1
constexpr size_t kBlockK = 576;                              // with kMostColumns 576 KB in L2; 256 and 1024 are up to a fifth slower
constexpr size_t kExactChannels = 576;                       // kLargest * 255 * 576 < 2^31
constexpr size_t kChunkRows = 64;                            // whose x, 64 KB of a block, is multiplied by all strips before the next rows

static_assert(static_cast<int64_t>(kLargest) * 255 * kExactChannels < int64_t{1} << 31, "sums fit into 32 bits");
static_assert(kNr == 32, "a strip is two tile registers wide");

struct TileConfig {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64, "as LDTILECFG reads it");

// All eight tile registers at their full size, for the scope; then as they were, for the thread may be between two calls of another
// library.
class TileRegisters {
public:
    TileRegisters() {
        _tile_storeconfig(&before_);
        TileConfig config{};
        config.palette = 1;
        for (size_t i = 0; i < 8; ++i) {
            config.row_bytes[i] = kTileBytes;
            config.rows[i] = kTileRows;
        }
        _tile_loadconfig(&config);
    }
    ~TileRegisters() {
        if (before_.palette)
            _tile_loadconfig(&before_);
        else
            _tile_release();
    }
    TileRegisters(const TileRegisters&) = delete;
    TileRegisters& operator=(const TileRegisters&) = delete;

private:
    alignas(64) TileConfig before_;
};

// One unpacked block: groups [group, group + groups) of x, columns of a task.
struct SignedBlock {
    uint8_t* tile;
    float *scale, *zero_point;      // [groups, kMostColumns]
    bool has_zero_point, integers;  // integers: zero points are some, and sums fit into 32 bits
    size_t group, groups, quads, strip_bytes;
};

// Block rows of x times a strip.
struct AmxBlock {
    const uint8_t* tile;
    const float *scale, *zero_point;  // [groups, kMostColumns]
    bool has_zero_point, integers;
    const int8_t* x;
    const float* x_scale;  // [rows]
    const int32_t* x_sum;  // [rows, x_groups]
    size_t x_groups, rows;
    size_t groups, group_quads, group_steps, quads;
    float* y;
    size_t y_stride;
    bool accumulate;
};

// sums [tiles of x][16 rows][32 columns] = products of one group: `steps` times 64 channels.
template <int Tiles>
inline void multiply_tiles(const uint8_t* weight, const int8_t* x, size_t steps, int32_t* sums) {
    _tile_zero(0);
    _tile_zero(1);
    if (Tiles == 2) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (size_t s = 0; s < steps; ++s, weight += kStepQuads * kNr * kQuad, x += Tiles * kTile) {
        _tile_loadd(6, weight, kNr * kQuad);
        _tile_loadd(7, weight + kTileBytes, kNr * kQuad);
        _tile_loadd(4, x, kTileBytes);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        if (Tiles == 2) {
            _tile_loadd(5, x + kTile, kTileBytes);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
    }
    constexpr size_t stride = kNr * sizeof(int32_t);
    _tile_stored(0, sums, stride);
    _tile_stored(1, sums + kTileRows, stride);
    if (Tiles == 2) {
        _tile_stored(2, sums + kTileRows * kNr, stride);
        _tile_stored(3, sums + kTileRows * kNr + kTileRows, stride);
    }
}

// sum += (128 h + l - zero point * Σ x) * scale of the weight, for one group; the first group overwrites. Integers as long as they fit
// into 32 bits: a weight at its zero point adds nothing then, however large x is.
template <int Tiles, bool ZeroPoint, bool Integers>
inline void scale_group(const AmxBlock& a, size_t g, const int32_t* sums, bool first, float* sum) {
    constexpr size_t low = Tiles * kTileRows / 2 * kNr;
    for (size_t j = 0; j < kNr; j += Simd::kLanes) {
        const Simd::Float scale = Simd::load(a.scale + g * kMostColumns + j);
        const Simd::Float zero_point = Simd::load(a.zero_point + g * kMostColumns + j);
        const Simd::Int zero_integer = Simd::round(zero_point);
        for (size_t r = 0; r < a.rows; ++r) {
            const int32_t* of = sums + r * kNr + j;
            const Simd::Int high = Simd::load(of), rest = Simd::load(of + low), total = Simd::broadcast(a.x_sum[r * a.x_groups + g]);
            Simd::Float value;
            if (Integers) {
                Simd::Int exact = Simd::add(_mm512_slli_epi32(high, 7), rest);
                if (ZeroPoint) exact = Simd::subtract(exact, Simd::multiply(zero_integer, total));
                value = Simd::to_float(exact);
            } else {
                value = Simd::multiply_add(Simd::to_float(high), Simd::broadcast(128.0f), Simd::to_float(rest));
                if (ZeroPoint) value = Simd::negative_multiply_add(zero_point, Simd::to_float(total), value);
            }
            float* to = sum + r * kNr + j;
            Simd::store(to, first ? Simd::multiply(value, scale) : Simd::multiply_add(value, scale, Simd::load(to)));
        }
    }
}

template <int Tiles>
inline void micro_amx(const AmxBlock& a) {
    alignas(64) int32_t sums[Tiles * kTileRows * kNr];
    alignas(64) float sum[kTileRows * kNr];
    const int8_t* x = a.x;
    for (size_t g = 0, quad = 0; g < a.groups; ++g, quad += a.group_quads, x += a.group_steps * Tiles * kTile) {
        const size_t steps = ceil_div(at_most(a.quads - quad, a.group_quads), kStepQuads);
        multiply_tiles<Tiles>(a.tile + quad * kNr * kQuad, x, steps, sums);
        if (a.integers)
            (a.has_zero_point ? scale_group<Tiles, true, true> : scale_group<Tiles, false, true>)(a, g, sums, g == 0, sum);
        else
            (a.has_zero_point ? scale_group<Tiles, true, false> : scale_group<Tiles, false, false>)(a, g, sums, g == 0, sum);
    }
    for (size_t r = 0; r < a.rows; ++r) {
        const Simd::Float scale = Simd::broadcast(a.x_scale[r]);
        for (size_t j = 0; j < kNr; j += Simd::kLanes) {
            float* y = a.y + r * a.y_stride + j;
            const Simd::Float value = Simd::load(sum + r * kNr + j);
            Simd::store(y, a.accumulate ? Simd::multiply_add(value, scale, Simd::load(y)) : Simd::multiply(value, scale));
        }
    }
}

template <class Format>
void unpack_block(const GemmParams& p, size_t n, size_t columns, SignedBlock& block) {
    const PackedWeight& w = *p.weight;
    const size_t group_size = p.q->group_size, from = block.group * group_size, end = at_most(from + block.groups * group_size, w.k);
    block.has_zero_point = leaves_zero_point<Format>(w);
    block.integers = !Format::kStepped && group_size <= kExactChannels;
    block.quads = (block.groups - 1) * ceil_div(group_size, kQuad) + ceil_div(end - from - (block.groups - 1) * group_size, kQuad);
    block.strip_bytes = (block.quads + kStripPadding) * kNr * kQuad;
    alignas(64) int32_t add[kMostColumns], step[kMostColumns];
    const ColumnBytes bytes{add, step};
    size_t alike = from;  // up to which channel `bytes` is of use
    uint8_t* out = block.tile;
    for (size_t g = 0, k = from; g < block.groups; ++g) {
        load_scales<Format>(w, k, n, columns, block.scale + g * kMostColumns, block.zero_point + g * kMostColumns);
        for (const size_t to = at_most(k + group_size, w.k); k < to; k += kQuad, out += kNr * kQuad) {
            if (k >= alike) {
                load_bytes<Format>(w, k, n, columns, bytes);
                alike = k + channels_alike<Format>(w, k);
            }
            FourRows rows{{}, k + kAhead + kQuad <= w.k ? kAhead * w.row_bytes : 0, w.k * w.row_bytes};
            // past the end of a group the last row again: x is 0 there
            for (size_t i = 0; i < kQuad; ++i) rows.at[i] = w.data + at_most(k + i, to - 1) * w.row_bytes;
            unpack_signed<Format, true>(rows, bytes, n, columns, out, block.strip_bytes);
        }
        k = at_most(from + (g + 1) * group_size, w.k);
    }
}

inline void multiply_block(const GemmParams& p, const SignedBlock& block, size_t n, size_t columns) {
    const QuantizeRowsParams& q = *p.q;
    AmxBlock a;
    a.x_groups = ceil_div(q.k, q.group_size);
    a.groups = block.groups;
    a.group_quads = ceil_div(q.group_size, kQuad);
    a.group_steps = ceil_div(q.group_size, kTileBytes);
    a.quads = block.quads;
    a.y_stride = p.y_stride;
    a.has_zero_point = block.has_zero_point;
    a.integers = block.integers;
    a.accumulate = p.accumulate || block.group != 0;
    for (size_t from = p.m_from; from < p.m_to; from += kChunkRows)
        for (size_t c = 0; c < columns; c += kNr) {
            a.tile = block.tile + c / kNr * block.strip_bytes;
            a.scale = block.scale + c;
            a.zero_point = block.zero_point + c;
            for (size_t m = from; m < at_most(from + kChunkRows, p.m_to); m += a.rows) {
                const RowBlock rows(q, m);
                a.rows = at_most(rows.rows, p.m_to - m);
                a.x = rows.at + block.group * a.group_steps * rows.step_bytes();
                a.x_scale = q.scale + m;
                a.x_sum = q.sum + m * a.x_groups + block.group;
                a.y = p.y + m * p.y_stride + n + c;
                rows.tiles == 1 ? micro_amx<1>(a) : micro_amx<2>(a);
            }
        }
}

inline size_t groups_per_block(size_t group_size) {
    return group_size >= kBlockK ? 1 : kBlockK / group_size;
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
