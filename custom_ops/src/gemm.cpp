// Many rows: pruned ones masked, x quantised by row, then strips of columns (and blocks of rows where strips are few), each a
// task. An element of y is summed in an order that the shape alone sets.
#include "gemm.hpp"

#include <algorithm>
#include <optional>
#include <vector>

#include "formats/formats.hpp"
#include "parallel.hpp"
#include "quantized_rows.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

constexpr size_t kColumnStep = 128;  // columns of a task: whole lines of nibbles
constexpr size_t kRowStep = 16;      // rows of a task: whole tile registers
constexpr size_t kDirectRows = 64;   // as many are written where they belong; rows of y are often a power of two apart, and more of them
                                     // would share few sets of the caches while they are summed up
constexpr size_t kBlockRows = 512;   // whose sums are gathered, and for which the weight is unpacked once

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

    // Where each strip of columns begins, and the end: as many columns as the kernel likes, but so that all threads have about the same to
    // do.
    std::vector<size_t> strip_borders() const {
        const size_t n = args.weight.n_padded, threads = ceil_div(thread_count(), args.beside), finest = ceil_div(n, kColumnStep);
        const size_t group_size = products[0].q ? products[0].q->group_size : 0;
        const size_t most = implementation.gemm_columns(args.m, args.weight.step != nullptr, group_size);
        std::vector<size_t> borders;
        for (size_t strips = round_up(ceil_div(n, most), threads);; strips += threads) {
            const size_t count = std::min(strips, finest);
            size_t widest = 0;
            borders.assign(1, 0);
            for (size_t i = 1; i <= count; ++i) {
                borders.push_back(i == count ? n : (n * i / count + kColumnStep / 2) / kColumnStep * kColumnStep);
                widest = std::max(widest, borders[i] - borders[i - 1]);
            }
            if (widest <= most) return borders;
        }
    }

    // Whether an element of y is written once: then there are no sums to keep close.
    bool written_once() const { return product_count == 1 && products[0].q && args.k <= implementation.dense.largest_group; }

    void run() const {
        const std::vector<size_t> borders = strip_borders();
        const size_t strips = borders.size() - 1;
        // A second split by rows unpacks the weight again: so that threads end together only where rows are many, else where columns cannot
        // occupy the threads. Two parts of 64 rows took 1.05 to 1.24 times as long as 128 rows at once.
        const size_t wanted = std::max<size_t>(ceil_div(4 * thread_count(), strips * args.beside), 1);
        const size_t least_rows = strips * args.beside < thread_count() ? 64 : 256;
        const size_t row_parts = std::min(wanted, std::max<size_t>(args.m / least_rows, 1));
        const auto row = [&](size_t part) { return std::min(round_up(args.m * part / row_parts, kRowStep), args.m); };
        parallel_for(strips * row_parts, [&](size_t task) {
            const size_t strip = task / row_parts, part = task % row_parts;
            const size_t m_from = row(part), m_to = row(part + 1);
            const size_t from = borders[strip], to = borders[strip + 1];
            GemmParams p{};
            p.weight = &args.weight;
            p.n_from = from;
            p.n_to = to;
            size_t stride = to - from + kStridePadding;
            float* target = args.m <= kDirectRows || written_once() ? direct(from, to, &stride) : nullptr;
            const size_t bytes = scratch_bytes();
            const size_t block = target ? m_to - m_from : std::min(m_to - m_from, kBlockRows);
            Scratch scratch(bytes + (target ? 0 : Scratch::bytes_for<float>(block * stride)));
            p.scratch = scratch.take<uint8_t>(bytes);
            p.y_stride = stride;
            float* tile = target ? nullptr : scratch.take<float>(block * stride);
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
                if (!target || rows.any_pruned) write_outputs(args, implementation, rows, y, stride, m, p.m_to, from, to);
            }
        });
    }

    size_t scratch_bytes() const {
        size_t bytes = 0;
        for (size_t i = 0; i < product_count; ++i) {
            const size_t group_size = products[i].q ? products[i].q->group_size : args.k;
            bytes = std::max(bytes, implementation.gemm_scratch_bytes(args.k, group_size));
        }
        return bytes;
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
    if (!quantizes_activations(a)) {
        const Gemm::Product products[] = {{implementation.gemm_f32[format], x, nullptr}, {implementation.gemm_half_f32, half, nullptr}};
        return Gemm{a, implementation, rows, products, count}.run();
    }
    const QuantizedRows whole(a, implementation.dense, implementation.quantize_rows, x, false);
    std::optional<QuantizedRows> rest;
    if (graded) rest.emplace(a, implementation.dense, implementation.quantize_rows, half, true);
    const Gemm::Product products[] = {{implementation.gemm_qd8[format], x, &whole.q},
                                      {implementation.gemm_half_qd8, half, graded ? &rest->q : nullptr}};
    Gemm{a, implementation, rows, products, count}.run();
}

}  // namespace scap_ov
