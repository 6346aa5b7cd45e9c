// Run a pruned language model from C++ with nothing but openvino and the extension library: greedy decoding of token ids.
//
//   dir=$(python -c 'import openvino.utils as u; print(u.get_cmake_path())')
//   cmake -S examples/cpp -B build/example -DOpenVINO_DIR=$dir -DTBB_DIR=$dir && cmake --build build/example
//   lib=$(python -Ic 'import scap_ov; print(scap_ov.extension_path())')
//   build/example/scap_ov_example sparse/openvino_model.xml $lib 16 504 3575 282 4649 314
//
// With openvino.genai in C++ it is one argument: ov::genai::LLMPipeline pipe(dir, "CPU", ov::genai::extensions({lib}));
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <openvino/openvino.hpp>
#include <vector>

#include "decode.hpp"

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
        const int64_t token = example::next_token(request, ids, past);
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
