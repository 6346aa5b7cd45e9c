// A layer of routed experts on plain pointers. Knows no OpenVINO; every product is a sparse matmul of execute.hpp.
#pragma once
#include "execute.hpp"

namespace scap_ov {

// One product of every expert. What belongs to an expert lies `stride` bytes behind that of the one before.
struct ExpertStage {
    PackedWeight weight;  // of expert 0
    WeightFormat format;
    const float* base;       // of expert 0, [N], or null: added to pruned rows
    size_t stride;           // bytes from one expert to the next
    const float* bias;       // [E, N] or null: added to every row
    const float* center;     // [1] or [K], of all experts
    const float* threshold;  // [1] or [K]
    bool center_per_channel, threshold_per_channel;
    const float* whole_threshold;  // planes: [1] or [K], or null
    bool whole_threshold_per_channel;
};

struct SparseExpertsArgs {
    const void* x;  // [T, K]
    bool x_is_f16;  // the output then is f16 too
    size_t tokens;
    const void* ids;  // [T, k], i64 or i32
    bool ids_are_i64;
    const float* routing;  // [T, k]
    size_t experts, k;
    ExpertStage up, down;  // gate and up as one: N = 2 I; down: K = I
    bool interleaved;      // gate is column 2i and up 2i + 1; otherwise gate is the first half
    Activation activation;
    float alpha, limit;      // of clamped_swiglu
    bool all_rows;           // rows = "all"
    size_t max_sparse_rows;  // rows = "decode"
    size_t positions;        // as in SparseMatMulArgs
    bool dynamic_quantization;
    void* output;  // [T, N of down]
};

// y[t] = Σ_j routing[t, j] · expert ids[t, j] of x[t], summed in the order of j.
// Throws std::out_of_range for an id that is no expert.
void sparse_experts(const SparseExpertsArgs& args, const Implementation& implementation);

}  // namespace scap_ov
