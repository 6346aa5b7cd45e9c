// A layer of routed experts: tokens sorted by expert, and every chosen expert a task that runs its two products one behind the other.
//
// Experts run side by side and their products are cut into tasks too, so threads that run out of experts help with what is left. Each
// expert writes the rows of its tokens into memory of its own; they are added up per token in the order of the router's choices. So bits
// do not depend on the number of threads.
#include "experts.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>

#include "formats/formats.hpp"
#include "gemv.hpp"
#include "parallel.hpp"
#include "routes.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

constexpr size_t kBlockBytes = size_t{64} << 20;  // of the experts' rows that wait to be added up; longer prompts go in blocks of tokens
constexpr size_t kTokensAtOnce = 8;               // of the sum over experts
constexpr size_t kSomeValues = 256;               // that are rounded to f16, or taken apart, at a time

// The constants of expert e as those of a sparse matmul. Rows that go to one expert are all pruned, or none.
SparseMatMulArgs product(const SparseExpertsArgs& a, const ExpertStage& stage, size_t expert, size_t m, bool pruned) {
    const auto of_expert = [&](auto* pointer) -> decltype(pointer) {
        if (!pointer) return nullptr;
        return reinterpret_cast<decltype(pointer)>(reinterpret_cast<const uint8_t*>(pointer) + expert * stage.stride);
    };
    SparseMatMulArgs args{};
    args.m = m;
    args.k = stage.weight.k;
    args.weight = stage.weight;
    args.weight.data = of_expert(stage.weight.data);
    args.weight.scale = of_expert(stage.weight.scale);
    args.weight.zero_point = of_expert(stage.weight.zero_point);
    args.weight.step = of_expert(stage.weight.step);
    args.weight.offset = of_expert(stage.weight.offset);
    args.format = stage.format;
    args.center = stage.center;
    args.threshold = stage.threshold;
    args.center_per_channel = stage.center_per_channel;
    args.threshold_per_channel = stage.threshold_per_channel;
    args.whole_threshold = stage.whole_threshold;
    args.whole_threshold_per_channel = stage.whole_threshold_per_channel;
    args.base = of_expert(stage.base);
    args.all_rows = pruned;
    args.max_sparse_rows = 0;
    args.positions = 1;
    args.dynamic_quantization = a.dynamic_quantization;
    return args;
}

void run(SparseMatMulArgs& args, const Implementation& implementation, const KeptChannels* kept, const float* x, float* y) {
    const size_t size = args.weight.n;
    void* output = y;
    args.x = x;
    args.outputs = &output;
    args.output_sizes = &size;
    args.output_count = 1;
    if (kept)
        run_gemv(args, implementation, Rows(args), *kept);
    else
        sparse_matmul(args, implementation);
}

void add_bias(const ExpertStage& stage, size_t expert, size_t m, float* y) {
    if (!stage.bias) return;
    const size_t n = stage.weight.n;
    const float* bias = stage.bias + expert * n;
    for (size_t row = 0; row < m; ++row)
        for (size_t i = 0; i < n; ++i) y[row * n + i] += bias[i];
}

// gate and up [m, 2 I] -> activation(gate) · up [m, I].
void activate(const SparseExpertsArgs& a, const Implementation& implementation, size_t m, const float* both, float* out) {
    const size_t size = a.down.weight.k;
    ActivateParams p{};
    p.activation = a.activation;
    p.alpha = a.alpha;
    p.limit = a.limit;
    for (size_t row = 0; row < m; ++row, both += 2 * size, out += size) {
        if (!a.interleaved) {
            p.gate = both;
            p.up = both + size;
            p.count = size;
            p.out = out;
            implementation.activate(p);
            continue;
        }
        float gate[kSomeValues], up[kSomeValues];
        p.gate = gate;
        p.up = up;
        for (size_t from = 0; from < size; from += kSomeValues) {
            p.count = std::min(kSomeValues, size - from);
            p.out = out + from;
            for (size_t i = 0; i < p.count; ++i) {
                gate[i] = both[2 * (from + i)];
                up[i] = both[2 * (from + i) + 1];
            }
            implementation.activate(p);
        }
    }
}

// Some tokens, all of whose expert rows are in memory at once.
struct Block {
    const SparseExpertsArgs& args;
    const Implementation& implementation;
    const Routes& routes;
    const float* x;                    // [tokens, K] of the block
    const std::optional<Scan>* scans;  // of each token, or null
    float* rows;                       // [assignments, N], sorted by expert

    // Both products of the rows of one expert.
    void run_route(const Route& route) const {
        const size_t m = route.end - route.begin, k = args.up.weight.k, both = args.up.weight.n, hidden = args.down.weight.k;
        const uint32_t* tokens = routes.row() + route.begin;
        SparseMatMulArgs up = product(args, args.up, route.expert, m, route.pruned);
        SparseMatMulArgs down = product(args, args.down, route.expert, m, route.pruned);
        up.beside = down.beside = routes.count();
        const bool scanned = scans && m == 1, gathered = m > 1;
        Scratch scratch(Scratch::bytes_for<float>(gathered ? m * k : 0) + Scratch::bytes_for<float>(m * both) +
                        Scratch::bytes_for<float>(m * hidden));
        const float* source = x + tokens[0] * k;
        if (gathered) {
            float* copy = scratch.take<float>(m * k);
            for (size_t row = 0; row < m; ++row) std::copy(x + tokens[row] * k, x + (tokens[row] + 1) * k, copy + row * k);
            source = copy;
        }
        float* gate_up = scratch.take<float>(m * both);
        float* product_of_both = scratch.take<float>(m * hidden);
        run(up, implementation, scanned ? &scans[tokens[0]]->kept() : nullptr, source, gate_up);
        add_bias(args.up, route.expert, m, gate_up);
        activate(args, implementation, m, gate_up, product_of_both);
        float* y = rows + route.begin * args.down.weight.n;
        run(down, implementation, nullptr, product_of_both, y);
        add_bias(args.down, route.expert, m, y);
    }

    // The weighted sum of a token's experts, to the output.
    void add_up(size_t token, const float* routing, float* wide, void* output) const {
        const size_t n = args.down.weight.n;
        Scratch scratch(Scratch::bytes_for<const float*>(args.k));
        const float** of_token = scratch.take<const float*>(args.k);
        for (size_t j = 0; j < args.k; ++j) of_token[j] = rows + routes.place(token, j) * n;
        float* sum = args.x_is_f16 ? wide : static_cast<float*>(output) + token * n;
        implementation.combine(of_token, routing + token * args.k, args.k, n, sum);
        if (args.x_is_f16) implementation.narrow(sum, n, static_cast<uint16_t*>(output) + token * n);
    }
};

// Ids as indices, refused where they are no expert.
void read_ids(const SparseExpertsArgs& a, uint32_t* ids) {
    for (size_t i = 0; i < a.tokens * a.k; ++i) {
        const int64_t id = a.ids_are_i64 ? static_cast<const int64_t*>(a.ids)[i] : static_cast<const int32_t*>(a.ids)[i];
        if (id < 0 || static_cast<uint64_t>(id) >= a.experts)
            throw std::out_of_range("expert " + std::to_string(id) + " was chosen for token " + std::to_string(i / a.k) + "; there are " +
                                    std::to_string(a.experts) + ", numbered from 0");
        ids[i] = static_cast<uint32_t>(id);
    }
}

}  // namespace

void sparse_experts(const SparseExpertsArgs& a, const Implementation& implementation) {
    const size_t k = a.up.weight.k, n = a.down.weight.n;
    if (a.tokens == 0) return;
    Scratch ids_scratch(Scratch::bytes_for<uint32_t>(a.tokens * a.k));
    uint32_t* ids = ids_scratch.take<uint32_t>(a.tokens * a.k);
    read_ids(a, ids);
    Scratch widened(a.x_is_f16 ? Scratch::bytes_for<float>(a.tokens * k) : 64);
    const float* x = static_cast<const float*>(a.x);
    if (a.x_is_f16) {
        float* wide = widened.take<float>(a.tokens * k);
        implementation.widen(static_cast<const uint16_t*>(a.x), a.tokens * k, wide);
        x = wide;
    }
    SparseMatMulArgs policy{};
    policy.m = a.tokens;
    policy.all_rows = a.all_rows;
    policy.max_sparse_rows = a.max_sparse_rows;
    policy.positions = a.positions;
    const Rows rule(policy);

    // One scan of a token serves all its experts, where it is alone with them.
    std::optional<Scan> scans[kMaxGemvRows];
    const bool scan = a.tokens <= kMaxGemvRows;
    if (scan) {
        Scratch::let_go_of_large();
        parallel_for(a.tokens, [&](size_t token) {
            const SparseMatMulArgs one = product(a, a.up, 0, 1, rule.pruned(token));
            scans[token].emplace(one, implementation, rule.pruned(token), x + token * k);
        });
    }

    const size_t step = std::clamp<size_t>(kBlockBytes / std::max<size_t>(a.k * n * sizeof(float), 1), 1, a.tokens);
    Scratch rows(Scratch::bytes_for<float>(step * a.k * n));
    float* expert_rows = rows.take<float>(step * a.k * n);
    for (size_t from = 0; from < a.tokens; from += step) {
        const size_t count = std::min(step, a.tokens - from);
        const Routes routes(ids + from * a.k, count, a.k, a.experts, [&](size_t token) { return rule.pruned(from + token); });
        const Block block{a, implementation, routes, x + from * k, scan ? scans : nullptr, expert_rows};
        parallel_for(routes.count(), [&](size_t i) { block.run_route(routes[i]); });
        parallel_for(ceil_div(count, kTokensAtOnce), [&](size_t part) {
            Scratch wide(a.x_is_f16 ? Scratch::bytes_for<float>(n) : 64);
            float* sum = a.x_is_f16 ? wide.take<float>(n) : nullptr;
            void* output = a.x_is_f16 ? static_cast<void*>(static_cast<uint16_t*>(a.output) + from * n)
                                      : static_cast<void*>(static_cast<float*>(a.output) + from * n);
            for (size_t token = part * kTokensAtOnce; token < std::min(count, (part + 1) * kTokensAtOnce); ++token)
                block.add_up(token, a.routing + from * a.k, sum, output);
        });
    }
}

}  // namespace scap_ov
