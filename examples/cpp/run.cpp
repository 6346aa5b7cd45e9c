// Continue a text with a model folder that `scap-ov apply` wrote, without Python: openvino, its tokenizers library and the extension
// library.
//
//   scap_ov_run [--tokens N] [--level L] [--library PATH]... FOLDER PROMPT
//
// Built as main.cpp is. A bundle of `scap-ov bundle` holds it with all libraries. The prompt is continued as it stands, greedily and
// without a chat template; a chat wants openvino.genai: ov::genai::LLMPipeline pipe(folder, "CPU", ov::genai::extensions({library}));
#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <openvino/openvino.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "decode.hpp"

namespace {

struct Options {
    std::string folder, prompt;
    int tokens = 64;
    std::string level;
    // The dynamic linker finds these names beside libopenvino.so, as in a bundle.
    std::vector<std::string> libraries;
};

Options parse(int argc, char* argv[]) {
    Options options;
    std::vector<std::string> words;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if ((word == "--tokens" || word == "--library" || word == "--level") && i + 1 < argc) {
            const std::string value = argv[++i];
            if (word == "--library") options.libraries.push_back(value);
            if (word == "--level") options.level = value;
            if (word == "--tokens") options.tokens = std::atoi(value.c_str());
        } else {
            words.push_back(word);
        }
    }
    if (words.size() != 2 || options.tokens < 1)
        throw std::invalid_argument("usage: scap_ov_run [--tokens N] [--level L] [--library PATH]... FOLDER PROMPT");
    options.folder = words[0];
    options.prompt = words[1];
    return options;
}

// Of a model that was applied with --levels: which one the next steps run with. A program that links against the library includes scap_ov.h
// and calls the function; here the library is found at run time, as stock models need none.
void set_level(const Options& options) {
    using SetLevel = int (*)(double, const char*, char*, size_t);
    for (const auto& library : options.libraries) {
        void* handle = dlopen(library.c_str(), RTLD_NOW);
        if (void* found = handle ? dlsym(handle, "scap_ov_set_level") : nullptr) {
            char reason[512] = "";
            if (reinterpret_cast<SetLevel>(found)(std::atof(options.level.c_str()), nullptr, reason, sizeof(reason)) != 0)
                throw std::invalid_argument(reason);
            return;
        }
    }
    throw std::invalid_argument("--level needs --library with libscap_ov_extension.so");
}

class Tokenizer {
public:
    Tokenizer(ov::Core& core, const std::string& folder) {
        const auto encoder = core.read_model(folder + "/openvino_tokenizer.xml");
        if (encoder->has_rt_info("eos_token_id")) end_ = encoder->get_rt_info<int64_t>("eos_token_id");
        encode_ = core.compile_model(encoder, "CPU").create_infer_request();
        decode_ = core.compile_model(folder + "/openvino_detokenizer.xml", "CPU").create_infer_request();
    }

    std::vector<int64_t> encode(const std::string& text) {
        ov::Tensor input(ov::element::string, {1});
        input.data<std::string>()[0] = text;
        encode_.set_input_tensor(input);
        encode_.infer();
        const ov::Tensor ids = encode_.get_tensor("input_ids");
        return {ids.data<const int64_t>(), ids.data<const int64_t>() + ids.get_size()};
    }

    std::string decode(const std::vector<int64_t>& ids) {
        ov::Tensor input(ov::element::i64, {1, ids.size()});
        std::copy(ids.begin(), ids.end(), input.data<int64_t>());
        decode_.set_input_tensor(input);
        decode_.infer();
        return decode_.get_output_tensor().data<const std::string>()[0];
    }

    bool ends(int64_t token) const { return token == end_; }

private:
    ov::InferRequest encode_, decode_;
    int64_t end_ = -1;
};

// Whether a text stops inside a character of several tokens, which the detokenizer shows as U+FFFD.
bool is_cut(const std::string& text) {
    const std::string replacement = "\xEF\xBF\xBD";
    return text.size() >= replacement.size() && text.compare(text.size() - replacement.size(), replacement.size(), replacement) == 0;
}

}  // namespace

int main(int argc, char* argv[]) try {
    const Options options = parse(argc, argv);
    ov::Core core;
    for (const auto& library : options.libraries) core.add_extension(library);  // before read_model
    // The op computes in f32; where a CPU's default is bf16 the plugin would convert around every op.
    core.set_property("CPU", ov::hint::inference_precision(ov::element::f32));
    Tokenizer tokenizer(core, options.folder);
    auto request = core.compile_model(options.folder + "/openvino_model.xml", "CPU").create_infer_request();

    if (!options.level.empty()) set_level(options);

    std::vector<int64_t> step = tokenizer.encode(options.prompt), written;
    std::string shown;
    size_t past = 0;
    const auto start = std::chrono::steady_clock::now();
    while (static_cast<int>(written.size()) < options.tokens) {
        const int64_t token = example::next_token(request, step, past);
        if (tokenizer.ends(token)) break;
        past += step.size();
        step.assign(1, token);
        written.push_back(token);
        const std::string text = tokenizer.decode(written);
        if (is_cut(text)) continue;
        std::cout << text.substr(shown.size()) << std::flush;
        shown = text;
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cout << std::endl;
    std::cerr << written.size() / seconds.count() << " tokens/s, the prompt included\n";
    return 0;
} catch (const std::invalid_argument& error) {
    std::cerr << error.what() << '\n';
    return 2;
} catch (const std::exception& error) {
    std::cerr << "scap_ov_run: " << error.what() << '\n';
    return 1;
}
