// The output projection of a model as it was read from a file.
//
// openvino-genai computes logits of those tokens alone that it samples from: before it compiles a model, it slices (or gathers) the rows
// that the last MatMul reads, and it finds that by its C++ type. So a SparseMatMul with the attribute `projection` is read as a node that
// is a MatMul to C++. Whatever copies it, as a plugin does before it transforms a model, gets a plain SparseMatMul. ADR 0042.
#pragma once
#include <openvino/core/op_extension.hpp>
#include <openvino/op/matmul.hpp>

#include "sparse_matmul.hpp"

namespace scap_ov {

class SparseProjection : public ov::op::v0::MatMul {
public:
    // `op` has attributes and no inputs.
    SparseProjection(std::shared_ptr<SparseMatMul> op, const ov::OutputVector& inputs);

    const ov::DiscreteTypeInfo& get_type_info() const override;  // the name of SparseMatMul
    void validate_and_infer_types() override;
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override { return op_->visit_attributes(visitor); }
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override { return op_->evaluate(outputs, inputs); }

private:
    std::shared_ptr<SparseMatMul> op_;
};

// Reads SparseMatMul, a projection as a SparseProjection.
class SparseMatMulExtension : public ov::OpExtension<SparseMatMul> {
public:
    ov::OutputVector create(const ov::OutputVector& inputs, ov::AttributeVisitor& visitor) const override;
};

}  // namespace scap_ov
