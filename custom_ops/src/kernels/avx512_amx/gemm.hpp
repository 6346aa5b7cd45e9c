// Dense product of bytes with AMX: tiles of 16 rows of x times 16 columns, 64 input channels at a time. Over Simd and generic/gemm.hpp,
// whose unpacked tile is what a tile register loads: 16 quads of input channels are its rows, 16 columns of four bytes a row.
//
//   tiles 0…3: sums int32 [16 rows][16 columns] of up to 32 rows x 32 columns     4, 5: x int8 [16 rows][64]     6, 7: weight uint8 [16
//   quads][64]
//
// An activation group is padded to whole steps of 64 channels, where x is 0: what the weight holds there does not matter. Its sums are
// stored, less their zero points, and scaled into float sums that stay in L1 for all groups of the unpacked tile.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

constexpr size_t kTileRows = 16;
constexpr size_t kTileBytes = 64;  // of a row of a tile register
constexpr size_t kStepQuads = 16;  // input channels of a step, four by four
constexpr size_t kBlockRows = 2 * kTileRows;
constexpr size_t kChunkRows = 64;  // rows of x that are copied together: with 512 channels 32 KB, beside 16 KB of a strip's weight
constexpr size_t kOverrun = (kStepQuads - 1) * kNr * kQuad;  // bytes that the last step reads past a strip

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

// As the micro-kernels of registers take it; each group of x is padded to whole steps.
struct AmxBlock : MicroQuantized {
    size_t rows;  // at most kBlockRows
};

// dot = products of one group: `steps` times 64 channels.
template <bool TwoRowTiles>
inline void multiply_tiles(const uint8_t* weight, const int8_t* x, size_t x_stride, size_t steps, int32_t* dot) {
    _tile_zero(0);
    _tile_zero(1);
    if (TwoRowTiles) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (size_t s = 0; s < steps; ++s, weight += kStepQuads * kNr * kQuad, x += kTileBytes) {
        _tile_loadd(6, weight, kNr * kQuad);
        _tile_loadd(7, weight + kTileBytes, kNr * kQuad);
        _tile_loadd(4, x, x_stride);
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        if (TwoRowTiles) {
            _tile_loadd(5, x + kTileRows * x_stride, x_stride);
            _tile_dpbsud(2, 5, 6);
            _tile_dpbsud(3, 5, 7);
        }
    }
    constexpr size_t stride = kNr * sizeof(int32_t);
    _tile_stored(0, dot, stride);
    _tile_stored(1, dot + kTileRows, stride);
    if (TwoRowTiles) {
        _tile_stored(2, dot + kTileRows * kNr, stride);
        _tile_stored(3, dot + kTileRows * kNr + kTileRows, stride);
    }
}

// sum += (dot - zero point * Σ x) * scale of the weight * scale of x, for one group; the first group overwrites.
inline void scale_group(const AmxBlock& a, size_t g, const int32_t* dot, bool first, float* sum) {
    for (size_t j = 0; j < kNr; j += Simd::kLanes) {
        const Simd::Float scale = Simd::load(a.scale + g * kGemmTileColumns + j);
        const Simd::Float zero_point = Simd::load(a.zero_point + g * kGemmTileColumns + j);
        for (size_t r = 0; r < a.rows; ++r) {
            const Simd::Float x_sum = Simd::to_float(Simd::broadcast(a.x_sum[r * a.x_groups + g]));
            const Simd::Float value = Simd::negative_multiply_add(zero_point, x_sum, Simd::to_float(Simd::load(dot + r * kNr + j)));
            const Simd::Float scaled = Simd::multiply(value, scale), x_scale = Simd::broadcast(a.x_scale[r * a.x_groups + g]);
            float* to = sum + r * kNr + j;
            Simd::store(to, first ? Simd::multiply(scaled, x_scale) : Simd::multiply_add(scaled, x_scale, Simd::load(to)));
        }
    }
}

inline void micro_amx(const AmxBlock& a) {
    alignas(64) int32_t dot[kBlockRows * kNr];
    alignas(64) float sum[kBlockRows * kNr];
    const size_t group_step = round_up(a.group_quads, kStepQuads) * kQuad;
    for (size_t g = 0, quad = 0; g < a.groups; ++g, quad += a.group_quads) {
        const size_t steps = ceil_div(a.quads - quad < a.group_quads ? a.quads - quad : a.group_quads, kStepQuads);
        const uint8_t* weight = a.tile + quad * kNr * kQuad;
        const int8_t* x = a.x + g * group_step;
        if (a.rows > kTileRows)
            multiply_tiles<true>(weight, x, a.x_stride, steps, dot);
        else
            multiply_tiles<false>(weight, x, a.x_stride, steps, dot);
        scale_group(a, g, dot, g == 0, sum);
    }
    for (size_t r = 0; r < a.rows; ++r)
        for (size_t j = 0; j < kNr; j += Simd::kLanes) {
            float* y = a.y + r * a.y_stride + j;
            const Simd::Float value = Simd::load(sum + r * kNr + j);
            Simd::store(y, a.accumulate ? Simd::add(value, Simd::load(y)) : value);
        }
}

// Rows [m, m + rows) of the quantised x, channels of the block's groups, each group padded with zeros to whole steps; rows to whole tiles.
inline void copy_quantized(const QuantizeRowsParams& q, const QuantizedBlock& block, size_t m, size_t rows, size_t depth, int8_t* out) {
    const size_t stride = round_up(q.group_size, kQuad), padded = round_up(stride, kTileBytes);
    __builtin_memset(out, 0, round_up(rows, kTileRows) * depth);
    for (size_t r = 0; r < rows; ++r, out += depth)
        for (size_t g = 0, left = block.quads * kQuad; g < block.groups; ++g, left -= at_most(stride, left))
            __builtin_memcpy(out + g * padded, q.quantized + (m + r) * q.k_padded + (block.group + g) * stride, at_most(stride, left));
}

inline void multiply_chunk(const GemmParams& p, const QuantizedBlock& block, size_t m, size_t rows, size_t n, size_t columns,
                           int8_t* copy) {
    const QuantizeRowsParams& q = *p.q;
    const size_t groups = ceil_div(q.k, q.group_size), stride = round_up(q.group_size, kQuad);
    AmxBlock a;
    a.x_stride = block.groups * round_up(stride, kTileBytes);
    copy_quantized(q, block, m, rows, a.x_stride, copy);
    a.x_groups = groups;
    a.groups = block.groups;
    a.group_quads = stride / kQuad;
    a.quads = block.quads;
    a.y_stride = p.y_stride;
    a.accumulate = p.accumulate || block.group != 0;
    for (size_t c = 0; c < columns; c += kNr) {
        a.tile = block.tile + c * block.quads * kQuad;
        a.scale = block.scale + c;
        a.zero_point = block.zero_point + c;
        for (size_t r = 0; r < rows; r += kBlockRows) {
            a.rows = at_most(kBlockRows, rows - r);
            a.x = copy + r * a.x_stride;
            a.x_scale = q.scale + (m + r) * groups + block.group;
            a.x_sum = q.sum + (m + r) * groups + block.group;
            a.y = p.y + (m + r) * p.y_stride + n + c;
            micro_amx(a);
        }
    }
}

inline size_t amx_scratch_bytes(size_t k, size_t group_size) noexcept {
    group_size = group_size == 0 ? k : group_size;
    const size_t groups = groups_per_tile(group_size), stride = round_up(group_size, kQuad);
    const size_t scales = groups * 2 * kGemmTileColumns * sizeof(float), tile = kGemmTileColumns * groups * stride + kOverrun;
    const size_t quantized = scales + round_up(tile, kTileBytes) + kChunkRows * groups * round_up(stride, kTileBytes);
    const size_t other = gemm_scratch_bytes(k, group_size);
    return quantized > other ? quantized : other;
}

template <class Format>
void gemm_amx(const GemmParams& p) noexcept {
    const QuantizeRowsParams& q = *p.q;
    const size_t groups = ceil_div(q.k, q.group_size), step = groups_per_tile(q.group_size);
    float* scale = static_cast<float*>(p.scratch);
    float* zero_point = scale + step * kGemmTileColumns;
    uint8_t* tile = reinterpret_cast<uint8_t*>(zero_point + step * kGemmTileColumns);
    const size_t tile_bytes = kGemmTileColumns * step * round_up(q.group_size, kQuad) + kOverrun;
    int8_t* copy = reinterpret_cast<int8_t*>(tile + round_up(tile_bytes, kTileBytes));
    const TileRegisters configured;
    for (size_t n = p.n_from; n < p.n_to; n += kGemmTileColumns) {
        const size_t columns = at_most(kGemmTileColumns, p.n_to - n);
        for (size_t group = 0; group < groups; group += step) {
            QuantizedBlock block{};
            block.group = group;
            block.groups = at_most(step, groups - group);
            unpack_quantized_block<Format>(p, n, columns, block, tile, scale, zero_point);
            for (size_t m = p.m_from; m < p.m_to; m += kChunkRows)
                multiply_chunk(p, block, m, at_most(kChunkRows, p.m_to - m), n, columns, copy);
        }
    }
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
