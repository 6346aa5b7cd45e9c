// libFuzzer: attributes, offsets, shapes and bytes of any kind for scap_ov::SparseBlock, as fuzz_sparse_matmul.cpp does.
#include <openvino/core/except.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/parameter.hpp>

#include "bytes.hpp"
#include "fuzz_site.hpp"
#include "setter.hpp"
#include "sparse_block.hpp"

namespace {

// Where the parts of a constant begin; it ends with the last one, so that a read past its end is seen.
struct Parts {
    size_t bytes = 0;
    std::vector<int64_t> offsets, rows;

    void add(size_t size) {
        bytes = scap_ov::round_up(bytes, 64);
        offsets.push_back(static_cast<int64_t>(bytes));
        bytes += size;
    }
};

void fuzz(Bytes bytes) {
    using namespace scap_ov;
    Setter set;
    const size_t k = bytes.size(150), h = bytes.size(150), hidden = bytes.size(150), outputs = bytes.byte() % 5;
    const auto channels = [](size_t size) { return static_cast<int64_t>(size); };
    std::vector<int64_t> up = {channels(hidden)}, next;
    if (bytes.chance(128)) up.push_back(channels(hidden));
    for (size_t i = 0; i < outputs; ++i) next.push_back(channels(bytes.size(100)));
    Parts parts;
    const auto site = [&](const std::string& prefix, size_t channels_in, const std::vector<int64_t>& sizes) {
        const PackedSite packed = fuzz_site(bytes, set, prefix, channels_in, sizes);
        parts.add(packed.height * packed.width);
        parts.rows.push_back(static_cast<int64_t>(packed.height));
    };
    site("o_", k, {channels(h)});
    site("up_", h, up);
    site("down_", hidden, {channels(h)});
    if (!next.empty()) site("next_", h, next);
    std::vector<int64_t>& offsets = parts.offsets;
    if (next.empty()) offsets.push_back(-1), parts.rows.push_back(0);
    parts.add(h * sizeof(float));
    if (next.empty())
        offsets.push_back(-1);
    else
        parts.add(h * sizeof(float));
    set.levels = bytes.chance(240) ? std::vector<float>{} : set.levels;  // of all sites alike
    set.text["activation"] = bytes.choice({"silu", "gelu_tanh", "gelu_erf", "silu", "clamped_swiglu", "relu"});
    set.floats["eps_1"] = bytes.chance(250) ? 1e-5f : bytes.number<float>();
    set.floats["eps_2"] = bytes.chance(250) ? 1e-5f : bytes.number<float>();
    const uint8_t broken = bytes.byte();
    if (broken == 1) offsets[bytes.byte() % offsets.size()] = bytes.nasty();
    if (broken == 2) offsets[bytes.byte() % offsets.size()] += 64 * (static_cast<int64_t>(bytes.byte()) - 128);
    if (broken == 3) parts.rows[bytes.byte() % parts.rows.size()] = bytes.nasty();
    if (broken == 4) parts.rows[bytes.byte() % parts.rows.size()] += bytes.byte() - 128;
    if (broken == 5) parts.bytes = bytes.size(parts.bytes);
    if (broken == 6) parts.rows.push_back(bytes.nasty());
    if (broken == 7) offsets.pop_back();
    if (broken == 8) set.lists["next_output_sizes"] = {};
    set.lists["offsets"] = offsets;
    set.lists["packed_rows"] = parts.rows;

    std::vector<uint8_t> packed(parts.bytes);
    bytes.fill(packed.data(), packed.size());
    const ov::Tensor weight(ov::element::u8, ov::Shape{parts.bytes}, packed.data());
    const auto float_type = [&] { return bytes.chance(200) ? ov::element::f32 : ov::element::f16; };
    const ov::element::Type x_type = float_type(), h_type = float_type();
    const auto parameter = [](ov::element::Type type) {
        return std::make_shared<ov::op::v0::Parameter>(type, ov::PartialShape::dynamic());
    };
    auto op = std::make_shared<SparseBlock>();
    op->set_arguments(ov::OutputVector{parameter(x_type), parameter(h_type), std::make_shared<ov::op::v0::Constant>(weight)});
    op->visit_attributes(set);
    op->validate_and_infer_types();
    ov::Shape shape = {bytes.chance(20) ? 0 : 1 + bytes.byte() % 20u, k + (bytes.chance(5) ? 1u : 0u)};
    if (bytes.chance(128)) shape.insert(shape.begin(), 1 + bytes.byte() % 3u);
    ov::Tensor x(x_type, shape);
    shape.back() = h + (bytes.chance(5) ? 1u : 0u);
    if (bytes.chance(5)) shape.front() += 1;
    ov::Tensor residual(h_type, shape);
    for (ov::Tensor* tensor : {&x, &residual}) bytes.fill(static_cast<uint8_t*>(tensor->data()), tensor->get_byte_size());
    const auto node = bytes.chance(128) ? op->clone_with_new_inputs(op->input_values()) : op;
    ov::TensorVector results;
    for (size_t i = 0; i < node->get_output_size(); ++i)
        results.emplace_back(bytes.chance(250) ? i == 0 ? h_type : x_type : ov::element::i32, ov::Shape{0});
    node->evaluate(results, {x, residual, weight});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        fuzz(Bytes(data, size));
    } catch (const ov::Exception&) {
    }
    return 0;
}
