// Run a pruned language model from C++ with nothing but openvino and the extension library: greedy decoding of token ids.
//
//   dir=$(python -c 'import openvino.utils as u; print(u.get_cmake_path())')
//   cmake -S examples/cpp -B build/example -DOpenVINO_DIR=$dir -DTBB_DIR=$dir && cmake --build build/example
//   lib=$(python -Ic 'import scap_ov; print(scap_ov.extension_path())')
//   build/example/scap_ov_example sparse/openvino_model.xml $lib 16 504 3575 282 4649 314
//
// With openvino.genai in C++ it is one argument: ov::genai::LLMPipeline pipe(dir, "CPU", ov::genai::extensions({lib}));
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <numeric>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

namespace {

// The ids of one step, [1, T], after `past` earlier ones.
int64_t next_token(ov::InferRequest& request, const std::vector<int64_t>& ids, size_t past) {
    const size_t length = ids.size();
    ov::Tensor input(ov::element::i64, {1, length});
    std::copy(ids.begin(), ids.end(), input.data<int64_t>());
    request.set_tensor("input_ids", input);
    ov::Tensor mask(ov::element::i64, {1, past + length});
    std::fill_n(mask.data<int64_t>(), past + length, 1);
    request.set_tensor("attention_mask", mask);
    ov::Tensor positions(ov::element::i64, {1, length});
    std::iota(positions.data<int64_t>(), positions.data<int64_t>() + length, static_cast<int64_t>(past));
    request.set_tensor("position_ids", positions);
    ov::Tensor beam(ov::element::i32, {1});
    beam.data<int32_t>()[0] = 0;
    request.set_tensor("beam_idx", beam);
    request.infer();
    const ov::Tensor logits = request.get_tensor("logits");
    const size_t vocabulary = logits.get_shape().back();
    const float* last = logits.data<const float>() + logits.get_size() - vocabulary;
    return std::max_element(last, last + vocabulary) - last;
}

}  // namespace

int main(int argc, char* argv[]) try {
    if (argc < 5) {
        std::cerr << "usage: scap_ov_example MODEL.xml LIBRARY NEW_TOKENS ID [ID ...]\n";
        return 2;
    }
    ov::Core core;
    core.add_extension(argv[2]);  // before read_model
    auto compiled = core.compile_model(core.read_model(argv[1]), "CPU");
    auto request = compiled.create_infer_request();

    const int count = std::atoi(argv[3]);
    std::vector<int64_t> ids;
    for (int i = 4; i < argc; ++i) ids.push_back(std::atoll(argv[i]));
    size_t past = 0;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) {
        const int64_t token = next_token(request, ids, past);
        past += ids.size();
        ids.assign(1, token);
        std::cout << token << (i + 1 < count ? ' ' : '\n') << std::flush;
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cerr << count / seconds.count() << " tokens/s, the prompt included\n";
    return 0;
} catch (const std::exception& error) {
    std::cerr << "scap_ov_example: " << error.what() << '\n';
    return 1;
}
