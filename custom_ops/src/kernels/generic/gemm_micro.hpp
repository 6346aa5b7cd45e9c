// Arguments of the register-blocked micro-kernels that <isa>/gemm.hpp defines and generic/gemm.hpp calls.
#pragma once
#include <cstddef>
#include <cstdint>

namespace scap_ov {

struct MicroQuantized {
    const uint8_t* tile;              // [quads][planes][kNr][4]
    const float *scale, *zero_point;  // [groups, kGemmTileColumns]
    const int8_t* x;                  // [rows, x_stride], groups padded to group_quads quads
    size_t x_stride;
    const float* x_scale;  // [rows, x_groups]
    const int32_t* x_sum;  // [rows, x_groups]
    size_t x_groups;
    size_t groups, group_quads, quads;  // the last group has what is left of quads
    float* y;                           // [rows, y_stride]
    size_t y_stride;
    bool accumulate;  // false: y is overwritten
};

struct MicroFloat {
    const float* tile;  // [depth][kNr]
    size_t depth;
    const float* x;  // [rows, x_stride]
    size_t x_stride;
    float* y;  // [rows, y_stride]
    size_t y_stride;
    bool accumulate;
};

}  // namespace scap_ov
