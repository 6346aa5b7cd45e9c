// Rows of x as the micro-kernels of gemm_micro.hpp take them, side by side for an unpacked block of the weight. Part of gemm.hpp.
#pragma once

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// One K block of a qd8 product: activation groups [group, group + groups), unpacked at `tile`.
struct QuantizedBlock {
    const uint8_t* tile;
    const float *scale, *zero_point;  // [groups, kGemmColumns]
    size_t group, groups;
    size_t quads;  // of all groups
};

// How groups of a block are one to the micro-kernel, so that y is loaded and stored once: they share scale and zero point, and whole runs
// lie behind each other; or they share the scale alone, and their sums grow on.
enum class Joined { none, sums, whole };

template <class Format>
inline Joined joined_groups(const GemmParams& p) {
    if (Format::kStepped || p.weight->group_size < p.weight->k) return Joined::none;
    return Format::kTwoPlanes || p.q->group_size % kRun ? Joined::sums : Joined::whole;
}

// Scales and sums of activation groups [group, group + groups) of rows [m, m + rows) of x, which are a register block, in the order in
// which micro-kernels read them: [fine groups, rows] and [groups, rows, 2], see MicroQuantized.
inline void order_scales(const QuantizeRowsParams& q, size_t group, size_t groups, size_t m, size_t rows, Joined joined, float* scale,
                         float* sums) {
    const size_t stride = ceil_div(q.k, q.group_size), fine = groups * q.fine();
    for (size_t r = 0; r < rows; ++r) {
        const size_t of = (m + r) * stride + group;
        for (size_t f = 0; f < fine; ++f) scale[f * rows + r] = q.scale[of * q.fine() + f];
        float sum = 0.0f, bias = 0.0f;
        for (size_t g = 0; g < groups; ++g) {
            const float* own = q.sums + 2 * (of + g);
            sum = joined == Joined::whole ? sum + own[0] : own[0];
            bias = joined == Joined::none ? own[1] : bias + own[1];
            float* to = sums + 2 * ((joined == Joined::whole ? 0 : g * rows) + r);
            to[0] = sum;
            to[1] = -kBias * own[1];
        }
        if (joined != Joined::none) sums[2 * r + 1] = -kBias * bias;
    }
}

struct RowsOfX {
    int8_t* value;        // [rows, depth]
    float *scale, *sums;  // for each register block of rows: [fine groups, rows] and [groups, rows, 2], see MicroQuantized
    RowsOfX(void* at, size_t channels, size_t fine, size_t rows)
        : value(static_cast<int8_t*>(at)),
          scale(reinterpret_cast<float*>(value + rows * round_up(channels, 64))),
          sums(scale + rows * fine) {}

    // Rows [m, m + rows) of x, which are a register block, behind `before` others.
    void copy(const QuantizeRowsParams& q, const QuantizedBlock& block, size_t m, size_t rows, size_t before, Joined joined) const {
        const size_t stride = round_up(q.group_size, kQuad), depth = block.quads * kQuad;
        for (size_t r = 0; r < rows; ++r)
            std::memcpy(value + (before + r) * depth, q.quantized + (m + r) * q.k_padded + block.group * stride, depth);
        order_scales(q, block.group, block.groups, m, rows, joined, scale + before * block.groups * q.fine(),
                     sums + before * (joined == Joined::whole ? 1 : block.groups) * 2);
    }
};

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
