// How a call is cut up. Rows that are few go through the sparse GEMV (also when they are dense: then every channel is
// kept), others through the dense GEMM, pruned rows masked beforehand.
#include "execute.hpp"

#include <algorithm>

#include "formats/formats.hpp"
#include "gemm.hpp"
#include "gemm_few.hpp"
#include "gemv.hpp"
#include "rows.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

// Int8 activations share a scale; also the grain of a split by channels. Groups of 32 run at 0.83 to 1.0 of the speed
// (docs/performance.md).
constexpr size_t kActivationGroup = 128;
constexpr size_t kSmallestDivisor = 16;  // scaling sums more often than that costs more than the products
constexpr size_t kMostInOneSum = 32768;  // 255 * 127 * this, twice, fits into 32 bits

}  // namespace

size_t activation_group_size(WeightFormat format, const PackedWeight& weight) {
    const size_t k = weight.k, weight_group_size = weight.step ? weight.step_group : weight.group_size;
    if (is_integer(format) && weight_group_size < k) {
        if (weight_group_size <= kActivationGroup) return weight_group_size;
        for (size_t size = kActivationGroup; size >= kSmallestDivisor; --size)
            if (weight_group_size % size == 0) return size;
        return weight_group_size;
    }
    if (k <= kActivationGroup) return k;
    // An even number of groups of about the same size, so that two threads have the same to do: 576 = 6 x 96.
    const size_t groups = round_up(ceil_div(k, kActivationGroup), 2);
    return round_up(ceil_div(k, groups), 16);
}

size_t dense_group_size(WeightFormat format, const PackedWeight& weight, const DenseActivations& dense, bool half) {
    if (!is_integer(format)) return weight.k;
    // A tile of two digits holds the integers themselves, whatever their steps: those divide its quads of input channels.
    const bool stepped = weight.step && (half || dense.digits == 1 || weight.step_group % kQuad != 0);
    const size_t k = weight.k, unit = std::min(stepped ? weight.step_group : weight.group_size, k), limit = dense.largest_group;
    if (unit <= limit) return unit;
    if (unit < k) {
        for (size_t size = limit; size >= kSmallestDivisor; --size)
            if (unit % size == 0) return size;
        return unit;
    }
    return round_up(ceil_div(k, ceil_div(k, limit)), std::max(dense.step, kSmallestDivisor));
}

bool quantizes_activations(const SparseMatMulArgs& a) {
    return a.dynamic_quantization && is_integer(a.format) && activation_group_size(a.format, a.weight) <= kMostInOneSum;
}

void sparse_matmul(const SparseMatMulArgs& a, const Implementation& implementation) {
    if (a.m == 0) return;
    const Rows rows(a);
    Scratch widened(a.x_is_f16 ? Scratch::bytes_for<float>(a.m * a.k) : 64);
    const float* x = static_cast<const float*>(a.x);
    if (a.x_is_f16) {
        float* wide = widened.take<float>(a.m * a.k);
        implementation.widen(static_cast<const uint16_t*>(a.x), a.m * a.k, wide);
        x = wide;
    }
    if (!rows.any_pruned && takes_few(a, implementation)) return run_gemm_few(a, implementation, rows, x);
    const DenseActivations& dense = implementation.dense;
    const size_t least = a.weight.step ? dense.least_rows_of_planes : dense.least_rows;
    const size_t most = rows.any_pruned || !quantizes_activations(a) ? kMaxGemvRows : least - 1;
    if (a.m > most || (rows.any_pruned && !rows.all_pruned)) return run_gemm(a, implementation, rows, x);
    const ReadAhead ahead(a.weight.data, first_reads(a));
    const Scan scan(a, implementation, rows.any_pruned, x);
    ahead.stop();
    run_gemv(a, implementation, rows, scan.kept());
    ahead.start();
}

}  // namespace scap_ov
