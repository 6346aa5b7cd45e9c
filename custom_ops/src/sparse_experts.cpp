// Checks of SparseExperts, made once per constant so that evaluate and the kernels need none, and the call itself.
#include "sparse_experts.hpp"

#include <numeric>
#include <tuple>

#include "activation.hpp"
#include "dispatch.hpp"
#include "formats/formats.hpp"
#include "op_version.hpp"
#include "row_policy.hpp"

namespace scap_ov {
namespace {

enum Input : size_t { kX, kIds, kRouting, kUp, kDown, kInputCount };
constexpr const char* kSectionNames[] = {"scale", "zero_point", "base", "step", "offset"};
constexpr const char* kSharedNames[] = {"center", "threshold", "bias", "whole_threshold"};
constexpr int64_t kMaxExperts = int64_t{1} << 20;

std::string activation_names() {
    std::string names;
    for (const char* name : kActivationNames) names += (names.empty() ? "" : ", ") + std::string(name);
    return names;
}

size_t elements(const ov::Shape& shape, size_t dimensions) {
    return std::accumulate(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(dimensions), size_t{1}, std::multiplies<>());
}

}  // namespace

bool SparseExperts::StageAttributes::operator==(const StageAttributes& o) const {
    const auto all = [](const StageAttributes& s) {
        return std::tie(s.weight_type, s.group_size, s.scale_type, s.size, s.sections, s.shared, s.planes, s.step_group);
    };
    return all(*this) == all(o);
}

bool SparseExperts::Attributes::operator==(const Attributes& o) const {
    const auto all = [](const Attributes& a) {
        return std::tie(a.experts, a.up, a.down, a.gate_up, a.activation, a.alpha, a.limit, a.rows, a.max_sparse_rows,
                        a.dynamic_quantization, a.version, a.levels);
    };
    return all(*this) == all(o);
}

void SparseExperts::check_attributes(Checked& checked) const {
    const Attributes& a = attributes_;
    NODE_VALIDATION_CHECK(this, a.experts >= 1 && a.experts <= kMaxExperts, "experts is ", a.experts, "; give 1 to ", kMaxExperts);
    NODE_VALIDATION_CHECK(this, a.gate_up == "halves" || a.gate_up == "interleaved", "gate_up is '", a.gate_up,
                          "'; give halves or interleaved");
    NODE_VALIDATION_CHECK(this, find_activation(a.activation) >= 0, "activation is '", a.activation, "'; give one of ", activation_names());
    checked.activation = static_cast<Activation>(find_activation(a.activation));
    NODE_VALIDATION_CHECK(this, checked.activation != Activation::clamped_swiglu || a.limit > 0.0f, "limit is ", a.limit,
                          "; clamped_swiglu needs one above 0");
    NODE_VALIDATION_CHECK(this, a.rows == "decode" || a.rows == "all", "rows is '", a.rows, "'; give decode or all");
    NODE_VALIDATION_CHECK(this, a.max_sparse_rows >= 1, "max_sparse_rows is ", a.max_sparse_rows, "; give a number of at least 1");
    check(a.levels.objection());
}

StoredAs SparseExperts::StageAttributes::stored() const {
    return {weight_type, group_size, scale_type, planes, step_group};
}

void SparseExperts::check(const std::string& objection) const {
    NODE_VALIDATION_CHECK(this, objection.empty(), objection);
}

SparseExperts::CheckedStage SparseExperts::check_stage(const std::string& name, const StageAttributes& a, const ov::Shape& shape) const {
    CheckedStage checked;
    PackedLayout& layout = checked.layout;
    check(layout.read(a.stored(), name + "_"));
    NODE_VALIDATION_CHECK(this, a.size >= 1 && a.size <= kMaxSize, name, "_size is ", a.size, "; give 1 to ", kMaxSize);
    layout.set_outputs(static_cast<size_t>(a.size));
    NODE_VALIDATION_CHECK(this, a.sections.size() == kSectionCount && a.shared.size() == kSharedCount, name, "_sections and ", name,
                          "_shared have ", a.sections.size(), " and ", a.shared.size(), " entries; give the bytes of ",
                          size_t{kSectionCount}, " and ", size_t{kSharedCount}, " sections");
    for (const auto* sizes : {&a.sections, &a.shared})
        for (const int64_t bytes : *sizes)
            NODE_VALIDATION_CHECK(this, bytes >= 0 && bytes <= kMaxSectionBytes, "a section of ", name, " has ", bytes,
                                  " bytes; give 0 to ", kMaxSectionBytes);
    NODE_VALIDATION_CHECK(this, shape.size() == 2 && shape[1] == layout.row_bytes, name, " has shape ", shape, "; ", a.weight_type,
                          " weights of ", layout.n, " output channels take rows of ", layout.row_bytes, " bytes");
    const size_t experts = static_cast<size_t>(attributes_.experts);
    const size_t behind = ceil_div(place_sections(a.sections, checked.section), layout.row_bytes);
    const size_t tail = ceil_div(place_sections(a.shared, checked.shared), layout.row_bytes);
    NODE_VALIDATION_CHECK(this, shape[0] > tail && (shape[0] - tail) % experts == 0 && (shape[0] - tail) / experts > behind, name, " has ",
                          shape[0], " rows; ", tail, " of shared sections and ", experts, " times ", behind,
                          " of an expert's sections leave none of weights, or not the same for every expert");
    const size_t height = (shape[0] - tail) / experts, rows = height - behind;
    check(layout.set_rows(rows, a.stored(), name + "_", name));
    checked.stride = height * layout.row_bytes;
    for (size_t& offset : checked.section) offset += rows * layout.row_bytes;
    for (size_t& offset : checked.shared) offset += experts * checked.stride;

    const size_t added = layout.n * sizeof(float), levels = attributes_.levels.count();
    const AllowedBytes sections[kSectionCount] = {layout.scale_bytes(a.stored()),
                                                  layout.zero_point_bytes(a.stored()),
                                                  {0, added},
                                                  layout.step_bytes(a.stored()),
                                                  layout.step_bytes(a.stored())};
    const AllowedBytes shared[kSharedCount] = {
        layout.threshold_bytes(), layout.threshold_bytes(), {0, experts * added}, layout.whole_threshold_bytes(a.stored())};
    for (size_t i = 0; i < kSectionCount; ++i)
        check(layout.check_section(kSectionNames[i], " of " + name, static_cast<size_t>(a.sections[i]), i == kBase ? levels : 1,
                                   sections[i]));
    for (size_t i = 0; i < kSharedCount; ++i)
        check(layout.check_section(kSharedNames[i], " of " + name, static_cast<size_t>(a.shared[i]), i == kBias ? 1 : levels, shared[i]));
    checked.packed = shape;
    return checked;
}

void SparseExperts::validate_and_infer_types() {
    NODE_VALIDATION_CHECK(this, get_input_size() == kInputCount, "SparseExperts takes 5 inputs (x, ids, routing, up, down), got ",
                          get_input_size());
    for (const Input i : {kUp, kDown})
        NODE_VALIDATION_CHECK(this, get_input_partial_shape(i).is_static() && get_input_element_type(i) == ov::element::u8, "input ",
                              size_t{i}, " is ", get_input_element_type(i), get_input_partial_shape(i), "; it must be a u8 constant");
    const ov::Shape up = get_input_shape(kUp), down = get_input_shape(kDown);
    if (checked_.up.packed != up || checked_.down.packed != down || up.empty()) {
        Checked checked;
        check_attributes(checked);
        checked.up = check_stage("up", attributes_.up, up);
        checked.down = check_stage("down", attributes_.down, down);
        if (!attributes_.levels.levels.empty()) checked.reading = join_reading(attributes_.levels);
        NODE_VALIDATION_CHECK(this, checked.up.layout.n == 2 * checked.down.layout.k, "up gives ", checked.up.layout.n,
                              " channels and down takes ", checked.down.layout.k, "; up must give gate and up, twice as many");
        checked_ = checked;
    }
    const ov::element::Type x_type = get_input_element_type(kX), id_type = get_input_element_type(kIds);
    NODE_VALIDATION_CHECK(this, x_type == ov::element::f32 || x_type == ov::element::f16 || x_type.is_dynamic(), "x is ", x_type,
                          "; convert it to f32 or f16");
    NODE_VALIDATION_CHECK(this, id_type == ov::element::i32 || id_type == ov::element::i64 || id_type.is_dynamic(), "ids are ", id_type,
                          "; convert them to i32 or i64");
    NODE_VALIDATION_CHECK(this, get_input_element_type(kRouting) == ov::element::f32 || get_input_element_type(kRouting).is_dynamic(),
                          "routing is ", get_input_element_type(kRouting), "; convert it to f32");
    ov::PartialShape chosen = get_input_partial_shape(kIds);
    NODE_VALIDATION_CHECK(this, ov::PartialShape::merge_into(chosen, get_input_partial_shape(kRouting)), "ids have shape ",
                          get_input_partial_shape(kIds), " and routing ", get_input_partial_shape(kRouting), "; they must be the same");
    NODE_VALIDATION_CHECK(this, chosen.rank().is_dynamic() || chosen.size() >= 1, "ids are a scalar; give [tokens, experts per token]");
    ov::PartialShape shape = get_input_partial_shape(kX);
    if (shape.rank().is_static()) {
        NODE_VALIDATION_CHECK(this, shape.size() >= 1, "x is a scalar; it must have K = ", checked_.up.layout.k, " as its last dimension");
        ov::Dimension& last = shape[shape.size() - 1];
        NODE_VALIDATION_CHECK(this, last.compatible(static_cast<int64_t>(checked_.up.layout.k)), "x has shape ", shape,
                              "; its last dimension must be K = ", checked_.up.layout.k);
        last = attributes_.down.size;
    }
    set_output_type(0, x_type, shape);
}

std::shared_ptr<ov::Node> SparseExperts::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    check_new_args_count(this, inputs);
    auto copy = std::make_shared<SparseExperts>();
    copy->attributes_ = attributes_;
    copy->checked_ = checked_;
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
}

void SparseExperts::visit_stage(ov::AttributeVisitor& visitor, const std::string& name, StageAttributes& stage) {
    visitor.on_attribute(name + "_weight_type", stage.weight_type);
    visitor.on_attribute(name + "_group_size", stage.group_size);
    visitor.on_attribute(name + "_scale_type", stage.scale_type);
    visitor.on_attribute(name + "_size", stage.size);
    visitor.on_attribute(name + "_sections", stage.sections);
    visitor.on_attribute(name + "_shared", stage.shared);
    visitor.on_attribute(name + "_planes", stage.planes);
    visitor.on_attribute(name + "_step_group", stage.step_group);
}

bool SparseExperts::visit_attributes(ov::AttributeVisitor& visitor) {
    const Attributes before = attributes_;
    Attributes& a = attributes_;
    visit_known(visitor, "SparseExperts", a.version, [&](ov::AttributeVisitor& v) {
        v.on_attribute("version", a.version);
        v.on_attribute("experts", a.experts);
        visit_stage(v, "up", a.up);
        visit_stage(v, "down", a.down);
        v.on_attribute("gate_up", a.gate_up);
        v.on_attribute("activation", a.activation);
        v.on_attribute("alpha", a.alpha);
        v.on_attribute("limit", a.limit);
        v.on_attribute("rows", a.rows);
        v.on_attribute("max_sparse_rows", a.max_sparse_rows);
        v.on_attribute("dynamic_quantization", a.dynamic_quantization);
        if (a.version >= kVersionOfLevels) a.levels.visit(v);
    });
    // A visitor that only reads, as when a compiled model is exported while it runs, leaves alone what a call needs.
    if (!(attributes_ == before)) checked_ = {};
    return true;
}

// The CPU plugin keeps to what was validated; who calls evaluate directly may not. Everything that the kernels rely on is looked at here.
void SparseExperts::check_call(const ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    OPENVINO_ASSERT(!checked_.up.packed.empty(),
                    "SparseExperts has attributes that were not validated; call validate_and_infer_types first");
    OPENVINO_ASSERT(inputs.size() == kInputCount && outputs.size() == 1, "SparseExperts takes 5 inputs and gives 1 output, got ",
                    inputs.size(), " and ", outputs.size());
    const ov::element::Type x_type = inputs[kX].get_element_type(), id_type = inputs[kIds].get_element_type();
    const ov::Shape x = inputs[kX].get_shape(), ids = inputs[kIds].get_shape();
    OPENVINO_ASSERT(x_type == ov::element::f32 || x_type == ov::element::f16, "SparseExperts got x of type ", x_type, "; give f32 or f16");
    OPENVINO_ASSERT(id_type == ov::element::i32 || id_type == ov::element::i64, "SparseExperts got ids of type ", id_type,
                    "; give i32 or i64");
    OPENVINO_ASSERT(inputs[kRouting].get_element_type() == ov::element::f32, "SparseExperts got routing of type ",
                    inputs[kRouting].get_element_type(), "; give f32");
    OPENVINO_ASSERT(!x.empty() && x.back() == checked_.up.layout.k, "SparseExperts got x of shape ", x, "; its last dimension must be ",
                    checked_.up.layout.k);
    OPENVINO_ASSERT(!ids.empty() && ids == inputs[kRouting].get_shape() && elements(ids, ids.size() - 1) == elements(x, x.size() - 1),
                    "SparseExperts got x of shape ", x, ", ids of ", ids, " and routing of ", inputs[kRouting].get_shape(),
                    "; all must have the same number of tokens, and ids and routing the same of choices");
    for (const auto& [port, stage] : {std::pair<Input, const CheckedStage*>{kUp, &checked_.up}, {kDown, &checked_.down}})
        OPENVINO_ASSERT(inputs[port].get_element_type() == ov::element::u8 && inputs[port].get_shape() == stage->packed,
                        "SparseExperts got packed weights of ", inputs[port].get_element_type(), inputs[port].get_shape(),
                        "; they were validated with u8", stage->packed);
    for (const ov::Tensor& tensor : inputs) OPENVINO_ASSERT(tensor.is_continuous(), "SparseExperts got an input that is not contiguous");
    OPENVINO_ASSERT(outputs[0].get_element_type() == x_type, "SparseExperts got an output of type ", outputs[0].get_element_type(),
                    "; it must be that of x, ", x_type);
}

ExpertStage SparseExperts::stage_of(const StageAttributes& a, const CheckedStage& checked, const uint8_t* packed, size_t level) const {
    const size_t levels = attributes_.levels.count();
    const auto block = [&](int64_t bytes) { return static_cast<size_t>(bytes) / levels; };
    const auto section = [&](Section i) { return a.sections[i] ? packed + checked.section[i] : nullptr; };
    const auto shared = [&](Shared i) {
        const size_t of_level = i == kBias ? 0 : level * block(a.shared[i]);
        return reinterpret_cast<const float*>(a.shared[i] ? packed + checked.shared[i] + of_level : nullptr);
    };
    ExpertStage stage{};
    stage.format = checked.layout.format;
    stage.stride = checked.stride;
    stage.weight.data = packed;
    stage.weight.row_bytes = checked.layout.row_bytes;
    stage.weight.scale = section(kScale);
    stage.weight.scale_is_f16 = a.scale_type == "f16";
    stage.weight.zero_point = section(kZeroPoint);
    stage.weight.implicit_zero_point = checked.layout.type->implicit_zero_point;
    stage.weight.k = checked.layout.k;
    stage.weight.n = checked.layout.n;
    stage.weight.n_padded = checked.layout.n_padded;
    stage.weight.group_size = static_cast<size_t>(a.group_size);
    stage.weight.step = section(kStep);
    stage.weight.offset = section(kOffset);
    stage.weight.step_group = static_cast<size_t>(a.step_group);
    stage.base = reinterpret_cast<const float*>(a.sections[kBase] ? section(kBase) + level * block(a.sections[kBase]) : nullptr);
    stage.bias = shared(kBias);
    stage.center = shared(kCenter);
    stage.threshold = shared(kThreshold);
    stage.whole_threshold = shared(kWholeThreshold);
    stage.whole_threshold_per_channel = block(a.shared[kWholeThreshold]) > sizeof(float);
    stage.center_per_channel = block(a.shared[kCenter]) > sizeof(float);
    stage.threshold_per_channel = block(a.shared[kThreshold]) > sizeof(float);
    return stage;
}

bool SparseExperts::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    check_call(outputs, inputs);
    const ov::Shape x_shape = inputs[kX].get_shape();
    ov::Shape shape = x_shape;
    shape.back() = checked_.down.layout.n;
    outputs[0].set_shape(shape);
    OPENVINO_ASSERT(outputs[0].is_continuous(), "SparseExperts got an output that is not contiguous");
    const Reading* reading = checked_.reading.get();
    const size_t level = reading ? reading->level_of_step(static_cast<size_t>(attributes_.levels.op)) : 0;
    const bool dense = reading && reading->value(level) == 0.0f;
    up_pages_.prefer(inputs[kUp].data(), inputs[kUp].get_byte_size());
    down_pages_.prefer(inputs[kDown].data(), inputs[kDown].get_byte_size());
    SparseExpertsArgs args{};
    args.x = inputs[kX].data();
    args.x_is_f16 = inputs[kX].get_element_type() == ov::element::f16;
    args.tokens = elements(x_shape, x_shape.size() - 1);
    args.ids = inputs[kIds].data();
    args.ids_are_i64 = inputs[kIds].get_element_type() == ov::element::i64;
    args.routing = inputs[kRouting].data<const float>();
    args.experts = static_cast<size_t>(attributes_.experts);
    args.k = inputs[kIds].get_shape().back();
    args.up = stage_of(attributes_.up, checked_.up, inputs[kUp].data<const uint8_t>(), level);
    args.down = stage_of(attributes_.down, checked_.down, inputs[kDown].data<const uint8_t>(), level);
    args.interleaved = attributes_.gate_up == "interleaved";
    args.activation = checked_.activation;
    args.alpha = attributes_.alpha;
    args.limit = attributes_.limit;
    args.all_rows = !dense && prunes_all_rows(attributes_.rows);
    args.max_sparse_rows = dense ? 0 : static_cast<size_t>(attributes_.max_sparse_rows);
    args.positions = x_shape.size() == 3 ? x_shape[1] : 1;
    args.dynamic_quantization = attributes_.dynamic_quantization;
    args.output = outputs[0].data();
    sparse_experts(args, active_implementation());
    return true;
}

}  // namespace scap_ov
