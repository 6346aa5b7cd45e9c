// x of a dense call as int8.
#pragma once
#include "execute.hpp"
#include "scratch.hpp"

namespace scap_ov {

// int8 of x [M, K] in groups and layout as `dense` says, and the memory it lies in.
struct QuantizedRows {
    QuantizeRowsParams q{};
    Scratch scratch;

    // half: for the product with the high plane alone.
    QuantizedRows(const SparseMatMulArgs& args, const DenseActivations& dense, void (*quantize)(const QuantizeRowsParams&) noexcept,
                  const float* x, bool half);
};

}  // namespace scap_ov
