// Four sparse matmuls, and between them what is cheap: done by one thread for few rows, by all of them for many. A row is never cut, so
// bits do not depend on the number of threads.
#include "block.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/formats.hpp"
#include "parallel.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

constexpr size_t kRowsAtOnce = kMaxGemvRows;  // of what lies between products; so a step of few rows starts no task for it
constexpr size_t kMostRows = 1024;            // of a part of a prompt
constexpr size_t kSums = 16;                  // of squares, side by side: what compilers make vectors of
constexpr size_t kSomeOnes = 256;

// body(from, to) for rows from … to - 1.
template <class Body>
void in_rows(size_t m, const Body& body) {
    parallel_for(ceil_div(m, kRowsAtOnce), [&](size_t part) { body(part * kRowsAtOnce, std::min(m, (part + 1) * kRowsAtOnce)); });
}

// A row: sum = residual + update; gives the sum of its squares. sum may be residual.
float add(const float* residual, const float* update, size_t n, float* sum) {
    std::array<float, kSums> squares{}, part;
    size_t i = 0;
    for (; i + kSums <= n; i += kSums) {
        for (size_t j = 0; j < kSums; ++j) part[j] = residual[i + j] + update[i + j];
        for (size_t j = 0; j < kSums; ++j) squares[j] += part[j] * part[j];
        for (size_t j = 0; j < kSums; ++j) sum[i + j] = part[j];
    }
    for (size_t j = 0; i < n; ++i, ++j) {
        sum[i] = residual[i] + update[i];
        squares[j] += sum[i] * sum[i];
    }
    for (size_t width = kSums / 2; width; width /= 2)
        for (size_t j = 0; j < width; ++j) squares[j] += squares[j + width];
    return squares[0];
}

// sum = residual + update, and update becomes the norm of sum; [M, n] each.
void add_and_normalise(const float* residual, size_t m, size_t n, const RmsNorm& norm, float* update, float* sum) {
    in_rows(m, [&](size_t from, size_t to) {
        for (size_t row = from; row < to; ++row) {
            const float squares = add(residual + row * n, update + row * n, n, sum + row * n);
            const float factor = 1.0f / std::sqrt(squares / static_cast<float>(n) + norm.eps);
            const float *of_row = sum + row * n, *gamma = norm.gamma;
            float* out = update + row * n;
            for (size_t i = 0; i < n; ++i) out[i] = of_row[i] * factor * gamma[i];
        }
    });
}

// gate = activation(gate) · up, or without up activation(gate); [M, n] each.
void activate(const SparseBlockArgs& a, const Implementation& implementation, size_t n, const float* up, float* gate) {
    std::array<float, kSomeOnes> ones;
    if (!up) ones.fill(1.0f);
    in_rows(a.m, [&](size_t from, size_t to) {
        ActivateParams p{};
        p.activation = a.activation;
        p.count = up ? (to - from) * n : kSomeOnes;
        for (size_t i = from * n; i < to * n; i += p.count) {
            p.count = std::min(p.count, to * n - i);
            p.gate = p.out = gate + i;
            p.up = up ? up + i : ones.data();
            implementation.activate(p);
        }
    });
}

// Activations that are f16 outside and f32 inside.
struct Halves {
    const Implementation& implementation;
    size_t m;

    void widen(const void* from, size_t n, float* to) const {
        const uint16_t* half = static_cast<const uint16_t*>(from);
        in_rows(m, [&](size_t row, size_t end) { implementation.widen(half + row * n, (end - row) * n, to + row * n); });
    }
    void narrow(const float* from, size_t n, void* to) const {
        uint16_t* half = static_cast<uint16_t*>(to);
        in_rows(m, [&](size_t row, size_t end) { implementation.narrow(from + row * n, (end - row) * n, half + row * n); });
    }
};

// The same in f32; h1 and h2 in `sum`.
void run_rows(const SparseBlockArgs& a, const Implementation& implementation, const float* x, const float* residual, float* sum,
              void* const* outputs) {
    const size_t h = a.down.weight.n, hidden = a.down.k;
    const bool gated = a.up.output_count == 2;
    Scratch scratch(Scratch::bytes_for<float>(a.m * h) + (gated ? 2 : 1) * Scratch::bytes_for<float>(a.m * hidden));
    float* update = scratch.take<float>(a.m * h);
    float* gate = scratch.take<float>(a.m * hidden);
    float* up = gated ? scratch.take<float>(a.m * hidden) : nullptr;
    const auto run = [&](SparseMatMulArgs call, const float* values, void* const* to) {
        call.x = values;
        call.m = a.m;
        call.positions = a.positions;
        call.outputs = to;
        sparse_matmul(call, implementation);
    };
    void* const of_h = update;
    void* const of_hidden[] = {gate, up};
    run(a.o, x, &of_h);
    add_and_normalise(residual, a.m, h, a.norm_1, update, sum);
    run(a.up, update, of_hidden);
    activate(a, implementation, hidden, up, gate);
    run(a.down, gate, &of_h);
    if (a.next.output_count == 0) {
        in_rows(a.m, [&](size_t from, size_t to) {
            for (size_t row = from; row < to; ++row) add(sum + row * h, update + row * h, h, sum + row * h);
        });
        return;
    }
    add_and_normalise(sum, a.m, h, a.norm_2, update, sum);
    run(a.next, update, outputs);
}

// Long prompts in equal parts, all of them far above what counts as few rows: scratch then does not grow with the prompt. Which rows are
// pruned by position is a matter of the whole.
void run_block(const SparseBlockArgs& a, const Implementation& implementation, const float* x, const float* residual, float* sum,
               void* const* outputs) {
    const bool by_position = a.o.all_rows || a.up.all_rows || a.down.all_rows || a.next.all_rows;
    const size_t parts = by_position ? 1 : ceil_div(a.m, kMostRows), rows = ceil_div(a.m, parts), h = a.down.weight.n;
    for (size_t from = 0; from < a.m; from += rows) {
        SparseBlockArgs part = a;
        part.m = std::min(rows, a.m - from);
        std::array<void*, kMaxOutputs> to{};
        for (size_t i = 0; i < a.next.output_count; ++i) to[i] = static_cast<float*>(outputs[i]) + from * a.next.output_sizes[i];
        run_rows(part, implementation, x + from * a.o.k, residual + from * h, sum + from * h, to.data());
    }
}

}  // namespace

void sparse_block(const SparseBlockArgs& a, const Implementation& implementation) {
    if (a.m == 0) return;
    if (!a.x_is_f16 && !a.h_is_f16)
        return run_block(a, implementation, static_cast<const float*>(a.x), static_cast<const float*>(a.h), static_cast<float*>(a.sum),
                         a.outputs);
    const size_t h = a.down.weight.n, k = a.o.k, count = a.next.output_count;
    const Halves halves{implementation, a.m};
    const auto bytes = [&](size_t n) { return Scratch::bytes_for<float>(a.m * n); };
    size_t of_x = 0;
    if (a.x_is_f16) {
        of_x = bytes(k);
        for (size_t i = 0; i < count; ++i) of_x += bytes(a.next.output_sizes[i]);
    }
    Scratch scratch(of_x + (a.h_is_f16 ? bytes(h) : 0));
    const float *x = static_cast<const float*>(a.x), *residual = static_cast<const float*>(a.h);
    float* sum = static_cast<float*>(a.sum);
    std::array<void*, kMaxOutputs> outputs{};
    if (a.h_is_f16) {
        sum = scratch.take<float>(a.m * h);
        halves.widen(a.h, h, sum);
        residual = sum;
    }
    if (a.x_is_f16) {
        float* wide = scratch.take<float>(a.m * k);
        halves.widen(a.x, k, wide);
        x = wide;
        for (size_t i = 0; i < count; ++i) outputs[i] = scratch.take<float>(a.m * a.next.output_sizes[i]);
    }
    run_block(a, implementation, x, residual, sum, a.x_is_f16 ? outputs.data() : a.outputs);
    if (a.h_is_f16) halves.narrow(sum, h, a.sum);
    if (a.x_is_f16)
        for (size_t i = 0; i < count; ++i) halves.narrow(static_cast<float*>(outputs[i]), a.next.output_sizes[i], a.outputs[i]);
}

}  // namespace scap_ov
