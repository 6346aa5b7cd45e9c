// The C entry points: turn names into tables and errors into text.
#include "c_api.h"

#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>

#include "activation.hpp"
#include "dispatch.hpp"
#include "execute.hpp"
#include "experts.hpp"
#include "formats/formats.hpp"
#include "guarded.hpp"
#include "parallel.hpp"
#include "weight_type.hpp"

namespace {

using namespace scap_ov;

const WeightType& weight_type(const char* name) {
    const WeightType* type = find_weight_type(name);
    if (!type) throw std::invalid_argument(std::string("weight_type is '") + name + "'; give one of " + weight_type_names());
    return *type;
}

SparseMatMulArgs plain_args(const scap_ov_sparse_matmul_args& c) {
    const WeightType* type = &weight_type(c.weight_type);
    SparseMatMulArgs args{};
    args.x = c.x;
    args.x_is_f16 = c.x_is_f16 != 0;
    args.m = c.m;
    args.k = c.k;
    args.format = c.planes ? WeightFormat::planes : type->format;
    args.weight.data = c.weight;
    args.weight.n = c.n;
    args.weight.n_padded = round_up(c.n, kColumnBlock);
    args.weight.row_bytes = packed_row_bytes(args.format, args.weight.n_padded);
    args.weight.scale = c.scale;
    args.weight.scale_is_f16 = c.scale_is_f16 != 0;
    args.weight.zero_point = c.zero_point;
    args.weight.implicit_zero_point = type->implicit_zero_point;
    args.weight.k = c.k;
    args.weight.group_size = c.group_size;
    args.weight.step = c.planes ? c.step : nullptr;
    args.weight.offset = c.offset;
    args.weight.step_group = c.step_group;
    args.whole_threshold = c.whole_threshold;
    args.whole_threshold_per_channel = c.whole_threshold_size > 1;
    args.center = c.center;
    args.threshold = c.threshold;
    args.center_per_channel = c.center_size > 1;
    args.threshold_per_channel = c.threshold_size > 1;
    args.steepness = c.ramp > 0.0f ? 1.0f / c.ramp : 0.0f;
    args.compensation = c.compensation;
    args.base = c.base;
    args.all_rows = c.all_rows != 0;
    args.max_sparse_rows = c.max_sparse_rows;
    args.positions = c.positions;
    args.dynamic_quantization = c.dynamic_quantization != 0;
    args.outputs = c.outputs;
    args.output_sizes = c.output_sizes;
    args.output_count = c.output_count;
    return args;
}

ExpertStage plain_stage(const scap_ov_expert_stage& c) {
    const WeightType& type = weight_type(c.weight_type);
    const auto section = [&](size_t offset) { return offset ? c.packed + offset : nullptr; };
    ExpertStage stage{};
    stage.format = c.step_group ? WeightFormat::planes : type.format;
    stage.stride = c.stride;
    stage.weight.data = c.packed;
    stage.weight.k = c.k;
    stage.weight.n = c.n;
    stage.weight.n_padded = round_up(c.n, kColumnBlock);
    stage.weight.row_bytes = packed_row_bytes(stage.format, stage.weight.n_padded);
    stage.weight.group_size = c.group_size;
    stage.weight.scale = section(c.scale);
    stage.weight.scale_is_f16 = c.scale_is_f16 != 0;
    stage.weight.zero_point = section(c.zero_point);
    stage.weight.implicit_zero_point = type.implicit_zero_point;
    stage.weight.step = section(c.step);
    stage.weight.offset = section(c.offset);
    stage.weight.step_group = c.step_group;
    stage.base = reinterpret_cast<const float*>(section(c.base));
    stage.bias = c.bias;
    stage.center = c.center;
    stage.threshold = c.threshold;
    stage.whole_threshold = c.whole_threshold;
    stage.whole_threshold_per_channel = c.whole_threshold_size > 1;
    stage.center_per_channel = c.center_size > 1;
    stage.threshold_per_channel = c.threshold_size > 1;
    return stage;
}

SparseExpertsArgs plain_args(const scap_ov_sparse_experts_args& c) {
    const int activation = find_activation(c.activation);
    if (activation < 0) throw std::invalid_argument(std::string("activation '") + c.activation + "' is unknown");
    SparseExpertsArgs args{};
    args.x = c.x;
    args.x_is_f16 = c.x_is_f16 != 0;
    args.tokens = c.tokens;
    args.ids = c.ids;
    args.ids_are_i64 = c.ids_are_i64 != 0;
    args.routing = c.routing;
    args.experts = c.experts;
    args.k = c.choices;
    args.up = plain_stage(c.up);
    args.down = plain_stage(c.down);
    args.interleaved = c.interleaved != 0;
    args.activation = static_cast<Activation>(activation);
    args.alpha = c.alpha;
    args.limit = c.limit;
    args.all_rows = c.all_rows != 0;
    args.max_sparse_rows = c.max_sparse_rows;
    args.positions = c.positions;
    args.dynamic_quantization = c.dynamic_quantization != 0;
    args.output = c.output;
    return args;
}

// Four streams side by side, as one alone does not use what a core may have under way.
uint64_t read_all(const uint8_t* data, size_t bytes) {
    constexpr size_t kStreams = 4, kWords = 8;
    const size_t words = bytes / kStreams / sizeof(uint64_t) / kWords * kWords;
    const uint64_t* stream = reinterpret_cast<const uint64_t*>(data);
    uint64_t sum[kStreams][kWords] = {};
    for (size_t i = 0; i < words; i += kWords)
        for (size_t s = 0; s < kStreams; ++s)
            for (size_t j = 0; j < kWords; ++j) sum[s][j] |= stream[s * words + i + j];
    uint64_t total = 0;
    for (const auto& lane : sum)
        for (const uint64_t one : lane) total |= one;
    return total;
}

}  // namespace

int scap_ov_implementation_count(void) {
    return kImplementationCount;
}
const char* scap_ov_implementation_name(int index) {
    return implementation_at(index).name;
}
int scap_ov_implementation_supported(int index) {
    return is_supported(implementation_at(index)) ? 1 : 0;
}

const char* scap_ov_active_implementation(char* error, size_t error_size) {
    const char* name = nullptr;
    guarded(error, error_size, [&] { name = active_implementation().name; });
    return name;
}

int scap_ov_format_count(void) {
    return kFormatCount;
}
const char* scap_ov_format_name(int index) {
    return kFormatNames[index];
}

int scap_ov_sparse_matmul(const scap_ov_sparse_matmul_args* args, const char* implementation, int threads, int repeat, char* error,
                          size_t error_size) {
    return guarded(error, error_size, [&] {
        const Implementation& table = implementation_by_name(implementation);
        const SparseMatMulArgs plain = plain_args(*args);
        tbb::task_arena arena(threads);
        arena.execute([&] {
            for (int i = 0; i < repeat; ++i) sparse_matmul(plain, table);
        });
    });
}

int scap_ov_sparse_experts(const scap_ov_sparse_experts_args* args, const char* implementation, int threads, char* error,
                           size_t error_size) {
    return guarded(error, error_size, [&] {
        const Implementation& table = implementation_by_name(implementation);
        const SparseExpertsArgs plain = plain_args(*args);
        tbb::task_arena arena(threads);
        arena.execute([&] { sparse_experts(plain, table); });
    });
}

double scap_ov_read_seconds(const uint8_t* data, size_t bytes, int threads, int repeat) {
    tbb::task_arena arena(threads);
    double best = 1e30;
    std::atomic<uint64_t> sink{0};
    for (int i = 0; i < repeat; ++i) {
        const auto start = std::chrono::steady_clock::now();
        arena.execute([&] {
            const size_t parts = static_cast<size_t>(threads), step = bytes / parts / 64 * 64;
            parallel_for(parts, [&](size_t part) { sink += read_all(data + part * step, step); });
        });
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}
