// Checks of SparseMatMul, made once per constant so that evaluate and the kernels need none, and the call itself.
#include "sparse_matmul.hpp"

#include <openvino/op/constant.hpp>

#include "dispatch.hpp"
#include "op_version.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

enum Input : size_t { kX, kPacked, kInputCount };

}  // namespace

std::shared_ptr<const SparseMatMul::Attributes> SparseMatMul::default_attributes() {
    static const auto defaults = std::make_shared<const Attributes>();
    return defaults;
}

void SparseMatMul::check(const std::string& objection) const {
    NODE_VALIDATION_CHECK(this, objection.empty(), objection);
}

void SparseMatMul::validate_and_infer_types() {
    NODE_VALIDATION_CHECK(this, get_input_size() == kInputCount, "SparseMatMul takes 2 inputs (x, packed), got ", get_input_size());
    const ov::PartialShape& packed = get_input_partial_shape(kPacked);
    NODE_VALIDATION_CHECK(this, packed.is_static() && get_input_element_type(kPacked) == ov::element::u8, "packed is ",
                          get_input_element_type(kPacked), packed, "; it must be a u8 constant");
    if (const ov::Shape& shape = get_input_tensor(kPacked).get_shape(); !checked_ || checked_->packed != shape) {
        const auto checked = std::make_shared<Checked>(Checked{shape, Site(attributes_->site)});
        check(checked->site.check_attributes());
        check(checked->site.check_packed(shape, "the packed constant"));
        checked->site.join_levels();
        checked_ = checked;
        // Before a file is read: it comes in pages as large as was asked for.
        if (const auto constant = ov::as_type_ptr<const ov::op::v0::Constant>(get_input_node_shared_ptr(kPacked)))
            pages_.prefer(constant->get_data_ptr(), constant->get_byte_size());
    }
    const ov::element::Type x_type = get_input_element_type(kX);
    NODE_VALIDATION_CHECK(this, x_type == ov::element::f32 || x_type == ov::element::f16 || x_type.is_dynamic(), "x is ", x_type,
                          "; convert it to f32 or f16");
    ov::PartialShape shape = get_input_partial_shape(kX);
    const bool ranked = shape.rank().is_static();
    if (ranked) {
        NODE_VALIDATION_CHECK(this, shape.size() >= 1, "x is a scalar; it must have K = ", checked_->site.k(), " as its last dimension");
        NODE_VALIDATION_CHECK(this, shape[shape.size() - 1].compatible(static_cast<int64_t>(checked_->site.k())), "x has shape ", shape,
                              "; its last dimension must be K = ", checked_->site.k());
    }
    const std::vector<size_t>& sizes = checked_->site.output_sizes();
    set_output_size(sizes.size());
    for (size_t i = 0; i < sizes.size(); ++i) {
        if (ranked) shape[shape.size() - 1] = static_cast<int64_t>(sizes[i]);
        set_output_type(i, x_type, shape);
    }
}

std::shared_ptr<ov::Node> SparseMatMul::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    check_new_args_count(this, inputs);
    return with_inputs(inputs);
}

std::shared_ptr<SparseMatMul> SparseMatMul::with_inputs(const ov::OutputVector& inputs) const {
    auto copy = std::make_shared<SparseMatMul>();
    copy->attributes_ = attributes_;
    copy->checked_ = checked_;
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
}

bool SparseMatMul::visit_attributes(ov::AttributeVisitor& visitor) {
    Attributes a = *attributes_;
    visit_known(visitor, "SparseMatMul", a.version, [&](ov::AttributeVisitor& v) {
        v.on_attribute("version", a.version);
        a.site.visit(v, "", a.version >= kVersionOfLevels);
        if (a.version >= kVersionOfProjection) v.on_attribute("projection", a.projection);
    });
    // A visitor that only reads, as when a compiled model is exported while it runs, leaves alone what a call needs.
    const bool same = a.site == attributes_->site;
    if (!same) checked_ = {};
    if (!same || a.version != attributes_->version || a.projection != attributes_->projection)
        attributes_ = std::make_shared<const Attributes>(std::move(a));
    return true;
}

// The CPU plugin keeps to what was validated; who calls evaluate directly may not. Everything that the kernels rely on is looked at here.
void SparseMatMul::check_call(const ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    OPENVINO_ASSERT(checked_, "SparseMatMul has attributes that were not validated; call validate_and_infer_types first");
    OPENVINO_ASSERT(inputs.size() == kInputCount && outputs.size() == checked_->site.output_sizes().size(),
                    "SparseMatMul takes 2 inputs (x, packed) and gives ", checked_->site.output_sizes().size(), " outputs, got ",
                    inputs.size(), " and ", outputs.size());
    const ov::element::Type x_type = inputs[kX].get_element_type();
    OPENVINO_ASSERT(x_type == ov::element::f32 || x_type == ov::element::f16, "SparseMatMul got x of type ", x_type, "; give f32 or f16");
    const ov::Shape& x_shape = inputs[kX].get_shape();
    OPENVINO_ASSERT(!x_shape.empty() && x_shape.back() == checked_->site.k(), "SparseMatMul got x of shape ", x_shape,
                    "; its last dimension must be ", checked_->site.k());
    OPENVINO_ASSERT(inputs[kPacked].get_element_type() == ov::element::u8 && inputs[kPacked].get_shape() == checked_->packed,
                    "SparseMatMul got a packed weight of ", inputs[kPacked].get_element_type(), inputs[kPacked].get_shape(),
                    "; it was validated with u8", checked_->packed);
    OPENVINO_ASSERT(is_contiguous(inputs[kX]) && contiguous_.holds(inputs[kPacked]), "SparseMatMul got an input that is not contiguous");
    for (const ov::Tensor& tensor : outputs)
        OPENVINO_ASSERT(tensor.get_element_type() == x_type, "SparseMatMul got an output of type ", tensor.get_element_type(),
                        "; it must be that of x, ", x_type);
}

bool SparseMatMul::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    check_call(outputs, inputs);
    const uint8_t* packed = inputs[kPacked].data<const uint8_t>();
    pages_.prefer(packed, inputs[kPacked].get_byte_size());
    const ov::Shape& x_shape = inputs[kX].get_shape();
    SparseMatMulArgs args = checked_->site.call(packed);
    args.m = 1;
    for (size_t i = 0; i + 1 < x_shape.size(); ++i) args.m *= x_shape[i];
    args.x = inputs[kX].data();
    args.x_is_f16 = inputs[kX].get_element_type() == ov::element::f16;
    args.positions = x_shape.size() == 3 ? x_shape[1] : 1;
    void* pointers[kMaxOutputs];
    ov::Shape shape = x_shape;
    for (size_t i = 0; i < args.output_count; ++i) {
        shape.back() = args.output_sizes[i];
        if (outputs[i].get_shape() != shape) outputs[i].set_shape(shape);
        OPENVINO_ASSERT(is_contiguous(outputs[i]), "SparseMatMul got an output that is not contiguous");
        pointers[i] = outputs[i].data();
    }
    args.outputs = pointers;
    if (args.m <= kMaxGemvRows) Scratch::let_go_of_large();
    sparse_matmul(args, active_implementation());
    return true;
}

}  // namespace scap_ov
