// How a call is cut up. Rows that are few go through the sparse GEMV (also when they are dense: then every channel is
// kept), others through the dense GEMM, pruned rows masked beforehand.
//
// Bits do not depend on the number of threads: a column's sum is the same whichever task holds the column, and where kept
// channels are cut into parts, the parts and the order of their sum follow from the shape alone.
#include "execute.hpp"

#include <algorithm>
#include <cmath>

#include "formats/formats.hpp"
#include "half.hpp"
#include "parallel.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

constexpr size_t kActivationGroup = 128;           // int8 activations share a scale; also the grain of a split by channels
constexpr size_t kSerialBytes = size_t{96} << 10;  // less weight than this is not worth waking a thread (2-5 us)
constexpr size_t kNarrowRowBytes = 4096;           // shorter rows are split by channels: pieces of a row below 2 KB lose
constexpr size_t kPartBytes = size_t{256} << 10;   // dense weight bytes of one part
constexpr size_t kMaxParts = 16;
constexpr size_t kColumnStep = 128;  // a task's columns: whole tiles of every format

struct Rows {
    const SparseMatMulArgs& args;
    bool any_pruned, all_pruned;
    explicit Rows(const SparseMatMulArgs& a) : args(a) {
        if (a.all_rows) {
            any_pruned = true;
            all_pruned = a.positions <= 1;
        } else {
            any_pruned = all_pruned = a.m <= a.max_sparse_rows;
        }
    }
    bool pruned(size_t m) const { return any_pruned && (all_pruned || m % args.positions != 0); }
};

// Writes columns [n_from, n_to) of M rows to the outputs that hold them, base and compensation added to pruned rows.
void finish(const SparseMatMulArgs& a, const Rows& rows, const float* y, size_t y_stride, size_t m_from, size_t m_to, size_t n_from,
            size_t n_to) {
    size_t begin = 0;
    for (size_t o = 0; o < a.output_count; begin += a.output_sizes[o], ++o) {
        const size_t from = std::max(begin, n_from), to = std::min(begin + a.output_sizes[o], n_to);
        if (from >= to) continue;
        for (size_t m = m_from; m < m_to; ++m) {
            const float* source = y + (m - m_from) * y_stride - n_from;
            const bool pruned = rows.pruned(m);
            const float* add[2] = {pruned ? a.base : nullptr, pruned ? a.compensation : nullptr};
            if (a.x_is_f16) {
                uint16_t* out = static_cast<uint16_t*>(a.outputs[o]) + m * a.output_sizes[o] - begin;
                for (size_t n = from; n < to; ++n)
                    out[n] = f32_to_f16(source[n] + (add[0] ? add[0][n] : 0.0f) + (add[1] ? add[1][n] : 0.0f));
                continue;
            }
            float* out = static_cast<float*>(a.outputs[o]) + m * a.output_sizes[o] - begin;
            if (out != source) std::copy(source + from, source + to, out + from);
            for (const float* values : add)
                for (size_t n = from; values && n < to; ++n) out[n] += values[n];
        }
    }
}

// The arrays of KeptChannels out of one borrowed buffer.
struct KeptStorage {
    static size_t bytes(size_t m, size_t capacity, size_t groups) {
        return Scratch::bytes_for<uint32_t>(capacity) + Scratch::bytes_for<int8_t>(m * capacity) + Scratch::bytes_for<float>(m * capacity) +
               Scratch::bytes_for<uint32_t>(groups + 1) + 2 * Scratch::bytes_for<float>(m * groups) +
               Scratch::bytes_for<int32_t>(m * groups);
    }
    static KeptChannels take(Scratch& scratch, size_t m, size_t capacity, size_t groups, size_t group_size, bool quantize) {
        KeptChannels kept{};
        kept.index = scratch.take<uint32_t>(capacity);
        kept.quantized = scratch.take<int8_t>(m * capacity);
        kept.value = scratch.take<float>(m * capacity);
        kept.group_begin = scratch.take<uint32_t>(groups + 1);
        kept.scale = scratch.take<float>(m * groups);
        kept.value_sum = scratch.take<float>(m * groups);
        kept.sum = scratch.take<int32_t>(m * groups);
        if (!quantize) kept.quantized = nullptr;
        kept.capacity = capacity;
        kept.groups = groups;
        kept.group_size = group_size;
        return kept;
    }
};

struct Gemv {
    const SparseMatMulArgs& args;
    const Implementation& implementation;
    const Rows& rows;
    const KeptChannels& kept;
    void (*kernel)(const SparseGemvParams&) noexcept;

    SparseGemvParams params(size_t n_from, size_t n_to) const {
        SparseGemvParams p{};
        p.weight = &args.weight;
        p.kept = &kept;
        p.m = args.m;
        p.group_to = kept.groups;
        p.n_from = n_from;
        p.n_to = n_to;
        // Far ahead where a task's piece of a row is short, the next four rows where it is long.
        p.prefetch_rows = args.weight.row_bytes * (n_to - n_from) / args.weight.n_padded >= 2048 ? 4 : 16;
        return p;
    }

    void split_columns(size_t tasks) const {
        const size_t steps = ceil_div(args.weight.n_padded, kColumnStep);
        parallel_for(tasks, [&](size_t task) {
            const size_t from = steps * task / tasks * kColumnStep;
            const size_t to = std::min(steps * (task + 1) / tasks * kColumnStep, args.weight.n_padded), columns = to - from;
            const size_t bytes = implementation.gemv_scratch_bytes(args.m, columns);
            Scratch scratch(bytes + Scratch::bytes_for<float>(args.m * columns));
            SparseGemvParams p = params(from, to);
            float* y = scratch.take<float>(args.m * columns);
            p.y = y - from;
            p.y_stride = columns;
            p.scratch = scratch.take<uint8_t>(bytes);
            kernel(p);
            finish(args, rows, y, columns, 0, args.m, from, to);
        });
    }

    void split_channels(size_t parts, bool parallel) const {
        const size_t n = args.weight.n_padded, size = args.m * n;
        Scratch sums(Scratch::bytes_for<float>(parts * size));
        float* y = sums.take<float>(parts * size);
        const auto one = [&](size_t part) {
            const size_t bytes = implementation.gemv_scratch_bytes(args.m, n);
            Scratch scratch(bytes);
            SparseGemvParams p = params(0, n);
            p.group_from = kept.groups * part / parts;
            p.group_to = kept.groups * (part + 1) / parts;
            p.y = y + part * size;
            p.y_stride = n;
            p.scratch = scratch.take<uint8_t>(bytes);
            kernel(p);
        };
        if (parallel)
            parallel_for(parts, one);
        else
            for (size_t part = 0; part < parts; ++part) one(part);
        for (size_t part = 1; part < parts; ++part)
            for (size_t i = 0; i < size; ++i) y[i] += y[part * size + i];
        finish(args, rows, y, n, 0, args.m, 0, n);
    }

    void run() const {
        const size_t row_bytes = args.weight.row_bytes, dense_bytes = args.k * row_bytes;
        const bool parallel = size_t{kept.group_begin[kept.groups]} * row_bytes > kSerialBytes && thread_count() > 1;
        const size_t parts = std::min({kept.groups, kMaxParts, std::max<size_t>(dense_bytes / kPartBytes, 1)});
        if (row_bytes < kNarrowRowBytes && parts > 1) return split_channels(parts, parallel);
        const size_t steps = ceil_div(args.weight.n_padded, kColumnStep);
        split_columns(parallel ? std::min(thread_count(), steps) : 1);
    }
};

void run_gemv(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const float* x) {
    const size_t group_size = activation_group_size(a.format, a.k, a.weight.group_size), groups = ceil_div(a.k, group_size);
    const bool quantize = a.dynamic_quantization && is_integer(a.format);
    const size_t capacity = round_up(kept_capacity(groups, group_size), 64);
    Scratch scratch(KeptStorage::bytes(a.m, capacity, groups));
    KeptChannels kept = KeptStorage::take(scratch, a.m, capacity, groups, group_size, quantize);
    CompactParams compact{};
    compact.x = x;
    compact.m = a.m;
    compact.k = a.k;
    compact.center = a.center;
    compact.threshold = a.threshold;
    compact.center_per_channel = a.center_per_channel;
    compact.threshold_per_channel = a.threshold_per_channel;
    compact.prune = rows.any_pruned;
    compact.kept = &kept;
    implementation.compact(compact);
    const int format = static_cast<int>(a.format);
    Gemv{a, implementation, rows, kept, quantize ? implementation.sparse_gemv_qd8[format] : implementation.sparse_gemv_f32[format]}.run();
}

// x with pruned rows centred and masked.
void mask_rows(const SparseMatMulArgs& a, const Rows& rows, const float* x, float* masked) {
    const size_t step = 8, blocks = ceil_div(a.m, step);
    parallel_for(blocks, [&](size_t block) {
        for (size_t m = block * step; m < std::min(a.m, (block + 1) * step); ++m) {
            const float* from = x + m * a.k;
            float* to = masked + m * a.k;
            if (!rows.pruned(m)) {
                std::copy(from, from + a.k, to);
                continue;
            }
            for (size_t k = 0; k < a.k; ++k) {
                const float z = from[k] - a.center[a.center_per_channel ? k : 0];
                to[k] = std::fabs(z) <= a.threshold[a.threshold_per_channel ? k : 0] ? 0.0f : z;  // NaN stays
            }
        }
    });
}

struct Gemm {
    const SparseMatMulArgs& args;
    const Implementation& implementation;
    const Rows& rows;
    void (*kernel)(const GemmParams&) noexcept;
    const float* x;
    const QuantizeRowsParams* q;
    size_t group_size;

    // The output that holds columns [from, to) whole, as float, so that the kernel may write there; else null.
    float* direct(size_t from, size_t to, size_t* stride) const {
        size_t begin = 0;
        for (size_t o = 0; o < args.output_count && !args.x_is_f16; begin += args.output_sizes[o], ++o)
            if (begin <= from && to <= begin + args.output_sizes[o]) {
                *stride = args.output_sizes[o];
                return static_cast<float*>(args.outputs[o]) + (from - begin);
            }
        return nullptr;
    }

    void run() const {
        const size_t strips = ceil_div(args.weight.n_padded, kGemmTileColumns);
        // A second split by rows unpacks the weight again, so only where columns cannot occupy the threads.
        const size_t wanted = strips >= 4 * thread_count() ? 1 : ceil_div(4 * thread_count(), strips);
        const size_t row_parts = std::min(wanted, std::max<size_t>(args.m / 64, 1));
        parallel_for(strips * row_parts, [&](size_t task) {
            const size_t strip = task / row_parts, part = task % row_parts;
            const size_t m_from = args.m * part / row_parts, m_to = args.m * (part + 1) / row_parts;
            const size_t from = strip * kGemmTileColumns, to = std::min(from + kGemmTileColumns, args.weight.n_padded);
            GemmParams p{};
            p.weight = &args.weight;
            p.x = x;
            p.q = q;
            p.n_from = from;
            p.n_to = to;
            size_t stride = kGemmTileColumns;
            float* target = direct(from, to, &stride);
            const size_t bytes = implementation.gemm_scratch_bytes(args.k, group_size);
            const size_t block = target ? m_to - m_from : std::min<size_t>(m_to - m_from, 256);
            Scratch scratch(bytes + (target ? 0 : Scratch::bytes_for<float>(block * kGemmTileColumns)));
            p.scratch = scratch.take<uint8_t>(bytes);
            p.y_stride = stride;
            float* tile = target ? nullptr : scratch.take<float>(block * kGemmTileColumns);
            for (size_t m = m_from; m < m_to; m += block) {
                p.m_from = m;
                p.m_to = std::min(m + block, m_to);
                float* y = target ? target + m * stride : tile;
                p.y = y - m * stride - from;
                kernel(p);
                if (!target || rows.any_pruned) finish(args, rows, y, stride, m, p.m_to, from, to);
            }
        });
    }
};

void run_gemm(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const float* x) {
    Scratch masked_scratch(rows.any_pruned ? Scratch::bytes_for<float>(a.m * a.k) : 64);
    if (rows.any_pruned) {
        float* masked = masked_scratch.take<float>(a.m * a.k);
        mask_rows(a, rows, x, masked);
        x = masked;
    }
    const int format = static_cast<int>(a.format);
    const size_t group_size = activation_group_size(a.format, a.k, a.weight.group_size), groups = ceil_div(a.k, group_size);
    if (!a.dynamic_quantization || !is_integer(a.format))
        return Gemm{a, implementation, rows, implementation.gemm_f32[format], x, nullptr, group_size}.run();
    QuantizeRowsParams q{};
    q.k = a.k;
    q.m = a.m;
    q.group_size = group_size;
    q.k_padded = groups * round_up(group_size, kQuad);
    Scratch scratch(Scratch::bytes_for<int8_t>(a.m * q.k_padded + 64) + Scratch::bytes_for<float>(a.m * groups) +
                    Scratch::bytes_for<int32_t>(a.m * groups));
    q.x = x;
    q.quantized = scratch.take<int8_t>(a.m * q.k_padded + 64);
    q.scale = scratch.take<float>(a.m * groups);
    q.sum = scratch.take<int32_t>(a.m * groups);
    const size_t step = 8;
    parallel_for(ceil_div(a.m, step), [&](size_t block) {
        QuantizeRowsParams some = q;
        const size_t from = block * step;
        some.m = std::min(step, a.m - from);
        some.x += from * a.k;
        some.quantized += from * q.k_padded;
        some.scale += from * groups;
        some.sum += from * groups;
        implementation.quantize_rows(some);
    });
    Gemm{a, implementation, rows, implementation.gemm_qd8[format], x, &q, group_size}.run();
}

}  // namespace

size_t activation_group_size(WeightFormat format, size_t k, size_t weight_group_size) {
    if (!is_integer(format)) return std::min(k, kActivationGroup);
    if (weight_group_size <= kActivationGroup) return weight_group_size;
    return weight_group_size >= k || weight_group_size % kActivationGroup == 0 ? std::min(k, kActivationGroup) : weight_group_size;
}

void sparse_matmul(const SparseMatMulArgs& a, const Implementation& implementation) {
    if (a.m == 0) return;
    const Rows rows(a);
    Scratch widened(a.x_is_f16 ? Scratch::bytes_for<float>(a.m * a.k) : 64);
    const float* x = static_cast<const float*>(a.x);
    if (a.x_is_f16) {
        float* wide = widened.take<float>(a.m * a.k);
        for (size_t i = 0; i < a.m * a.k; ++i) wide[i] = f16_to_f32(static_cast<const uint16_t*>(a.x)[i]);
        x = wide;
    }
    const bool uniform = rows.all_pruned || !rows.any_pruned;
    if (uniform && a.m <= kMaxGemvRows)
        run_gemv(a, implementation, rows, x);
    else
        run_gemm(a, implementation, rows, x);
}

}  // namespace scap_ov
