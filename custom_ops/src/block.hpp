// What lies between the attention of one transformer block and that of the next, on plain pointers. Knows no OpenVINO; every product is a
// sparse matmul of execute.hpp.
#pragma once
#include "execute.hpp"

namespace scap_ov {

struct RmsNorm {
    const float* gamma;  // [H]
    float eps;
};

struct SparseBlockArgs {
    const void* x;            // [M, K of o]
    const void* h;            // [M, H]
    bool x_is_f16, h_is_f16;  // outputs of next then are f16 too; sum is
    size_t m;
    size_t positions;                    // as in SparseMatMulArgs
    SparseMatMulArgs o, up, down, next;  // calls without x, its rows and positions, and outputs; next.output_count may be 0
    RmsNorm norm_1, norm_2;              // before up and before next
    Activation activation;
    void* sum;             // [M, H], may be h
    void* const* outputs;  // of next
};

// h1 = h + o(x); g, u = up(norm_1(h1)); sum = h1 + down(activation(g) · u); outputs = next(norm_2(sum)). Where `up` has one output, u is 1.
void sparse_block(const SparseBlockArgs& args, const Implementation& implementation);

}  // namespace scap_ov
