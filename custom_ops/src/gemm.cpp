// Many rows: pruned ones masked, x quantised by row, then strips of columns (and blocks of rows where strips are few), each a
// task. An element of y is summed in an order that the shape alone sets.
#include "gemm.hpp"

#include <algorithm>
#include <optional>

#include "formats/formats.hpp"
#include "parallel.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

struct Gemm {
    const SparseMatMulArgs& args;
    const Implementation& implementation;
    const Rows& rows;
    // y is the sum of these products: of what is read whole and, with planes, of what is read by half.
    struct Product {
        void (*kernel)(const GemmParams&) noexcept;
        const float* x;
        const QuantizeRowsParams* q;
    };
    const Product* products;
    size_t product_count;
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
        const size_t wanted = std::max<size_t>(ceil_div(4 * thread_count(), strips * args.beside), 1);
        const size_t row_parts = std::min(wanted, std::max<size_t>(args.m / 64, 1));
        parallel_for(strips * row_parts, [&](size_t task) {
            const size_t strip = task / row_parts, part = task % row_parts;
            const size_t m_from = args.m * part / row_parts, m_to = args.m * (part + 1) / row_parts;
            const size_t from = strip * kGemmTileColumns, to = std::min(from + kGemmTileColumns, args.weight.n_padded);
            GemmParams p{};
            p.weight = &args.weight;
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
                for (size_t i = 0; i < product_count; ++i) {
                    p.x = products[i].x;
                    p.q = products[i].q;
                    p.accumulate = i != 0;
                    products[i].kernel(p);
                }
                if (!target || rows.any_pruned) finish(args, implementation, rows, y, stride, m, p.m_to, from, to);
            }
        });
    }
};

// int8 of x [M, K] and the memory it lies in.
struct QuantizedRows {
    QuantizeRowsParams q{};
    Scratch scratch;

    QuantizedRows(const SparseMatMulArgs& a, const Implementation& implementation, const float* x, size_t group_size)
        : scratch(bytes(a, group_size)) {
        const size_t groups = ceil_div(a.k, group_size), step = 8;
        q.k = a.k;
        q.m = a.m;
        q.group_size = group_size;
        q.k_padded = groups * round_up(group_size, kQuad);
        q.x = x;
        q.quantized = scratch.take<int8_t>(a.m * q.k_padded + 64);
        q.scale = scratch.take<float>(a.m * groups);
        q.sum = scratch.take<int32_t>(a.m * groups);
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
    }

private:
    static size_t bytes(const SparseMatMulArgs& a, size_t group_size) {
        const size_t groups = ceil_div(a.k, group_size);
        return Scratch::bytes_for<int8_t>(a.m * groups * round_up(group_size, kQuad) + 64) + Scratch::bytes_for<float>(a.m * groups) +
               Scratch::bytes_for<int32_t>(a.m * groups);
    }
};

}  // namespace

void run_gemm(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const float* x) {
    const bool graded = a.weight.step && rows.any_pruned && a.whole_threshold;
    const size_t count = graded ? 2 : 1, values = a.m * a.k;
    Scratch masked_scratch(rows.any_pruned ? count * Scratch::bytes_for<float>(values) : 64);
    const float* half = nullptr;
    if (rows.any_pruned) {
        float* masked = masked_scratch.take<float>(values);
        float* halved = graded ? masked_scratch.take<float>(values) : nullptr;
        mask_rows(a, rows, x, masked, halved);
        x = masked;
        half = halved;
    }
    const int format = static_cast<int>(a.format);
    const size_t group_size = activation_group_size(a.format, a.weight);
    if (!quantizes_activations(a)) {
        const Gemm::Product products[] = {{implementation.gemm_f32[format], x, nullptr}, {implementation.gemm_half_f32, half, nullptr}};
        return Gemm{a, implementation, rows, products, count, group_size}.run();
    }
    const QuantizedRows whole(a, implementation, x, group_size);
    std::optional<QuantizedRows> rest;
    if (graded) rest.emplace(a, implementation, half, group_size);
    const Gemm::Product products[] = {{implementation.gemm_qd8[format], x, &whole.q},
                                      {implementation.gemm_half_qd8, half, graded ? &rest->q : nullptr}};
    Gemm{a, implementation, rows, products, count, group_size}.run();
}

}  // namespace scap_ov
