// Checks of SparseMatMul, made once per constant so that evaluate and the kernels need none, and the call itself.
#include "sparse_matmul.hpp"

#include <openvino/op/constant.hpp>
#include <tuple>

#include "dispatch.hpp"
#include "execute.hpp"
#include "formats/formats.hpp"
#include "op_version.hpp"
#include "row_policy.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

enum Input : size_t { kX, kPacked, kInputCount };
constexpr const char* kSectionNames[] = {"scale", "zero_point", "center", "threshold",      "compensation",
                                         "base",  "step",       "offset", "whole_threshold"};
constexpr size_t kSectionsOfPruning = 6;

// Asking a tensor for its strides makes them first, with a system call, and the CPU plugin brings a new one to every call: 1 of 9
// microseconds of a call. A row by itself lies in one piece.
bool is_contiguous(const ov::Tensor& tensor) {
    const ov::Shape& shape = tensor.get_shape();
    return tensor.get_size() == shape.back() || tensor.is_continuous();
}

}  // namespace

std::shared_ptr<const SparseMatMul::Attributes> SparseMatMul::default_attributes() {
    static const auto defaults = std::make_shared<const Attributes>();
    return defaults;
}

// Of what decides how the constant is read: all but `version` and `projection`.
bool SparseMatMul::Attributes::operator==(const Attributes& other) const {
    const auto all = [](const Attributes& a) {
        return std::tie(a.weight_type, a.group_size, a.scale_type, a.output_sizes, a.sections, a.rows, a.max_sparse_rows, a.ramp,
                        a.dynamic_quantization, a.planes, a.step_group, a.levels);
    };
    return all(*this) == all(other);
}

size_t SparseMatMul::section_bytes(Section section) const {
    return section < attributes_->sections.size() ? static_cast<size_t>(attributes_->sections[section]) : 0;
}

// Blocks of a section: one for each level where its values depend on the level.
size_t SparseMatMul::blocks(Section section) const {
    const bool of_level = (section >= kCenter && section <= kBase) || section == kWholeThreshold;
    return of_level ? attributes_->levels.count() : 1;
}

size_t SparseMatMul::block_bytes(Section section) const {
    return section_bytes(section) / blocks(section);
}

StoredAs SparseMatMul::stored() const {
    return {attributes_->weight_type, attributes_->group_size, attributes_->scale_type, attributes_->planes, attributes_->step_group};
}

void SparseMatMul::check(const std::string& objection) const {
    NODE_VALIDATION_CHECK(this, objection.empty(), objection);
}

void SparseMatMul::check_attributes(Checked& checked) const {
    const Attributes& a = *attributes_;
    NODE_VALIDATION_CHECK(this, a.rows == "decode" || a.rows == "all", "rows is '", a.rows, "'; give decode or all");
    NODE_VALIDATION_CHECK(this, a.max_sparse_rows >= 1, "max_sparse_rows is ", a.max_sparse_rows, "; give a number of at least 1");
    NODE_VALIDATION_CHECK(this, a.ramp == 0.0f || (a.ramp >= 0.01f && a.ramp <= 100.0f), "ramp is ", a.ramp, "; give 0, or 0.01 to 100");
    NODE_VALIDATION_CHECK(this, !a.output_sizes.empty() && a.output_sizes.size() <= kMaxOutputs, "output_sizes has ", a.output_sizes.size(),
                          " entries; give 1 to ", kMaxOutputs, ", one per layer");
    size_t outputs = 0;
    for (const int64_t size : a.output_sizes) {
        NODE_VALIDATION_CHECK(this, size > 0, "output_sizes holds ", size, "; a layer has at least one output channel");
        NODE_VALIDATION_CHECK(this, size <= kMaxSize, "output_sizes holds ", size, "; a layer has at most ", kMaxSize, " output channels");
        outputs += static_cast<size_t>(size);
    }
    NODE_VALIDATION_CHECK(this, outputs <= static_cast<size_t>(kMaxSize), "output_sizes sum up to ", outputs, "; at most ", kMaxSize,
                          " output channels fit into one op");
    check(checked.layout.read(stored(), ""));
    checked.layout.set_outputs(outputs);
    const size_t count = a.planes ? size_t{kSectionCount} : a.sections.size() == kSectionCount ? size_t{kSectionCount} : kSectionsOfPruning;
    NODE_VALIDATION_CHECK(this, a.sections.size() == count, "sections has ", a.sections.size(), " entries; give the bytes of ", count,
                          " sections");
    check(a.levels.objection());
    for (size_t i = 0; i < a.sections.size(); ++i)
        NODE_VALIDATION_CHECK(this, a.sections[i] >= 0 && a.sections[i] <= kMaxSectionBytes, "section ", kSectionNames[i], " has ",
                              a.sections[i], " bytes; give 0 to ", kMaxSectionBytes);
}

void SparseMatMul::check_packed(const ov::Shape& shape, Checked& checked) const {
    PackedLayout& layout = checked.layout;
    NODE_VALIDATION_CHECK(this, shape.size() == 2 && shape[1] == layout.row_bytes, "the packed constant has shape ", shape, "; ",
                          attributes_->weight_type, " weights of ", layout.n, " output channels take rows of ", layout.row_bytes, " bytes");
    const size_t behind = ceil_div(place_sections(attributes_->sections, checked.offset), layout.row_bytes);
    NODE_VALIDATION_CHECK(this, shape[0] > behind, "the packed constant has ", shape[0], " rows; its sections alone take ", behind);
    const size_t rows = shape[0] - behind;
    check(layout.set_rows(rows, stored(), "", "the packed constant"));
    for (size_t& offset : checked.offset) offset += rows * layout.row_bytes;
    const size_t added = layout.n * sizeof(float);
    const AllowedBytes allowed[kSectionCount] = {layout.scale_bytes(stored()),
                                                 layout.zero_point_bytes(stored()),
                                                 layout.threshold_bytes(),
                                                 layout.threshold_bytes(),
                                                 {0, added},
                                                 {0, added},
                                                 layout.step_bytes(stored()),
                                                 layout.step_bytes(stored()),
                                                 layout.whole_threshold_bytes(stored())};
    for (size_t i = 0; i < kSectionCount; ++i) {
        const Section section = static_cast<Section>(i);
        check(layout.check_section(kSectionNames[i], "", section_bytes(section), blocks(section), allowed[i]));
    }
    checked.packed = shape;
}

void SparseMatMul::validate_and_infer_types() {
    NODE_VALIDATION_CHECK(this, get_input_size() == kInputCount, "SparseMatMul takes 2 inputs (x, packed), got ", get_input_size());
    const ov::PartialShape& packed = get_input_partial_shape(kPacked);
    NODE_VALIDATION_CHECK(this, packed.is_static() && get_input_element_type(kPacked) == ov::element::u8, "packed is ",
                          get_input_element_type(kPacked), packed, "; it must be a u8 constant");
    if (const ov::Shape& shape = get_input_tensor(kPacked).get_shape(); !checked_ || checked_->packed != shape) {
        const auto checked = std::make_shared<Checked>();
        check_attributes(*checked);
        check_packed(shape, *checked);
        if (!attributes_->levels.levels.empty()) checked->reading = join_reading(attributes_->levels);
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
        NODE_VALIDATION_CHECK(this, shape.size() >= 1, "x is a scalar; it must have K = ", checked_->layout.k, " as its last dimension");
        NODE_VALIDATION_CHECK(this, shape[shape.size() - 1].compatible(static_cast<int64_t>(checked_->layout.k)), "x has shape ", shape,
                              "; its last dimension must be K = ", checked_->layout.k);
    }
    const std::vector<int64_t>& sizes = attributes_->output_sizes;
    set_output_size(sizes.size());
    for (size_t i = 0; i < sizes.size(); ++i) {
        if (ranked) shape[shape.size() - 1] = sizes[i];
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
        v.on_attribute("weight_type", a.weight_type);
        v.on_attribute("group_size", a.group_size);
        v.on_attribute("scale_type", a.scale_type);
        v.on_attribute("output_sizes", a.output_sizes);
        v.on_attribute("sections", a.sections);
        v.on_attribute("rows", a.rows);
        v.on_attribute("max_sparse_rows", a.max_sparse_rows);
        v.on_attribute("ramp", a.ramp);
        v.on_attribute("dynamic_quantization", a.dynamic_quantization);
        v.on_attribute("planes", a.planes);
        v.on_attribute("step_group", a.step_group);
        if (a.version >= kVersionOfLevels) a.levels.visit(v);
        if (a.version >= kVersionOfProjection) v.on_attribute("projection", a.projection);
    });
    // A visitor that only reads, as when a compiled model is exported while it runs, leaves alone what a call needs.
    if (!(a == *attributes_)) checked_ = {};
    if (!(a == *attributes_) || a.version != attributes_->version || a.projection != attributes_->projection)
        attributes_ = std::make_shared<const Attributes>(std::move(a));
    return true;
}

// The CPU plugin keeps to what was validated; who calls evaluate directly may not. Everything that the kernels rely on is looked at here.
void SparseMatMul::check_call(const ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    OPENVINO_ASSERT(checked_, "SparseMatMul has attributes that were not validated; call validate_and_infer_types first");
    OPENVINO_ASSERT(inputs.size() == kInputCount && outputs.size() == attributes_->output_sizes.size(),
                    "SparseMatMul takes 2 inputs (x, packed) and gives ", attributes_->output_sizes.size(), " outputs, got ", inputs.size(),
                    " and ", outputs.size());
    const ov::element::Type x_type = inputs[kX].get_element_type();
    OPENVINO_ASSERT(x_type == ov::element::f32 || x_type == ov::element::f16, "SparseMatMul got x of type ", x_type, "; give f32 or f16");
    const ov::Shape& x_shape = inputs[kX].get_shape();
    OPENVINO_ASSERT(!x_shape.empty() && x_shape.back() == checked_->layout.k, "SparseMatMul got x of shape ", x_shape,
                    "; its last dimension must be ", checked_->layout.k);
    OPENVINO_ASSERT(inputs[kPacked].get_element_type() == ov::element::u8 && inputs[kPacked].get_shape() == checked_->packed,
                    "SparseMatMul got a packed weight of ", inputs[kPacked].get_element_type(), inputs[kPacked].get_shape(),
                    "; it was validated with u8", checked_->packed);
    OPENVINO_ASSERT(is_contiguous(inputs[kX]), "SparseMatMul got an input that is not contiguous");
    if (const void* packed = inputs[kPacked].data(); contiguous_.load(std::memory_order_relaxed) != packed) {
        OPENVINO_ASSERT(inputs[kPacked].is_continuous(), "SparseMatMul got an input that is not contiguous");
        contiguous_.store(packed, std::memory_order_relaxed);
    }
    for (const ov::Tensor& tensor : outputs)
        OPENVINO_ASSERT(tensor.get_element_type() == x_type, "SparseMatMul got an output of type ", tensor.get_element_type(),
                        "; it must be that of x, ", x_type);
}

bool SparseMatMul::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    check_call(outputs, inputs);
    const Attributes& a = *attributes_;
    const ov::Shape& x_shape = inputs[kX].get_shape();
    SparseMatMulArgs args{};
    args.k = checked_->layout.k;
    args.m = 1;
    for (size_t i = 0; i + 1 < x_shape.size(); ++i) args.m *= x_shape[i];
    args.x = inputs[kX].data();
    args.x_is_f16 = inputs[kX].get_element_type() == ov::element::f16;
    size_t sizes[kMaxOutputs];
    void* pointers[kMaxOutputs];
    ov::Shape shape = x_shape;
    for (size_t i = 0; i < a.output_sizes.size(); ++i) {
        sizes[i] = static_cast<size_t>(a.output_sizes[i]);
        shape.back() = sizes[i];
        if (outputs[i].get_shape() != shape) outputs[i].set_shape(shape);
        OPENVINO_ASSERT(is_contiguous(outputs[i]), "SparseMatMul got an output that is not contiguous");
        pointers[i] = outputs[i].data();
    }
    args.outputs = pointers;
    args.output_sizes = sizes;
    args.output_count = a.output_sizes.size();

    const uint8_t* packed = inputs[kPacked].data<const uint8_t>();
    pages_.prefer(packed, inputs[kPacked].get_byte_size());
    const auto section = [&](Section i) { return section_bytes(i) ? packed + checked_->offset[i] : nullptr; };
    const size_t level = checked_->reading ? checked_->reading->level_of_step(static_cast<size_t>(a.levels.op)) : 0;
    const bool dense = checked_->reading && checked_->reading->value(level) == 0.0f;
    const auto floats = [&](Section i) {
        return reinterpret_cast<const float*>(section_bytes(i) ? section(i) + level * block_bytes(i) : nullptr);
    };
    args.format = checked_->layout.format;
    args.weight.data = packed;
    args.weight.row_bytes = checked_->layout.row_bytes;
    args.weight.scale = section(kScale);
    args.weight.scale_is_f16 = a.scale_type == "f16";
    args.weight.zero_point = section(kZeroPoint);
    args.weight.implicit_zero_point = checked_->layout.type->implicit_zero_point;
    args.weight.k = checked_->layout.k;
    args.weight.n = checked_->layout.n;
    args.weight.n_padded = checked_->layout.n_padded;
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
    args.positions = x_shape.size() == 3 ? x_shape[1] : 1;
    args.dynamic_quantization = a.dynamic_quantization;
    if (args.m <= kMaxGemvRows) Scratch::let_go_of_large();
    sparse_matmul(args, active_implementation());
    return true;
}

}  // namespace scap_ov
