// libFuzzer: attributes, shapes and bytes of any kind for scap_ov::SparseMatMul. Whatever its checks let through is computed, on every
// implementation of this CPU in turn (SCAP_OV_ISA), under AddressSanitizer; what they refuse, they refuse with an exception.
#include <openvino/core/except.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/parameter.hpp>

#include "bytes.hpp"
#include "formats/formats.hpp"
#include "setter.hpp"
#include "sparse_matmul.hpp"

namespace {

// Attributes that fit together, one of them broken now and then.
void fuzz(Bytes bytes) {
    using namespace scap_ov;
    Setter set;
    const std::string type = bytes.choice({"u4", "i4", "u8", "i8", "f16", "bf16", "f32", "planes", "planes"});
    const bool planes = type == "planes";
    const std::string stored = planes ? bytes.choice({"u8", "i8"}) : type;
    const bool integer = stored.size() == 2, f16_scale = bytes.chance(128);
    const size_t k = bytes.size(300), layers = 1 + bytes.byte() % 3;
    size_t n = 0;
    for (size_t i = 0; i < layers; ++i) {
        set.lists["output_sizes"].push_back(static_cast<int64_t>(bytes.size(150)));
        n += static_cast<size_t>(set.lists["output_sizes"].back());
    }
    const WeightFormat format = planes ? WeightFormat::planes : find_weight_type(stored)->format;
    const size_t n_padded = round_up(n, kColumnBlock), row_bytes = packed_row_bytes(format, n_padded);
    const size_t step_group = planes ? size_t{4} << bytes.byte() % 6 : 0;
    const size_t group = integer ? (bytes.chance(80) ? k : planes ? step_group * (1 + bytes.byte() % 3) : bytes.size(k)) : 0;
    const size_t groups = integer ? ceil_div(k, group) : 0, steps = planes ? ceil_div(k, step_group) * n_padded : 0;
    const auto some = [&](size_t full, size_t other) { return static_cast<int64_t>(bytes.chance(128) ? full : other); };
    std::vector<int64_t> sections = {static_cast<int64_t>(groups * n_padded * (f16_scale ? 2 : 4)),
                                     some(groups * n_padded, 0),
                                     some(4 * k, 4),
                                     some(4 * k, 4),
                                     some(4 * n, 0),
                                     some(4 * n, 0)};
    if (planes) {
        sections.insert(sections.end(), {static_cast<int64_t>(steps), static_cast<int64_t>(steps)});
        sections.push_back(bytes.chance(80) ? 0 : some(4 * k, 4));
    }
    set.levels = bytes.levels();
    if (!set.levels.empty()) {
        for (const size_t i : {2, 3, 4, 5, 8})
            if (i < sections.size()) sections[i] *= static_cast<int64_t>(set.levels.size());
    }
    size_t behind = 0;
    for (const int64_t size : sections) behind += round_up(static_cast<size_t>(size), 64);
    size_t height = k * (planes ? 2 : 1) + ceil_div(behind, row_bytes), width = row_bytes;
    set.text = {
        {"weight_type", stored}, {"scale_type", integer ? f16_scale ? "f16" : "f32" : ""}, {"rows", bytes.choice({"decode", "all"})}};
    set.whole = {{"group_size", static_cast<int64_t>(group)},
                 {"max_sparse_rows", 1 + bytes.byte() % 20},
                 {"planes", planes},
                 {"step_group", static_cast<int64_t>(step_group)}};
    set.lists["sections"] = sections;
    set_level_attributes(bytes, set);
    set.floats["ramp"] = bytes.chance(60) ? bytes.number<float>() : 0.0f;
    set.dynamic_quantization = bytes.chance(128);
    const uint8_t broken = bytes.byte();
    if (broken == 1) set.lists["sections"][bytes.byte() % sections.size()] = bytes.nasty();
    if (broken == 2) set.lists["output_sizes"][bytes.byte() % layers] = bytes.nasty();
    if (broken == 3) set.whole["group_size"] = bytes.nasty();
    if (broken == 4) set.whole["step_group"] = bytes.nasty();
    if (broken == 5) set.whole["max_sparse_rows"] = bytes.nasty();
    if (broken == 6) set.whole["planes"] = bytes.nasty();
    if (broken == 7) height = bytes.size(600), width = bytes.size(2000);
    if (broken == 8) set.text["weight_type"] = bytes.choice({"u4", "i4", "u8", "f32", "x", ""});
    if (broken == 9) set.lists["output_sizes"].push_back(bytes.nasty()), set.lists["sections"].push_back(bytes.nasty());
    if (broken == 10) set.whole["version"] = bytes.nasty();

    // exactly as large as it says, so that a read past its end is seen
    std::vector<uint8_t> packed(height * width);
    bytes.fill(packed.data(), packed.size());
    const ov::Tensor weight(ov::element::u8, ov::Shape{height, width}, packed.data());
    const auto x_type = bytes.chance(128) ? ov::element::f32 : ov::element::f16;
    ov::Shape shape = {bytes.chance(20) ? 0 : 1 + bytes.byte() % 20u, k + (bytes.chance(5) ? 1u : 0u)};
    if (bytes.chance(128)) shape.insert(shape.begin(), 1 + bytes.byte() % 3u);

    const auto x_parameter = std::make_shared<ov::op::v0::Parameter>(x_type, ov::PartialShape::dynamic(ov::Rank(shape.size())));
    auto op = std::make_shared<SparseMatMul>();
    op->set_arguments(ov::OutputVector{x_parameter, std::make_shared<ov::op::v0::Constant>(weight)});
    op->visit_attributes(set);
    op->validate_and_infer_types();
    ov::Tensor x(x_type, shape);
    bytes.fill(static_cast<uint8_t*>(x.data()), x.get_byte_size());
    const auto node = bytes.chance(128) ? op->clone_with_new_inputs(op->input_values()) : op;
    ov::TensorVector outputs;
    for (size_t i = 0; i < node->get_output_size(); ++i) outputs.emplace_back(bytes.chance(250) ? x_type : ov::element::i32, ov::Shape{0});
    node->evaluate(outputs, {x, weight});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        fuzz(Bytes(data, size));
    } catch (const ov::Exception&) {
    }
    return 0;
}
