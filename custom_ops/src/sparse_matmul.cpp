// Checks of SparseMatMul, made once per constant so that evaluate and the kernels need none, and the call itself.
#include "sparse_matmul.hpp"

#include <tuple>

#include "dispatch.hpp"
#include "execute.hpp"
#include "formats/formats.hpp"
#include "op_version.hpp"
#include "row_policy.hpp"

namespace scap_ov {
namespace {

enum Input : size_t { kX, kPacked, kInputCount };
constexpr const char* kSectionNames[] = {"scale", "zero_point", "center", "threshold",      "compensation",
                                         "base",  "step",       "offset", "whole_threshold"};
constexpr size_t kSectionStep = 64;
constexpr size_t kSectionsOfPruning = 6;
// Output channels, input channels and groups are below this, so that no product of two of them and an element size wraps around.
constexpr int64_t kMaxSize = int64_t{1} << 30;
constexpr int64_t kMaxSectionBytes = int64_t{1} << 40;

}  // namespace

bool SparseMatMul::Attributes::operator==(const Attributes& other) const {
    const auto all = [](const Attributes& a) {
        return std::tie(a.weight_type, a.group_size, a.scale_type, a.output_sizes, a.sections, a.rows, a.max_sparse_rows, a.ramp,
                        a.dynamic_quantization, a.planes, a.step_group, a.version, a.levels);
    };
    return all(*this) == all(other);
}

size_t SparseMatMul::section_bytes(Section section) const {
    return section < attributes_.sections.size() ? static_cast<size_t>(attributes_.sections[section]) : 0;
}

// Blocks of a section: one for each level where its values depend on the level.
size_t SparseMatMul::blocks(Section section) const {
    const bool of_level = (section >= kCenter && section <= kBase) || section == kWholeThreshold;
    return of_level ? attributes_.levels.count() : 1;
}

size_t SparseMatMul::block_bytes(Section section) const {
    return section_bytes(section) / blocks(section);
}

// One format, or the packing of u8 and i8 in planes.
void SparseMatMul::check_planes(Checked& checked) const {
    const Attributes& a = attributes_;
    NODE_VALIDATION_CHECK(this, a.planes == 0 || a.planes == 1, "planes is ", a.planes, "; give 0, or 1 for two planes of nibbles");
    checked.format = checked.type->format;
    const size_t count = a.planes ? size_t{kSectionCount} : a.sections.size() == kSectionCount ? size_t{kSectionCount} : kSectionsOfPruning;
    NODE_VALIDATION_CHECK(this, a.sections.size() == count, "sections has ", a.sections.size(), " entries; give the bytes of ", count,
                          " sections");
    if (!a.planes) return;
    NODE_VALIDATION_CHECK(this, checked.format == WeightFormat::u8, "planes is 1 with ", a.weight_type,
                          " weights; only u8 and i8 have planes");
    checked.format = WeightFormat::planes;
    NODE_VALIDATION_CHECK(this, a.step_group >= 1 && a.step_group <= kMaxSize, "step_group is ", a.step_group,
                          "; give the input channels per step");
}

void SparseMatMul::check_attributes(Checked& checked) const {
    const Attributes& a = attributes_;
    checked.type = find_weight_type(a.weight_type);
    NODE_VALIDATION_CHECK(this, checked.type, "weight_type is '", a.weight_type, "'; give one of ", weight_type_names());
    NODE_VALIDATION_CHECK(this, a.rows == "decode" || a.rows == "all", "rows is '", a.rows, "'; give decode or all");
    NODE_VALIDATION_CHECK(this, a.max_sparse_rows >= 1, "max_sparse_rows is ", a.max_sparse_rows, "; give a number of at least 1");
    NODE_VALIDATION_CHECK(this, a.ramp == 0.0f || (a.ramp >= 0.01f && a.ramp <= 100.0f), "ramp is ", a.ramp, "; give 0, or 0.01 to 100");
    NODE_VALIDATION_CHECK(this, !a.output_sizes.empty() && a.output_sizes.size() <= kMaxOutputs, "output_sizes has ", a.output_sizes.size(),
                          " entries; give 1 to ", kMaxOutputs, ", one per layer");
    for (const int64_t size : a.output_sizes) {
        NODE_VALIDATION_CHECK(this, size > 0, "output_sizes holds ", size, "; a layer has at least one output channel");
        NODE_VALIDATION_CHECK(this, size <= kMaxSize, "output_sizes holds ", size, "; a layer has at most ", kMaxSize, " output channels");
        checked.n += static_cast<size_t>(size);
    }
    NODE_VALIDATION_CHECK(this, checked.n <= static_cast<size_t>(kMaxSize), "output_sizes sum up to ", checked.n, "; at most ", kMaxSize,
                          " output channels fit into one op");
    check_planes(checked);
    const std::string objection = a.levels.objection();
    NODE_VALIDATION_CHECK(this, objection.empty(), objection);
    for (size_t i = 0; i < a.sections.size(); ++i)
        NODE_VALIDATION_CHECK(this, a.sections[i] >= 0 && a.sections[i] <= kMaxSectionBytes, "section ", kSectionNames[i], " has ",
                              a.sections[i], " bytes; give 0 to ", kMaxSectionBytes);
    if (!is_integer(checked.format)) return;
    NODE_VALIDATION_CHECK(this, a.group_size >= 1, "group_size is ", a.group_size,
                          "; give the input channels per scale, K for per-channel");
    NODE_VALIDATION_CHECK(this, a.scale_type == "f16" || a.scale_type == "f32", "scale_type is '", a.scale_type, "'; give f16 or f32");
}

void SparseMatMul::check_packed(const ov::Shape& shape, Checked& checked) const {
    const Attributes& a = attributes_;
    checked.n_padded = round_up(checked.n, kColumnBlock);
    checked.row_bytes = packed_row_bytes(checked.format, checked.n_padded);
    NODE_VALIDATION_CHECK(this, shape.size() == 2 && shape[1] == checked.row_bytes, "the packed constant has shape ", shape, "; ",
                          a.weight_type, " weights of ", checked.n, " output channels take rows of ", checked.row_bytes, " bytes");
    size_t bytes = 0;
    for (size_t i = 0; i < kSectionCount; ++i) {
        checked.offset[i] = bytes;
        bytes += round_up(section_bytes(static_cast<Section>(i)), kSectionStep);
    }
    const size_t behind = ceil_div(bytes, checked.row_bytes);
    NODE_VALIDATION_CHECK(this, shape[0] > behind, "the packed constant has ", shape[0], " rows; its sections alone take ", behind);
    const size_t rows = shape[0] - behind, per_channel = rows_per_channel(checked.format);
    NODE_VALIDATION_CHECK(this, rows % per_channel == 0, "the packed constant has ", rows,
                          " rows of weights; two planes have as many rows");
    checked.k = rows / per_channel;
    NODE_VALIDATION_CHECK(this, checked.k <= static_cast<size_t>(kMaxSize), "the packed constant has ", checked.k,
                          " rows of weights; at most ", kMaxSize, " input channels fit into one op");
    for (size_t& offset : checked.offset) offset += rows * checked.row_bytes;

    size_t scale_bytes = 0, zero_points = 0, steps = 0;
    if (is_integer(checked.format)) {
        zero_points = ceil_div(checked.k, static_cast<size_t>(a.group_size)) * checked.n_padded;
        scale_bytes = zero_points * (a.scale_type == "f16" ? 2 : 4);
    }
    if (a.planes) {
        const bool inside = static_cast<size_t>(a.group_size) >= checked.k || a.group_size % a.step_group == 0;
        NODE_VALIDATION_CHECK(this, inside, "step_group is ", a.step_group, "; it must divide group_size, ", a.group_size);
        steps = ceil_div(checked.k, static_cast<size_t>(a.step_group)) * checked.n_padded;
    }
    const size_t whole = a.planes ? sizeof(float) : 0;
    const size_t one = sizeof(float), k = checked.k, n = checked.n;
    const size_t allowed[kSectionCount][2] = {{scale_bytes, scale_bytes},
                                              {0, zero_points},
                                              {one, k * one},
                                              {one, k * one},
                                              {0, n * one},
                                              {0, n * one},
                                              {steps, steps},
                                              {steps, steps},
                                              {0, whole}};
    for (size_t i = 0; i < kSectionCount; ++i) {
        const Section section = static_cast<Section>(i);
        const size_t got = block_bytes(section), levels = blocks(section);
        NODE_VALIDATION_CHECK(this, section_bytes(section) == got * levels, "section ", kSectionNames[i], " has ", section_bytes(section),
                              " bytes, which are not those of ", levels, " levels");
        const bool per_channel_whole = i == kWholeThreshold && got == k * whole;
        NODE_VALIDATION_CHECK(this, got == allowed[i][0] || got == allowed[i][1] || per_channel_whole, "section ", kSectionNames[i],
                              " has ", got, " bytes; with K = ", k, " and N = ", n, " it must have ", allowed[i][0], " or ", allowed[i][1]);
    }
    checked.packed = shape;
}

void SparseMatMul::validate_and_infer_types() {
    NODE_VALIDATION_CHECK(this, get_input_size() == kInputCount, "SparseMatMul takes 2 inputs (x, packed), got ", get_input_size());
    const ov::PartialShape& packed = get_input_partial_shape(kPacked);
    NODE_VALIDATION_CHECK(this, packed.is_static() && get_input_element_type(kPacked) == ov::element::u8, "packed is ",
                          get_input_element_type(kPacked), packed, "; it must be a u8 constant");
    if (const ov::Shape& shape = get_input_tensor(kPacked).get_shape(); checked_.packed != shape || checked_.packed.empty()) {
        Checked checked;
        check_attributes(checked);
        check_packed(shape, checked);
        if (!attributes_.levels.levels.empty()) checked.reading = join_reading(attributes_.levels);
        checked_ = checked;
    }
    const ov::element::Type x_type = get_input_element_type(kX);
    NODE_VALIDATION_CHECK(this, x_type == ov::element::f32 || x_type == ov::element::f16 || x_type.is_dynamic(), "x is ", x_type,
                          "; convert it to f32 or f16");
    ov::PartialShape shape = get_input_partial_shape(kX);
    const bool ranked = shape.rank().is_static();
    if (ranked) {
        NODE_VALIDATION_CHECK(this, shape.size() >= 1, "x is a scalar; it must have K = ", checked_.k, " as its last dimension");
        NODE_VALIDATION_CHECK(this, shape[shape.size() - 1].compatible(static_cast<int64_t>(checked_.k)), "x has shape ", shape,
                              "; its last dimension must be K = ", checked_.k);
    }
    const std::vector<int64_t>& sizes = attributes_.output_sizes;
    set_output_size(sizes.size());
    for (size_t i = 0; i < sizes.size(); ++i) {
        if (ranked) shape[shape.size() - 1] = sizes[i];
        set_output_type(i, x_type, shape);
    }
}

std::shared_ptr<ov::Node> SparseMatMul::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    check_new_args_count(this, inputs);
    auto copy = std::make_shared<SparseMatMul>();
    copy->attributes_ = attributes_;
    copy->checked_ = checked_;
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
}

bool SparseMatMul::visit_attributes(ov::AttributeVisitor& visitor) {
    const Attributes before = attributes_;
    Attributes& a = attributes_;
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
    });
    // A visitor that only reads, as when a compiled model is exported while it runs, leaves alone what a call needs.
    if (!(attributes_ == before)) checked_ = {};
    return true;
}

// The CPU plugin keeps to what was validated; who calls evaluate directly may not. Everything that the kernels rely on is looked at here.
void SparseMatMul::check_call(const ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    OPENVINO_ASSERT(!checked_.packed.empty(), "SparseMatMul has attributes that were not validated; call validate_and_infer_types first");
    OPENVINO_ASSERT(inputs.size() == kInputCount && outputs.size() == attributes_.output_sizes.size(),
                    "SparseMatMul takes 2 inputs (x, packed) and gives ", attributes_.output_sizes.size(), " outputs, got ", inputs.size(),
                    " and ", outputs.size());
    const ov::element::Type x_type = inputs[kX].get_element_type();
    OPENVINO_ASSERT(x_type == ov::element::f32 || x_type == ov::element::f16, "SparseMatMul got x of type ", x_type, "; give f32 or f16");
    const ov::Shape x_shape = inputs[kX].get_shape();
    OPENVINO_ASSERT(!x_shape.empty() && x_shape.back() == checked_.k, "SparseMatMul got x of shape ", x_shape,
                    "; its last dimension must be ", checked_.k);
    OPENVINO_ASSERT(inputs[kPacked].get_element_type() == ov::element::u8 && inputs[kPacked].get_shape() == checked_.packed,
                    "SparseMatMul got a packed weight of ", inputs[kPacked].get_element_type(), inputs[kPacked].get_shape(),
                    "; it was validated with u8", checked_.packed);
    for (const ov::Tensor& tensor : inputs) OPENVINO_ASSERT(tensor.is_continuous(), "SparseMatMul got an input that is not contiguous");
    for (const ov::Tensor& tensor : outputs)
        OPENVINO_ASSERT(tensor.get_element_type() == x_type, "SparseMatMul got an output of type ", tensor.get_element_type(),
                        "; it must be that of x, ", x_type);
}

bool SparseMatMul::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    check_call(outputs, inputs);
    const Attributes& a = attributes_;
    const ov::Shape x_shape = inputs[kX].get_shape();
    SparseMatMulArgs args{};
    args.k = checked_.k;
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
        outputs[i].set_shape(shape);
        OPENVINO_ASSERT(outputs[i].is_continuous(), "SparseMatMul got an output that is not contiguous");
        pointers[i] = outputs[i].data();
    }
    args.outputs = pointers;
    args.output_sizes = sizes;
    args.output_count = a.output_sizes.size();

    const uint8_t* packed = inputs[kPacked].data<const uint8_t>();
    pages_.prefer(packed, inputs[kPacked].get_byte_size());
    const auto section = [&](Section i) { return section_bytes(i) ? packed + checked_.offset[i] : nullptr; };
    const size_t level = checked_.reading ? checked_.reading->level_of_step(static_cast<size_t>(a.levels.op)) : 0;
    const bool dense = checked_.reading && checked_.reading->value(level) == 0.0f;
    const auto floats = [&](Section i) {
        return reinterpret_cast<const float*>(section_bytes(i) ? section(i) + level * block_bytes(i) : nullptr);
    };
    args.format = checked_.format;
    args.weight.data = packed;
    args.weight.row_bytes = checked_.row_bytes;
    args.weight.scale = section(kScale);
    args.weight.scale_is_f16 = a.scale_type == "f16";
    args.weight.zero_point = section(kZeroPoint);
    args.weight.implicit_zero_point = checked_.type->implicit_zero_point;
    args.weight.k = checked_.k;
    args.weight.n = checked_.n;
    args.weight.n_padded = checked_.n_padded;
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
    sparse_matmul(args, active_implementation());
    return true;
}

}  // namespace scap_ov
