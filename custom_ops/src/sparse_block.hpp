// scap_ov::SparseBlock as OpenVINO sees it: attributes, checks, shapes. Inputs and meaning: docs/packing.md. ADR 0061.
#pragma once
#include <array>
#include <memory>
#include <openvino/op/op.hpp>
#include <string>
#include <vector>

#include "block.hpp"
#include "contiguous.hpp"
#include "mapped_memory.hpp"
#include "op_version.hpp"
#include "site.hpp"

namespace scap_ov {

class SparseBlock : public ov::op::Op {
public:
    OPENVINO_OP("SparseBlock", "scap_ov");

    SparseBlock() = default;
    void validate_and_infer_types() override;
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
    bool visit_attributes(ov::AttributeVisitor& visitor) override;
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;

private:
    // What the constant holds, in the order of `offsets`; sites also in that of `packed_rows`.
    enum Part : size_t { kO, kUp, kDown, kNext, kSiteCount, kNorm1 = kSiteCount, kNorm2, kPartCount };

    struct Attributes {
        int64_t version = kVersionOfBlocks;
        std::string activation = "silu";     // of kActivationNames, but for clamped_swiglu
        float eps_1 = -1.0f, eps_2 = -1.0f;  // to be given
        std::vector<int64_t> offsets;        // bytes before each part in the constant, or -1
        std::vector<int64_t> packed_rows;    // rows of the packed constant of each site, or 0
        std::array<SiteAttributes, kSiteCount> sites;

        bool operator==(const Attributes& other) const;
        bool has_next() const { return !sites[kNext].output_sizes.empty(); }
    };

    // Found by the checks.
    struct Checked {
        size_t bytes = 0;  // of the constant
        size_t h = 0;
        Activation activation = Activation::silu;
        std::vector<Site> sites;  // `next` last, or not there
    };

    void check(const std::string& objection) const;
    std::shared_ptr<const Checked> check_constant(size_t bytes) const;
    void check_attributes(Checked& checked) const;
    Site check_site(Part part, size_t bytes) const;
    void check_sizes(Checked& checked) const;
    void check_norm(Part part, float eps, const Checked& checked) const;
    void check_input(size_t input, const char* name, size_t width) const;
    ov::PartialShape output_shape() const;
    void check_call(const ov::TensorVector& outputs, const ov::TensorVector& inputs) const;

    static std::shared_ptr<const Attributes> default_attributes();

    // As in SparseMatMul: the CPU plugin clones the op at every call.
    std::shared_ptr<const Attributes> attributes_ = default_attributes();
    std::shared_ptr<const Checked> checked_;  // null: nothing is known
    ContiguousConstant contiguous_;
    LargePages pages_;
};

}  // namespace scap_ov
