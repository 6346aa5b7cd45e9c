// libFuzzer: attributes, shapes, expert numbers and bytes of any kind for scap_ov::SparseExperts, as fuzz_sparse_matmul.cpp does.
#include <openvino/core/except.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/parameter.hpp>

#include "fuzz_weights.hpp"
#include "sparse_experts.hpp"

namespace {

using namespace scap_ov;

// Attributes of one product that fit together; returns the shape of its packed weights.
ov::Shape stage(Bytes& bytes, Setter& set, const std::string& name, size_t k, size_t n, size_t experts) {
    FuzzedWeights weights(bytes);
    weights.set_size(bytes, k, n);
    const auto some = [&](size_t full, size_t other) { return static_cast<int64_t>(bytes.chance(128) ? full : other); };
    std::vector<int64_t> sections = {weights.scale_bytes(), some(weights.groups * weights.n_padded, 0), some(4 * n, 0),
                                     weights.step_bytes(), weights.step_bytes()};
    std::vector<int64_t> shared = {some(4 * k, 4), some(4 * k, 4), some(experts * n * 4, 0), weights.planes ? some(4, 4 * k) : 0};
    const int64_t levels = set.levels.empty() ? 1 : static_cast<int64_t>(set.levels.size());
    sections[2] *= levels;
    for (const size_t i : {0, 1, 3}) shared[i] *= levels;
    size_t behind = 0, tail = 0;
    for (const int64_t size : sections) behind += round_up(static_cast<size_t>(size), 64);
    for (const int64_t size : shared) tail += round_up(static_cast<size_t>(size), 64);
    const size_t height = k * (weights.planes ? 2 : 1) + ceil_div(behind, weights.row_bytes);
    weights.put(set, name + "_");
    set.whole[name + "_size"] = static_cast<int64_t>(n);
    const uint8_t broken = bytes.byte();
    if (broken == 1) sections[bytes.byte() % sections.size()] = bytes.nasty();
    if (broken == 2) shared[bytes.byte() % shared.size()] = bytes.nasty();
    if (broken == 3) set.whole[name + bytes.choice({"_group_size", "_size", "_planes", "_step_group"})] = bytes.nasty();
    if (broken == 4) set.text[name + "_weight_type"] = bytes.choice({"u4", "i8", "f32", ""});
    if (broken == 5) sections.push_back(bytes.nasty());
    set.lists[name + "_sections"] = sections;
    set.lists[name + "_shared"] = shared;
    return {experts * height + ceil_div(tail, weights.row_bytes) + (broken == 6 ? bytes.byte() : 0),
            weights.row_bytes + (broken == 7 ? 1 : 0)};
}

std::shared_ptr<ov::op::v0::Constant> constant(Bytes& bytes, const ov::Shape& shape, std::vector<uint8_t>& memory) {
    memory.resize(ov::shape_size(shape));
    bytes.fill(memory.data(), memory.size());
    return std::make_shared<ov::op::v0::Constant>(ov::Tensor(ov::element::u8, shape, memory.data()));
}

void fuzz(Bytes bytes) {
    Setter set;
    const size_t k = bytes.size(200), hidden = bytes.size(100), n = bytes.size(130), experts = bytes.size(6), choices = bytes.size(4);
    set.whole = {{"experts", bytes.chance(4) ? bytes.nasty() : static_cast<int64_t>(experts)}, {"max_sparse_rows", 1 + bytes.byte() % 20}};
    if (bytes.chance(4)) set.whole["version"] = bytes.nasty();
    set.text = {{"rows", bytes.choice({"decode", "all"})},
                {"gate_up", bytes.choice({"halves", "interleaved"})},
                {"activation", bytes.choice({"silu", "gelu_tanh", "gelu_erf", "clamped_swiglu", "relu"})}};
    set.floats = {{"alpha", bytes.number<float>()}, {"limit", bytes.number<float>()}};
    set.dynamic_quantization = bytes.chance(128);
    set.levels = bytes.levels();
    set_level_attributes(bytes, set);
    const ov::Shape up_shape = stage(bytes, set, "up", k, 2 * hidden, experts), down_shape = stage(bytes, set, "down", hidden, n, experts);
    std::vector<uint8_t> memory[2];
    const auto up = constant(bytes, up_shape, memory[0]), down = constant(bytes, down_shape, memory[1]);

    const auto x_type = bytes.chance(128) ? ov::element::f32 : ov::element::f16;
    const auto id_type = bytes.chance(128) ? ov::element::i32 : ov::element::i64;
    const size_t tokens = bytes.byte() % 20u;
    const auto parameter = [](ov::element::Type type) {
        return std::make_shared<ov::op::v0::Parameter>(type, ov::PartialShape::dynamic());
    };
    auto op = std::make_shared<SparseExperts>();
    op->set_arguments(ov::OutputVector{parameter(x_type), parameter(id_type), parameter(ov::element::f32), up, down});
    op->visit_attributes(set);
    op->validate_and_infer_types();
    ov::Tensor x(x_type, {1, tokens, k}), ids(id_type, {tokens + (bytes.chance(4) ? 1 : 0), choices});
    ov::Tensor routing(ov::element::f32, {tokens, choices});
    bytes.fill(static_cast<uint8_t*>(x.data()), x.get_byte_size());
    bytes.fill(static_cast<uint8_t*>(routing.data()), routing.get_byte_size());
    const bool wild = bytes.chance(8);  // ids that are no experts
    for (size_t i = 0; i < ids.get_size(); ++i) {
        const int64_t id = wild ? bytes.nasty() : bytes.byte() % static_cast<int64_t>(experts);
        if (id_type == ov::element::i32)
            ids.data<int32_t>()[i] = static_cast<int32_t>(id);
        else
            ids.data<int64_t>()[i] = id;
    }
    const auto node = bytes.chance(128) ? op->clone_with_new_inputs(op->input_values()) : op;
    ov::TensorVector outputs = {ov::Tensor(bytes.chance(250) ? x_type : ov::element::i32, ov::Shape{0})};
    node->evaluate(outputs, {x, ids, routing, up->get_tensor_view(), down->get_tensor_view()});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        fuzz(Bytes(data, size));
    } catch (const std::exception&) {
    }
    return 0;
}
