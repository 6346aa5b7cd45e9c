// Plain arguments of the micro-kernels. A kernel computes; it never allocates, throws or starts a thread.
#pragma once
#include <cstddef>
#include <cstdint>

namespace scap_ov {

// Weight formats of the packed buffer. Signed integers are stored with an offset (i4: +8, i8: +128), so that every
// integer kernel reads unsigned values; `zero_point == nullptr` then means that this offset is the zero point.
enum class WeightFormat : int {
#define X(Trait, name) name,
#include "formats/format_list.inc"
#undef X
};
inline constexpr int kFormatCount = 0
#define X(Trait, name) +1
#include "formats/format_list.inc"
#undef X
    ;
inline constexpr size_t kColumnBlock = 64;  // N is padded to a multiple of this; see docs/packing.md for the order inside a block
inline constexpr size_t kQuad = 4;          // kept channels are taken four at a time: one dot product of four bytes
// Columns of a gemm task, at most: kernels/generic/gemm.hpp says which format takes how many, and why.
inline constexpr size_t kGemmColumns = 512;
// More rows go through gemm. There, dense steps of int4 and int8 of four to eight rows run at 0.49 to 0.9 of the speed
// (docs/performance.md).
inline constexpr size_t kMaxGemvRows = 8;

// The packed weight of a site. Row k holds all output channels of input channel k, or their high plane, and then row K + k the low one.
struct PackedWeight {
    const uint8_t* data;  // [K or 2 K, row_bytes], row_bytes a multiple of 64
    size_t row_bytes;
    const void* scale;  // [groups, n_padded] in channel order; f16 bits or f32; null for float formats
    bool scale_is_f16;
    const uint8_t* zero_point;  // [groups, n_padded] in channel order, or null: implicit_zero_point everywhere
    int implicit_zero_point;    // 0, 8 or 128
    size_t k, n, n_padded;
    size_t group_size;      // input channels per scale; k for per-channel weights; unused for float formats
    const uint8_t* step;    // planes: [step groups, n_padded] in channel order; null for other formats
    const uint8_t* offset;  // likewise: q = offset + step * high + low
    size_t step_group;      // input channels per step; a whole number of them is a weight group, the last one may be short
};

// Kept channels of M <= kMaxGemvRows rows, by activation group, in ascending order, padded to kQuad in each group.
// The union over the rows is kept; an entry that one row did not keep is 0 for that row. With planes list 2g holds the channels of group g
// that some row keeps, list 2g + 1 those that some row reads whole; an entry that one row reads by its high plane is 0 for it in the
// latter.
struct KeptChannels {
    uint32_t* index;        // [capacity] row of the packed weight of each kept slot; a pad slot repeats a row of its list with value 0
    int8_t* quantized;      // [M, capacity], dynamic quantisation; null for float activations
    float* value;           // [M, capacity] float activations; the workspace of compact when `quantized` is given
    uint32_t* group_begin;  // [all_lists() + 1] slot where each list begins
    // [all_lists()] slot where the coarse slots of each list begin, behind its others: second digits of a few large values, see kCoarse
    uint32_t* coarse_begin;
    float* scale;       // [M, groups] of the quantised values
    int32_t* sum;       // [M, all_lists()] of the quantised values (zero-point correction)
    float* value_sum;   // [M, all_lists()] of the float values (zero-point correction without quantisation)
    size_t capacity;    // of all lists, see kept_capacity
    size_t groups;      // activation groups; each lies inside one weight group and one step group
    size_t group_size;  // input channels per activation group
    size_t lists;       // of an activation group: one; with planes two, the rows of the high plane and, behind them, those of the low one
    size_t all_lists() const { return groups * lists; }
};

// One scale serves the kept channels of an activation group, and its step is set by the largest. So that a few large ones do not make it
// coarse for all, they may have a second digit: x = scale · (kCoarse h + l), where l has the channel's slot and h a coarse slot.
inline constexpr int32_t kCoarse = 32;
inline constexpr size_t kMostCoarse = 2;  // such channels of a row and group: what more cost, docs/performance.md

// Slots that compact may touch: every group padded to kQuad, coarse slots behind it, and one vector that is stored whole past the end.
inline constexpr size_t kept_capacity(size_t groups, size_t group_size, size_t m) {
    const size_t slots = (group_size + kQuad - 1) / kQuad * kQuad, coarse = (kMostCoarse * m + kQuad - 1) / kQuad * kQuad;
    return groups * (slots + coarse) + kColumnBlock;
}

struct CompactParams {
    const float* x;  // [M, K]
    size_t m, k;
    const float* center;     // [1] or [K]
    const float* threshold;  // [1] or [K]; x is kept where |x - center| > threshold
    bool center_per_channel, threshold_per_channel;
    const float*
        whole_threshold;  // planes: [1] or [K]; a kept x is read whole where |x - center| > whole_threshold; null: wherever it is kept
    bool whole_threshold_per_channel;
    float steepness;  // a kept x is moved towards center by max(0, threshold - (|x - center| - threshold) * steepness); 0: by nothing
    bool prune;       // false: keep every channel, centre not subtracted. NaN is kept always: !(|z| <= threshold)
    KeptChannels* kept;
};

// Writes to y the product of the kept channels of activation groups [group_from, group_to) with columns [n_from, n_to)
// (multiples of kColumnBlock). y is float [M, y_stride], indexed by the absolute column, and is overwritten, not accumulated into.
struct SparseGemvParams {
    const PackedWeight* weight;
    const KeptChannels* kept;
    size_t m;
    size_t group_from, group_to;
    size_t n_from, n_to;
    float* y;
    size_t y_stride;
    void* scratch;  // 64-byte aligned; scratch_bytes(m, n_to - n_from) of the implementation
};

// How the dense path of an instruction set takes x: int8, one digit of it or two.
struct DenseActivations {
    size_t largest_group;                     // input channels of a group, at most
    size_t step;                              // a group is padded with zeros to a whole number of these
    size_t digits;                            // 1: one scale per row and group. 2: one per row, see kernels/avx512_amx/digits.hpp
    size_t least_rows, least_rows_of_planes;  // that are faster here than in the sparse GEMV with every channel kept
};

// Input channels of x that share a scale in the dense path, where x has one digit: as many as in stock OpenVINO where the weight has one
// scale for each output channel, and a run of them where it has more, for there scaling sums is dearer (docs/performance.md).
// Products of fine groups are not summed up apart: D, the sum over the first f fine groups of a run, grows on, and as
// s1 D1 + s2 (D2 - D1) + s3 (D3 - D2) + s4 (D4 - D3) = (s1 - s2) D1 + (s2 - s3) D2 + (s3 - s4) D3 + s4 D4, differences of scales are what
// multiplies it.
inline constexpr size_t kFineGroup = 32;
inline constexpr size_t kRun = 128;  // input channels: their sum is below 2^22, see kernels/generic/gemm_micro.hpp

// Quantises rows [m_from, m_to) of x to int8, symmetric; masked and centred by the caller beforehand.
struct QuantizeRowsParams {
    const float* x;  // [M, K]
    size_t m, k, group_size;
    size_t m_from, m_to;
    int8_t* quantized;  // [M, k_padded], or as two digits want it: [M rounded up to 8, 2 k_padded]
    float* scale;       // one digit: [M, groups, fine()], less that of the next fine group of the run; two digits: [M]
    int32_t* sum;       // two digits: [M, groups]
    float* sums;        // one digit: [M, groups, 2], the sum of scale times quantised value, and of the first scale of each run
    size_t k_padded;    // K rounded up to `step` in every group
    size_t fine_size;   // one digit: kFineGroup or kRun
    size_t fine() const { return (group_size + fine_size - 1) / fine_size; }
};

// y[m, n] for rows [m_from, m_to) and columns [n_from, n_to) (multiples of kColumnBlock), dense, from the packed weight.
struct GemmParams {
    const PackedWeight* weight;
    const float* x;               // [M, K] float activations (float formats, or no dynamic quantisation)
    const QuantizeRowsParams* q;  // quantised activations or null
    size_t m_from, m_to, n_from, n_to;
    float* y;  // [M, y_stride]
    size_t y_stride;
    bool accumulate;  // add to y instead of overwriting it
    void* scratch;    // 64-byte aligned
};

// y = the product of activation groups [group_from, group_to) of all rows of x with a strip of columns [n_from, n_to), multiples of 128 but
// for the last. Behind it comes the strip [next_from, next_to), or nothing where they are alike.
struct FewRowsParams {
    const PackedWeight* weight;
    const QuantizeRowsParams* q;
    size_t group_from, group_to;
    size_t block_groups;  // that are taken at a time
    size_t n_from, n_to, next_from, next_to;
    bool prefetched;  // the strip came behind another
    float* y;         // [M, y_stride]; y[0] is column n_from; overwritten
    size_t y_stride;
    void* scratch;  // 64-byte aligned; scratch_bytes(m, block_groups, group_size) of FewRows, or pipelined_scratch_bytes(m, columns)
    // Pipelined: x in the order of use, [K / 32, M, 32]; its scales [K / 32, M]; sums of scale times quantised value, since the begin of
    // the group of the weight's scale: of nibbles [K / 32, M], of bytes [M].
    const int8_t* x;
    const float *x_scale, *x_sum;
};

// What is between the two products of a gated layer. clamped_swiglu (gpt-oss): (up + 1) gate / (1 + e^-(alpha gate)), gate at most limit,
// up within -limit … limit.
enum class Activation : int { silu, gelu_tanh, gelu_erf, clamped_swiglu, count };

// out[i] = activation(gate[i]) · up[i].
struct ActivateParams {
    const float *gate, *up;
    size_t count;
    Activation activation;
    float alpha, limit;  // of clamped_swiglu
    float* out;          // may be gate or up
};

}  // namespace scap_ov
