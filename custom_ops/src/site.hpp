// A site, layers that share an input: SparseMatMul holds one, SparseBlock up to four. Its attributes, the checks of them, and its call.
#pragma once
#include <memory>
#include <openvino/core/attribute_visitor.hpp>
#include <openvino/core/shape.hpp>
#include <string>
#include <vector>

#include "execute.hpp"
#include "levels.hpp"
#include "packed_layout.hpp"

namespace scap_ov {

struct SiteAttributes {
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
    LevelAttributes levels;

    bool operator==(const SiteAttributes& other) const;
    StoredAs stored() const { return {weight_type, group_size, scale_type, planes, step_group}; }
    // `prefix` stands before the names of attributes: "up_".
    void visit(ov::AttributeVisitor& visitor, const std::string& prefix, bool with_levels);
};

// Attributes and a packed constant that fit each other. Each check gives what is wrong, or an empty string; none may follow one that
// failed, and nothing else is asked before all are done.
class Site {
public:
    explicit Site(const SiteAttributes& attributes, const std::string& prefix = "") : attributes_(attributes), prefix_(prefix) {}

    std::string check_attributes();
    size_t row_bytes() const { return layout_.row_bytes; }  // known from here on
    // shape [rows, row_bytes]; `constant`: what messages call it.
    std::string check_packed(const ov::Shape& shape, const std::string& constant);
    // As join_reading does. Throws std::invalid_argument.
    void join_levels();

    size_t k() const { return layout_.k; }
    const std::vector<size_t>& output_sizes() const { return output_sizes_; }
    // A call with the constant at `packed`, at the level of the step that runs: all but x, its rows and positions, and outputs.
    SparseMatMulArgs call(const uint8_t* packed) const;

private:
    // What the packed constant holds behind the weight, in this order; bytes of each in `sections`.
    // Files of pruning alone end before the sections of planes.
    enum Section : size_t { kScale, kZeroPoint, kCenter, kThreshold, kCompensation, kBase, kStep, kOffset, kWholeThreshold, kSectionCount };

    std::string check_output_sizes();
    size_t section_bytes(Section section) const;
    size_t blocks(Section section) const;
    size_t block_bytes(Section section) const;

    SiteAttributes attributes_;
    std::string prefix_;
    PackedLayout layout_;
    size_t offset_[kSectionCount] = {};  // of each section in the constant
    std::vector<size_t> output_sizes_;
    std::shared_ptr<const Reading> reading_;  // of a model with levels
};

}  // namespace scap_ov
