#include "sparse_projection.hpp"

namespace scap_ov {

SparseProjection::SparseProjection(std::shared_ptr<SparseMatMul> op, const ov::OutputVector& inputs) : op_(std::move(op)) {
    set_arguments(inputs);
    constructor_validate_and_infer_types();
}

// Releases of OpenVINO differ in what as_type_ptr asks for, the C++ type or this; so both say MatMul.
const ov::DiscreteTypeInfo& SparseProjection::get_type_info() const {
    static const ov::DiscreteTypeInfo info = [] {
        const ov::DiscreteTypeInfo& own = SparseMatMul::get_type_info_static();
        ov::DiscreteTypeInfo made{own.name, own.version_id, &ov::op::v0::MatMul::get_type_info_static()};
        made.hash();
        return made;
    }();
    return info;
}

void SparseProjection::validate_and_infer_types() {
    const std::shared_ptr<SparseMatMul> plain = op_->with_inputs(input_values());
    op_->adopt_checks(*plain);
    set_output_size(plain->get_output_size());
    for (size_t i = 0; i < plain->get_output_size(); ++i)
        set_output_type(i, plain->get_output_element_type(i), plain->get_output_partial_shape(i));
}

std::shared_ptr<ov::Node> SparseProjection::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    check_new_args_count(this, inputs);
    return op_->with_inputs(inputs);
}

ov::OutputVector SparseMatMulExtension::create(const ov::OutputVector& inputs, ov::AttributeVisitor& visitor) const {
    const auto op = std::make_shared<SparseMatMul>();
    op->visit_attributes(visitor);
    if (op->is_projection()) return std::make_shared<SparseProjection>(op, inputs)->outputs();
    op->set_arguments(inputs);
    op->constructor_validate_and_infer_types();
    return op->outputs();
}

}  // namespace scap_ov
