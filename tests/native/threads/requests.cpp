// Requests at once on one op, each on threads of its own, as streams of the CPU plugin do: under ThreadSanitizer, and bit for bit what one
// thread gives. Argument: how many rounds.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "c_api.h"

namespace {

constexpr size_t kK = 520, kGroup = 64, kStepGroup = 64, kRequests = 3;
constexpr int kThreads = 3;

struct Operands {
    std::vector<uint8_t> weight, step, offset;
    std::vector<float> scale, center, threshold, whole_threshold, base, x;
    std::vector<size_t> sizes;
    scap_ov_sparse_matmul_args args{};
};

float some(uint32_t& state) {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
}

size_t row_bytes(const std::string& type, size_t n_padded) {
    if (type == "u4" || type == "planes") return (n_padded / 2 + 63) / 64 * 64;
    return type == "i8" ? n_padded : n_padded * 4;
}

void fill(Operands& o, const std::string& type, size_t n, size_t m, bool quantize) {
    uint32_t state = 7;
    const bool planes = type == "planes";
    const size_t n_padded = (n + 63) / 64 * 64, groups = (kK + kGroup - 1) / kGroup;
    o.weight.resize((planes ? 2 : 1) * kK * row_bytes(type, n_padded));
    if (type == "f32")
        for (size_t i = 0; i + 4 <= o.weight.size(); i += 4) {
            const float w = some(state);
            std::memcpy(o.weight.data() + i, &w, 4);
        }
    else
        for (uint8_t& w : o.weight) w = static_cast<uint8_t>(some(state) * 127);
    o.scale.assign(groups * n_padded, 0.01f);
    o.step.assign(groups * n_padded, 16);
    o.offset.assign(groups * n_padded, 0);
    o.center.assign(1, 0.1f);
    o.threshold.assign(1, 0.4f);
    o.whole_threshold.assign(1, 0.7f);
    o.base.assign(n, 0.5f);
    for (size_t i = 0; i < m * kK; ++i) o.x.push_back(some(state));
    o.sizes = {n};
    scap_ov_sparse_matmul_args& a = o.args;
    a.x = o.x.data(), a.m = m, a.k = kK, a.n = n;
    a.weight_type = type == "planes" ? "u8" : type == "u4" ? "u4" : type == "i8" ? "i8" : "f32";
    a.weight = o.weight.data();
    if (type != "f32") a.scale = o.scale.data(), a.group_size = kGroup;
    a.center = o.center.data(), a.center_size = 1, a.threshold = o.threshold.data(), a.threshold_size = 1, a.base = o.base.data();
    a.all_rows = 1, a.max_sparse_rows = 8, a.positions = 1, a.dynamic_quantization = quantize;
    a.output_sizes = o.sizes.data(), a.output_count = 1;
    if (planes) {
        a.planes = 1, a.step = o.step.data(), a.offset = o.offset.data(), a.step_group = kStepGroup;
        a.whole_threshold = o.whole_threshold.data(), a.whole_threshold_size = 1;
    }
}

std::vector<float> run(const Operands& o, const char* implementation, int threads) {
    std::vector<float> y(o.args.m * o.args.n);
    void* outputs[] = {y.data()};
    scap_ov_sparse_matmul_args args = o.args;
    args.outputs = outputs;
    char error[256] = "";
    if (scap_ov_sparse_matmul(&args, implementation, threads, 1, error, sizeof error)) {
        std::printf("%s: %s\n", implementation, error);
        std::exit(1);
    }
    return y;
}

}  // namespace

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 1;
    size_t calls = 0;
    for (int round = 0; round < rounds; ++round)
        for (int which = 0; which < scap_ov_implementation_count(); ++which) {
            if (!scap_ov_implementation_supported(which)) continue;
            const char* name = scap_ov_implementation_name(which);
            for (const char* type : {"u4", "i8", "f32", "planes"})
                for (const size_t m : {1, 4, 24})
                    for (const size_t n : {200, 1500}) {
                        Operands o;
                        fill(o, type, n, m, round % 2 == 0);
                        const std::vector<float> wanted = run(o, name, 1);
                        std::vector<float> found[kRequests];
                        std::vector<std::thread> requests;
                        for (size_t i = 0; i < kRequests; ++i) requests.emplace_back([&, i] { found[i] = run(o, name, kThreads); });
                        for (std::thread& request : requests) request.join();
                        calls += kRequests;
                        for (const auto& y : found)
                            if (std::memcmp(y.data(), wanted.data(), y.size() * sizeof(float))) {
                                std::printf("%s %s m=%zu n=%zu: requests at once give other bits\n", name, type, m, n);
                                return 1;
                            }
                    }
        }
    std::printf("%zu calls\n", calls);
    return 0;
}
