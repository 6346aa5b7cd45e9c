// scap_ov::SparseMatMul as OpenVINO sees it: attributes, checks, shapes. Inputs and meaning: docs/packing.md.
#pragma once
#include <openvino/op/op.hpp>
#include <string>
#include <vector>

#include "weight_type.hpp"

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

private:
    // What the packed constant holds behind the weight, in this order; bytes of each in sections_.
    enum Section : size_t { kScale, kZeroPoint, kCenter, kThreshold, kCompensation, kBase, kSectionCount };

    void check_attributes();
    void check_packed(const ov::Shape& shape);

    std::string weight_type_ = "u8";  // u4, i4, u8, i8, f16, bf16, f32
    int64_t group_size_ = 0;
    std::string scale_type_;  // f16, f32 or empty
    std::vector<int64_t> output_sizes_;
    std::vector<int64_t> sections_;
    std::string rows_ = "decode";  // decode, all
    int64_t max_sparse_rows_ = 4;
    float ramp_ = 0.0f;  // relative width of the ramp above the threshold; files that were written before it was there have none
    bool dynamic_quantization_ = true;

    // Found by the checks. The CPU plugin clones and validates the op at every call where shapes are dynamic: what is known
    // about the constant goes along with the clone and is not checked again.
    ov::Shape checked_;  // of the packed constant
    const WeightType* type_ = nullptr;
    size_t k_ = 0, n_ = 0, n_padded_ = 0;
    size_t offset_[kSectionCount] = {};
};

}  // namespace scap_ov
