// libFuzzer: attributes, shapes and bytes of any kind for scap_ov::SparseMatMul. Whatever its checks let through is computed, on every
// implementation of this CPU in turn (SCAP_OV_ISA), under AddressSanitizer; what they refuse, they refuse with an exception.
#include <openvino/core/except.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/parameter.hpp>

#include "bytes.hpp"
#include "fuzz_site.hpp"
#include "setter.hpp"
#include "sparse_matmul.hpp"

namespace {

void fuzz(Bytes bytes) {
    using namespace scap_ov;
    Setter set;
    const PackedSite site = fuzz_site(bytes, set, "", 0, {});

    // exactly as large as it says, so that a read past its end is seen
    std::vector<uint8_t> packed(site.height * site.width);
    bytes.fill(packed.data(), packed.size());
    const ov::Tensor weight(ov::element::u8, ov::Shape{site.height, site.width}, packed.data());
    const auto x_type = bytes.chance(128) ? ov::element::f32 : ov::element::f16;
    ov::Shape shape = {bytes.chance(20) ? 0 : 1 + bytes.byte() % 20u, site.k + (bytes.chance(5) ? 1u : 0u)};
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
