#include "quantized_rows.hpp"

#include <algorithm>

#include "formats/formats.hpp"
#include "parallel.hpp"

namespace scap_ov {
namespace {

constexpr size_t kSerialValues = 32768;  // fewer are quantised before another thread has begun

QuantizeRowsParams layout(const SparseMatMulArgs& a, const DenseActivations& dense, bool half) {
    QuantizeRowsParams q{};
    q.m = a.m;
    q.k = a.k;
    q.group_size = dense_group_size(a.format, a.weight, dense, half);
    q.fine_size = a.weight.group_size >= a.k && !half ? kFineGroup : kRun;
    q.k_padded = ceil_div(a.k, q.group_size) * round_up(q.group_size, dense.step);
    return q;
}

size_t quantized_bytes(const QuantizeRowsParams& q, const DenseActivations& dense) {
    return round_up(q.m, 8) * dense.digits * q.k_padded + 64;
}

size_t bytes(const QuantizeRowsParams& q, const DenseActivations& dense) {
    const size_t groups = ceil_div(q.k, q.group_size);
    return Scratch::bytes_for<int8_t>(quantized_bytes(q, dense)) + Scratch::bytes_for<float>(q.m * groups * q.fine()) +
           Scratch::bytes_for<int32_t>(q.m * groups) + Scratch::bytes_for<float>(q.m * groups * 2);
}

}  // namespace

QuantizedRows::QuantizedRows(const SparseMatMulArgs& args, const DenseActivations& dense,
                             void (*quantize)(const QuantizeRowsParams&) noexcept, const float* x, bool half)
    : q(layout(args, dense, half)), scratch(bytes(q, dense)) {
    q.x = x;
    const size_t groups = ceil_div(q.k, q.group_size), step = q.m * q.k < kSerialValues ? q.m : 4;
    q.quantized = scratch.take<int8_t>(quantized_bytes(q, dense));
    q.scale = scratch.take<float>(q.m * groups * q.fine());
    q.sum = scratch.take<int32_t>(q.m * groups);
    q.sums = scratch.take<float>(q.m * groups * 2);
    parallel_for(ceil_div(q.m, step), [&](size_t block) {
        QuantizeRowsParams some = q;
        some.m_from = block * step;
        some.m_to = std::min(some.m_from + step, q.m);
        quantize(some);
    });
}

}  // namespace scap_ov
