// Checks of a site, made once per constant so that calls and kernels need none.
#include "site.hpp"

#include <sstream>
#include <tuple>

#include "formats/formats.hpp"
#include "row_policy.hpp"

namespace scap_ov {
namespace {

constexpr const char* kSectionNames[] = {"scale", "zero_point", "center", "threshold",      "compensation",
                                         "base",  "step",       "offset", "whole_threshold"};
constexpr size_t kSectionsOfPruning = 6;

template <class... Parts>
std::string sentence(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
}

}  // namespace

// Of what decides how the constant is read.
bool SiteAttributes::operator==(const SiteAttributes& other) const {
    const auto all = [](const SiteAttributes& a) {
        return std::tie(a.weight_type, a.group_size, a.scale_type, a.output_sizes, a.sections, a.rows, a.max_sparse_rows, a.ramp,
                        a.dynamic_quantization, a.planes, a.step_group, a.levels);
    };
    return all(*this) == all(other);
}

void SiteAttributes::visit(ov::AttributeVisitor& v, const std::string& prefix, bool with_levels) {
    v.on_attribute(prefix + "weight_type", weight_type);
    v.on_attribute(prefix + "group_size", group_size);
    v.on_attribute(prefix + "scale_type", scale_type);
    v.on_attribute(prefix + "output_sizes", output_sizes);
    v.on_attribute(prefix + "sections", sections);
    v.on_attribute(prefix + "rows", rows);
    v.on_attribute(prefix + "max_sparse_rows", max_sparse_rows);
    v.on_attribute(prefix + "ramp", ramp);
    v.on_attribute(prefix + "dynamic_quantization", dynamic_quantization);
    v.on_attribute(prefix + "planes", planes);
    v.on_attribute(prefix + "step_group", step_group);
    if (with_levels) levels.visit(v, prefix);
}

size_t Site::section_bytes(Section section) const {
    return section < attributes_.sections.size() ? static_cast<size_t>(attributes_.sections[section]) : 0;
}

// Blocks of a section: one for each level where its values depend on the level.
size_t Site::blocks(Section section) const {
    const bool of_level = (section >= kCenter && section <= kBase) || section == kWholeThreshold;
    return of_level ? attributes_.levels.count() : 1;
}

size_t Site::block_bytes(Section section) const {
    return section_bytes(section) / blocks(section);
}

std::string Site::check_output_sizes() {
    const std::vector<int64_t>& sizes = attributes_.output_sizes;
    if (sizes.empty() || sizes.size() > kMaxOutputs)
        return sentence(prefix_, "output_sizes has ", sizes.size(), " entries; give 1 to ", kMaxOutputs, ", one per layer");
    size_t outputs = 0;
    for (const int64_t size : sizes) {
        if (size <= 0) return sentence(prefix_, "output_sizes holds ", size, "; a layer has at least one output channel");
        if (size > kMaxSize) return sentence(prefix_, "output_sizes holds ", size, "; a layer has at most ", kMaxSize, " output channels");
        outputs += static_cast<size_t>(size);
    }
    if (outputs > static_cast<size_t>(kMaxSize))
        return sentence(prefix_, "output_sizes sum up to ", outputs, "; at most ", kMaxSize, " output channels fit into one op");
    output_sizes_.assign(sizes.begin(), sizes.end());
    layout_.set_outputs(outputs);
    return "";
}

std::string Site::check_attributes() {
    const SiteAttributes& a = attributes_;
    if (a.rows != "decode" && a.rows != "all") return sentence(prefix_, "rows is '", a.rows, "'; give decode or all");
    if (a.max_sparse_rows < 1) return sentence(prefix_, "max_sparse_rows is ", a.max_sparse_rows, "; give a number of at least 1");
    if (a.ramp != 0.0f && !(a.ramp >= 0.01f && a.ramp <= 100.0f)) return sentence(prefix_, "ramp is ", a.ramp, "; give 0, or 0.01 to 100");
    if (std::string wrong = layout_.read(a.stored(), prefix_); !wrong.empty()) return wrong;
    if (std::string wrong = check_output_sizes(); !wrong.empty()) return wrong;
    const size_t count = a.planes || a.sections.size() == kSectionCount ? size_t{kSectionCount} : kSectionsOfPruning;
    if (a.sections.size() != count)
        return sentence(prefix_, "sections has ", a.sections.size(), " entries; give the bytes of ", count, " sections");
    if (const std::string wrong = a.levels.objection(); !wrong.empty()) return prefix_ + wrong;
    for (size_t i = 0; i < a.sections.size(); ++i)
        if (a.sections[i] < 0 || a.sections[i] > kMaxSectionBytes)
            return sentence("section ", prefix_, kSectionNames[i], " has ", a.sections[i], " bytes; give 0 to ", kMaxSectionBytes);
    return "";
}

std::string Site::check_packed(const ov::Shape& shape, const std::string& constant) {
    const StoredAs stored = attributes_.stored();
    if (shape.size() != 2 || shape[1] != layout_.row_bytes)
        return sentence(constant, " has shape ", shape, "; ", attributes_.weight_type, " weights of ", layout_.n,
                        " output channels take rows of ", layout_.row_bytes, " bytes");
    const size_t behind = ceil_div(place_sections(attributes_.sections, offset_), layout_.row_bytes);
    if (shape[0] <= behind) return sentence(constant, " has ", shape[0], " rows; its sections alone take ", behind);
    const size_t rows = shape[0] - behind;
    if (std::string wrong = layout_.set_rows(rows, stored, prefix_, constant); !wrong.empty()) return wrong;
    for (size_t& offset : offset_) offset += rows * layout_.row_bytes;
    const size_t added = layout_.n * sizeof(float);
    const AllowedBytes allowed[kSectionCount] = {layout_.scale_bytes(stored),
                                                 layout_.zero_point_bytes(stored),
                                                 layout_.threshold_bytes(),
                                                 layout_.threshold_bytes(),
                                                 {0, added},
                                                 {0, added},
                                                 layout_.step_bytes(stored),
                                                 layout_.step_bytes(stored),
                                                 layout_.whole_threshold_bytes(stored)};
    for (size_t i = 0; i < kSectionCount; ++i) {
        const Section section = static_cast<Section>(i);
        std::string wrong = layout_.check_section(prefix_ + kSectionNames[i], "", section_bytes(section), blocks(section), allowed[i]);
        if (!wrong.empty()) return wrong;
    }
    return "";
}

void Site::join_levels() {
    if (!attributes_.levels.levels.empty()) reading_ = join_reading(attributes_.levels);
}

SparseMatMulArgs Site::call(const uint8_t* packed) const {
    const SiteAttributes& a = attributes_;
    const auto section = [&](Section i) { return section_bytes(i) ? packed + offset_[i] : nullptr; };
    const size_t level = reading_ ? reading_->level_of_step(static_cast<size_t>(a.levels.op)) : 0;
    const bool dense = reading_ && reading_->value(level) == 0.0f;
    const auto floats = [&](Section i) {
        return reinterpret_cast<const float*>(section_bytes(i) ? section(i) + level * block_bytes(i) : nullptr);
    };
    SparseMatMulArgs args{};
    args.k = layout_.k;
    args.format = layout_.format;
    args.weight.data = packed;
    args.weight.row_bytes = layout_.row_bytes;
    args.weight.scale = section(kScale);
    args.weight.scale_is_f16 = a.scale_type == "f16";
    args.weight.zero_point = section(kZeroPoint);
    args.weight.implicit_zero_point = layout_.type->implicit_zero_point;
    args.weight.k = layout_.k;
    args.weight.n = layout_.n;
    args.weight.n_padded = layout_.n_padded;
    args.weight.group_size = static_cast<size_t>(a.group_size);
    args.weight.step = section(kStep);
    args.weight.offset = section(kOffset);
    args.weight.step_group = static_cast<size_t>(a.step_group);
    args.center = floats(kCenter);
    args.threshold = floats(kThreshold);
    args.center_per_channel = block_bytes(kCenter) > sizeof(float);
    args.threshold_per_channel = block_bytes(kThreshold) > sizeof(float);
    args.whole_threshold = floats(kWholeThreshold);
    args.whole_threshold_per_channel = block_bytes(kWholeThreshold) > sizeof(float);
    args.steepness = a.ramp > 0.0f ? 1.0f / a.ramp : 0.0f;
    args.compensation = floats(kCompensation);
    args.base = floats(kBase);
    args.all_rows = !dense && prunes_all_rows(a.rows);
    args.max_sparse_rows = dense ? 0 : static_cast<size_t>(a.max_sparse_rows);
    args.dynamic_quantization = a.dynamic_quantization;
    args.output_sizes = output_sizes_.data();
    args.output_count = output_sizes_.size();
    return args;
}

}  // namespace scap_ov
