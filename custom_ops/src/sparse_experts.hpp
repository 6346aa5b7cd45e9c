// scap_ov::SparseExperts as OpenVINO sees it: attributes, checks, shapes. Inputs and meaning: docs/packing.md.
#pragma once
#include <openvino/op/op.hpp>
#include <string>
#include <vector>

#include "experts.hpp"
#include "levels.hpp"
#include "mapped_memory.hpp"
#include "packed_layout.hpp"

namespace scap_ov {

class SparseExperts : public ov::op::Op {
public:
    OPENVINO_OP("SparseExperts", "scap_ov");

    SparseExperts() = default;
    void validate_and_infer_types() override;
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

private:
    // Behind the weight of each expert, and behind the last expert; bytes of each in `sections` and `shared`.
    enum Section : size_t { kScale, kZeroPoint, kBase, kStep, kOffset, kSectionCount };
    enum Shared : size_t { kCenter, kThreshold, kBias, kWholeThreshold, kSharedCount };

    struct StageAttributes {
        std::string weight_type = "u8";  // a name of weight_type.hpp
        int64_t group_size = 0;
        std::string scale_type;  // f16, f32 or empty
        int64_t size = 0;        // output channels of an expert
        std::vector<int64_t> sections, shared;
        int64_t planes = 0;  // 1: u8 and i8 in two planes of nibbles
        int64_t step_group = 0;

        StoredAs stored() const;
        bool operator==(const StageAttributes& other) const;
    };
    struct Attributes {
        int64_t version = 1;  // see op_version.hpp
        int64_t experts = 1;
        StageAttributes up, down;
        std::string gate_up = "halves";   // halves, interleaved
        std::string activation = "silu";  // of kActivationNames
        float alpha = 1.0f, limit = 0.0f;
        std::string rows = "decode";  // decode, all
        int64_t max_sparse_rows = 4;
        bool dynamic_quantization = true;
        LevelAttributes levels;  // from version 2 on

        bool operator==(const Attributes& other) const;
    };
    // Found by the checks; goes along with a clone, as in SparseMatMul.
    struct CheckedStage {
        ov::Shape packed;
        PackedLayout layout;                 // of an expert
        size_t stride = 0;                   // bytes from one to the next
        size_t section[kSectionCount] = {};  // offset in an expert
        size_t shared[kSharedCount] = {};    // offset in the constant
    };
    struct Checked {
        CheckedStage up, down;
        Activation activation = Activation::silu;
        std::shared_ptr<const Reading> reading;  // of a model with levels
    };

    void visit_stage(ov::AttributeVisitor& visitor, const std::string& name, StageAttributes& stage);
    void check_attributes(Checked& checked) const;
    void check(const std::string& objection) const;
    CheckedStage check_stage(const std::string& name, const StageAttributes& stage, const ov::Shape& shape) const;
    void check_call(const ov::TensorVector& outputs, const ov::TensorVector& inputs) const;
    ExpertStage stage_of(const StageAttributes& attributes, const CheckedStage& checked, const uint8_t* packed, size_t level) const;

    Attributes attributes_;
    Checked checked_;
    LargePages up_pages_, down_pages_;
};

}  // namespace scap_ov
