// One step of a stateful language model, as optimum-intel exports them: token ids in, the most likely next id out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

namespace example {

inline bool has_input(const ov::CompiledModel& model, const std::string& name) {
    const auto& inputs = model.inputs();
    return std::any_of(inputs.begin(), inputs.end(), [&](const auto& input) { return input.get_names().count(name) > 0; });
}

// The ids of one step, [1, T], after `past` earlier ones. The KV cache is the request's own state.
inline int64_t next_token(ov::InferRequest& request, const std::vector<int64_t>& ids, size_t past) {
    const size_t length = ids.size();
    const ov::CompiledModel model = request.get_compiled_model();
    ov::Tensor input(ov::element::i64, {1, length});
    std::copy(ids.begin(), ids.end(), input.data<int64_t>());
    request.set_tensor("input_ids", input);
    if (has_input(model, "attention_mask")) {
        ov::Tensor mask(ov::element::i64, {1, past + length});
        std::fill_n(mask.data<int64_t>(), past + length, 1);
        request.set_tensor("attention_mask", mask);
    }
    if (has_input(model, "position_ids")) {
        ov::Tensor positions(ov::element::i64, {1, length});
        std::iota(positions.data<int64_t>(), positions.data<int64_t>() + length, static_cast<int64_t>(past));
        request.set_tensor("position_ids", positions);
    }
    if (has_input(model, "beam_idx")) {
        ov::Tensor beam(ov::element::i32, {1});
        beam.data<int32_t>()[0] = 0;
        request.set_tensor("beam_idx", beam);
    }
    request.infer();
    const ov::Tensor logits = request.get_tensor("logits");
    const size_t vocabulary = logits.get_shape().back();
    const float* last = logits.data<const float>() + logits.get_size() - vocabulary;
    return std::max_element(last, last + vocabulary) - last;
}

}  // namespace example
