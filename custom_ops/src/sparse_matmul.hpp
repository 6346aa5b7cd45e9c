// scap_ov::SparseMatMul as OpenVINO sees it: attributes, checks, shapes. Inputs and meaning: docs/packing.md.
#pragma once
#include <atomic>
#include <memory>
#include <openvino/op/op.hpp>
#include <string>
#include <vector>

#include "levels.hpp"
#include "mapped_memory.hpp"
#include "packed_layout.hpp"

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
    // What the packed constant holds behind the weight, in this order; bytes of each in `sections`.
    // Files of pruning alone end before the sections of planes.
    enum Section : size_t { kScale, kZeroPoint, kCenter, kThreshold, kCompensation, kBase, kStep, kOffset, kWholeThreshold, kSectionCount };

    struct Attributes {
        int64_t version = 1;             // see op_version.hpp
        std::string weight_type = "u8";  // a name of weight_type.hpp
        int64_t group_size = 0;
        std::string scale_type;  // f16, f32 or empty
        std::vector<int64_t> output_sizes;
        std::vector<int64_t> sections;
        std::string rows = "decode";  // decode, all
        int64_t max_sparse_rows = 4;
        float ramp = 0.0f;  // relative width of the ramp above the threshold; files that were written before it was there have none
        bool dynamic_quantization = true;
        int64_t planes = 0;  // 1: u8 and i8 in two planes of nibbles; files that were written before it was there have none
        int64_t step_group = 0;
        LevelAttributes levels;   // from version 2 on
        bool projection = false;  // from version 3 on: see sparse_projection.hpp

        bool operator==(const Attributes& other) const;
    };

    // Found by the checks.
    struct Checked {
        ov::Shape packed;  // shape of the constant
        PackedLayout layout;
        size_t offset[kSectionCount] = {};       // of each section in the constant
        std::shared_ptr<const Reading> reading;  // of a model with levels
    };

    void check_attributes(Checked& checked) const;
    StoredAs stored() const;
    void check(const std::string& objection) const;
    void check_packed(const ov::Shape& shape, Checked& checked) const;
    size_t section_bytes(Section section) const;
    size_t blocks(Section section) const;
    size_t block_bytes(Section section) const;
    void check_call(const ov::TensorVector& outputs, const ov::TensorVector& inputs) const;

    static std::shared_ptr<const Attributes> default_attributes();

    // The CPU plugin clones and validates the op at every call where shapes are dynamic: attributes, and what is known about the constant,
    // are shared with the clone and not checked again.
    std::shared_ptr<const Attributes> attributes_ = default_attributes();
    std::shared_ptr<const Checked> checked_;                // null: nothing is known
    mutable std::atomic<const void*> contiguous_{nullptr};  // where a constant without gaps was
    LargePages pages_;
};

}  // namespace scap_ov
