// scap_ov::SparseMatMul as OpenVINO sees it: attributes, checks, shapes. Inputs and meaning: docs/packing.md.
#pragma once
#include <memory>
#include <openvino/op/op.hpp>
#include <string>

#include "contiguous.hpp"
#include "mapped_memory.hpp"
#include "site.hpp"

namespace scap_ov {

class SparseMatMul : public ov::op::Op {
public:
    OPENVINO_OP("SparseMatMul", "scap_ov");

    SparseMatMul() = default;
    void validate_and_infer_types() override;
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

    // An op of the same attributes, validated.
    std::shared_ptr<SparseMatMul> with_inputs(const ov::OutputVector& inputs) const;
    // Take over what the checks of such an op found.
    void adopt_checks(const SparseMatMul& validated) { checked_ = validated.checked_; }
    bool is_projection() const { return attributes_->projection; }

private:
    struct Attributes {
        int64_t version = 1;      // see op_version.hpp
        SiteAttributes site;      // levels from version 2 on
        bool projection = false;  // from version 3 on: see sparse_projection.hpp
    };

    // Found by the checks.
    struct Checked {
        ov::Shape packed;  // shape of the constant
        Site site;
    };

    void check(const std::string& objection) const;
    void check_call(const ov::TensorVector& outputs, const ov::TensorVector& inputs) const;

    static std::shared_ptr<const Attributes> default_attributes();

    // The CPU plugin clones and validates the op at every call where shapes are dynamic: attributes, and what is known about the constant,
    // are shared with the clone and not checked again.
    std::shared_ptr<const Attributes> attributes_ = default_attributes();
    std::shared_ptr<const Checked> checked_;  // null: nothing is known
    ContiguousConstant contiguous_;
    LargePages pages_;
};

}  // namespace scap_ov
