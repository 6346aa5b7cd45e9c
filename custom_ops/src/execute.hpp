// One sparse matmul on plain pointers: row policy, choice of path, split into tasks, sum of parts, outputs. Knows no OpenVINO.
#pragma once
#include <cstddef>

#include "implementation.hpp"

namespace scap_ov {

inline constexpr size_t kMaxOutputs = 16;

struct SparseMatMulArgs {
    const void* x;  // [M, K]
    bool x_is_f16;  // outputs then are f16 too
    size_t m, k;
    PackedWeight weight;
    WeightFormat format;
    const float* center;     // [1] or [K]
    const float* threshold;  // [1] or [K]
    bool center_per_channel, threshold_per_channel;
    const float* whole_threshold;  // planes: [1] or [K], or null: what is kept is read whole
    bool whole_threshold_per_channel;
    float steepness;            // of the ramp above the threshold; 0: none
    const float* compensation;  // [N] or null
    const float* base;          // [N] or null
    bool all_rows;              // rows = "all"
    size_t max_sparse_rows;     // rows = "decode"
    size_t positions;           // all_rows: length of axis 1 of a rank 3 input, whose position 0 stays dense; else 1
    bool dynamic_quantization;
    void* const* outputs;  // output_count of [M, output_sizes[i]]
    const size_t* output_sizes;
    size_t output_count;
    size_t beside = 1;  // calls that are under way at once, sharing the threads: experts of a layer
};

void sparse_matmul(const SparseMatMulArgs& args, const Implementation& implementation);

// Input channels that share a scale of quantised activations; every such group lies inside one weight group, and one step group.
size_t activation_group_size(WeightFormat format, const PackedWeight& weight);

// The same of the dense path; `half`: of the product with the high plane alone.
size_t dense_group_size(WeightFormat format, const PackedWeight& weight, const DenseActivations& dense, bool half);

// Whether x is multiplied as int8: asked for, possible, and sums of products fit into 32 bits.
bool quantizes_activations(const SparseMatMulArgs& args);

}  // namespace scap_ov
