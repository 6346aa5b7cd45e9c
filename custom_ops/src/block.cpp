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

}  // namespace

void sparse_block(const SparseBlockArgs& a, const Implementation& implementation) {
    if (a.m == 0) return;
    const size_t h = a.down.weight.n, hidden = a.down.k;
    const bool gated = a.up.output_count == 2;
    Scratch scratch(Scratch::bytes_for<float>(a.m * h) + (gated ? 2 : 1) * Scratch::bytes_for<float>(a.m * hidden));
    float* update = scratch.take<float>(a.m * h);
    float* gate = scratch.take<float>(a.m * hidden);
    float* up = gated ? scratch.take<float>(a.m * hidden) : nullptr;
    const auto run = [&](SparseMatMulArgs call, const float* x, void* const* outputs) {
        call.x = x;
        call.m = a.m;
        call.positions = a.positions;
        call.outputs = outputs;
        sparse_matmul(call, implementation);
    };
    void* const of_h = update;
    void* const of_hidden[] = {gate, up};
    run(a.o, a.x, &of_h);
    add_and_normalise(a.h, a.m, h, a.norm_1, update, a.sum);
    run(a.up, update, of_hidden);
    activate(a, implementation, hidden, up, gate);
    run(a.down, gate, &of_h);
    if (a.next.output_count == 0) {
        in_rows(a.m, [&](size_t from, size_t to) {
            for (size_t row = from; row < to; ++row) add(a.sum + row * h, update + row * h, h, a.sum + row * h);
        });
        return;
    }
    add_and_normalise(a.sum, a.m, h, a.norm_2, update, a.sum);
    run(a.next, update, a.outputs);
}

}  // namespace scap_ov
