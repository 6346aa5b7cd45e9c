// Checks of SparseMatMul, made once per constant so that evaluate and the kernels need none, and the call itself.
#include "sparse_matmul.hpp"

#include <numeric>

#include "dispatch.hpp"
#include "execute.hpp"
#include "formats/formats.hpp"

namespace scap_ov {
namespace {

enum Input : size_t { kX, kPacked, kInputCount };
constexpr const char* kSectionNames[] = {"scale", "zero_point", "center", "threshold", "compensation", "base"};
constexpr size_t kSectionStep = 64;

}  // namespace

void SparseMatMul::check_attributes() {
    type_ = find_weight_type(weight_type_);
    NODE_VALIDATION_CHECK(this, type_, "weight_type is '", weight_type_, "'; give one of u4, i4, u8, i8, f16, bf16, f32");
    NODE_VALIDATION_CHECK(this, rows_ == "decode" || rows_ == "all", "rows is '", rows_, "'; give decode or all");
    NODE_VALIDATION_CHECK(this, max_sparse_rows_ >= 1, "max_sparse_rows is ", max_sparse_rows_, "; give a number of at least 1");
    NODE_VALIDATION_CHECK(this, ramp_ == 0.0f || (ramp_ >= 0.01f && ramp_ <= 100.0f), "ramp is ", ramp_, "; give 0, or 0.01 to 100");
    NODE_VALIDATION_CHECK(this, !output_sizes_.empty() && output_sizes_.size() <= kMaxOutputs, "output_sizes has ", output_sizes_.size(),
                          " entries; give 1 to ", kMaxOutputs, ", one per layer");
    for (const int64_t size : output_sizes_)
        NODE_VALIDATION_CHECK(this, size > 0, "output_sizes holds ", size, "; a layer has at least one output channel");
    NODE_VALIDATION_CHECK(this, sections_.size() == kSectionCount, "sections has ", sections_.size(), " entries; give the bytes of ",
                          kSectionCount, " sections");
    if (!is_integer(type_->format)) return;
    NODE_VALIDATION_CHECK(this, group_size_ >= 1, "group_size is ", group_size_, "; give the input channels per scale, K for per-channel");
    NODE_VALIDATION_CHECK(this, scale_type_ == "f16" || scale_type_ == "f32", "scale_type is '", scale_type_, "'; give f16 or f32");
}

void SparseMatMul::check_packed(const ov::Shape& shape) {
    n_ = static_cast<size_t>(std::accumulate(output_sizes_.begin(), output_sizes_.end(), int64_t{0}));
    n_padded_ = round_up(n_, kColumnBlock);
    const size_t row_bytes = packed_row_bytes(type_->format, n_padded_);
    NODE_VALIDATION_CHECK(this, shape.size() == 2 && shape[1] == row_bytes, "the packed constant has shape ", shape, "; ", weight_type_,
                          " weights of ", n_, " output channels take rows of ", row_bytes, " bytes");
    size_t bytes = 0;
    for (size_t i = 0; i < kSectionCount; ++i) {
        NODE_VALIDATION_CHECK(this, sections_[i] >= 0, "section ", kSectionNames[i], " has ", sections_[i], " bytes; give 0 or more");
        offset_[i] = bytes;
        bytes += round_up(static_cast<size_t>(sections_[i]), kSectionStep);
    }
    const size_t behind = ceil_div(bytes, row_bytes);
    NODE_VALIDATION_CHECK(this, shape[0] > behind, "the packed constant has ", shape[0], " rows; its sections alone take ", behind);
    k_ = shape[0] - behind;
    for (size_t& offset : offset_) offset += k_ * row_bytes;

    size_t scale_bytes = 0, zero_points = 0;
    if (is_integer(type_->format)) {
        zero_points = ceil_div(k_, static_cast<size_t>(group_size_)) * n_padded_;
        scale_bytes = zero_points * (scale_type_ == "f16" ? 2 : 4);
    }
    const size_t one = sizeof(float);
    const size_t allowed[kSectionCount][2] = {
        {scale_bytes, scale_bytes}, {0, zero_points}, {one, k_ * one}, {one, k_ * one}, {0, n_ * one}, {0, n_ * one}};
    for (size_t i = 0; i < kSectionCount; ++i) {
        const size_t got = static_cast<size_t>(sections_[i]);
        NODE_VALIDATION_CHECK(this, got == allowed[i][0] || got == allowed[i][1], "section ", kSectionNames[i], " has ", got,
                              " bytes; with K = ", k_, " and N = ", n_, " it must have ", allowed[i][0], " or ", allowed[i][1]);
    }
}

void SparseMatMul::validate_and_infer_types() {
    NODE_VALIDATION_CHECK(this, get_input_size() == kInputCount, "SparseMatMul takes 2 inputs (x, packed), got ", get_input_size());
    const ov::PartialShape& packed = get_input_partial_shape(kPacked);
    NODE_VALIDATION_CHECK(this, packed.is_static() && get_input_element_type(kPacked) == ov::element::u8, "packed is ",
                          get_input_element_type(kPacked), packed, "; it must be a u8 constant");
    if (const ov::Shape& shape = get_input_tensor(kPacked).get_shape(); checked_ != shape || checked_.empty()) {
        check_attributes();
        check_packed(shape);
        checked_ = shape;
    }
    const ov::element::Type x_type = get_input_element_type(kX);
    NODE_VALIDATION_CHECK(this, x_type == ov::element::f32 || x_type == ov::element::f16 || x_type.is_dynamic(), "x is ", x_type,
                          "; convert it to f32 or f16");
    ov::PartialShape shape = get_input_partial_shape(kX);
    const bool ranked = shape.rank().is_static();
    if (ranked) {
        NODE_VALIDATION_CHECK(this, shape.size() >= 1, "x is a scalar; it must have K = ", k_, " as its last dimension");
        NODE_VALIDATION_CHECK(this, shape[shape.size() - 1].compatible(static_cast<int64_t>(k_)), "x has shape ", shape,
                              "; its last dimension must be K = ", k_);
    }
    set_output_size(output_sizes_.size());
    for (size_t i = 0; i < output_sizes_.size(); ++i) {
        if (ranked) shape[shape.size() - 1] = output_sizes_[i];
        set_output_type(i, x_type, shape);
    }
}

std::shared_ptr<ov::Node> SparseMatMul::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    check_new_args_count(this, inputs);
    auto copy = std::make_shared<SparseMatMul>();
    copy->weight_type_ = weight_type_;
    copy->group_size_ = group_size_;
    copy->scale_type_ = scale_type_;
    copy->output_sizes_ = output_sizes_;
    copy->sections_ = sections_;
    copy->rows_ = rows_;
    copy->max_sparse_rows_ = max_sparse_rows_;
    copy->ramp_ = ramp_;
    copy->dynamic_quantization_ = dynamic_quantization_;
    copy->checked_ = checked_;
    copy->type_ = type_;
    copy->k_ = k_;
    copy->n_ = n_;
    copy->n_padded_ = n_padded_;
    std::copy(std::begin(offset_), std::end(offset_), std::begin(copy->offset_));
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
}

bool SparseMatMul::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("weight_type", weight_type_);
    visitor.on_attribute("group_size", group_size_);
    visitor.on_attribute("scale_type", scale_type_);
    visitor.on_attribute("output_sizes", output_sizes_);
    visitor.on_attribute("sections", sections_);
    visitor.on_attribute("rows", rows_);
    visitor.on_attribute("max_sparse_rows", max_sparse_rows_);
    visitor.on_attribute("ramp", ramp_);
    visitor.on_attribute("dynamic_quantization", dynamic_quantization_);
    checked_.clear();  // the visitor may have set other values
    return true;
}

bool SparseMatMul::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    const ov::Shape x_shape = inputs[kX].get_shape();
    OPENVINO_ASSERT(type_ && !x_shape.empty() && x_shape.back() == k_, "SparseMatMul got x of shape ", x_shape,
                    "; its last dimension must be ", k_);
    SparseMatMulArgs args{};
    args.k = k_;
    args.m = 1;
    for (size_t i = 0; i + 1 < x_shape.size(); ++i) args.m *= x_shape[i];
    args.x = inputs[kX].data();
    args.x_is_f16 = inputs[kX].get_element_type() == ov::element::f16;
    size_t sizes[kMaxOutputs];
    void* pointers[kMaxOutputs];
    ov::Shape shape = x_shape;
    for (size_t i = 0; i < output_sizes_.size(); ++i) {
        sizes[i] = static_cast<size_t>(output_sizes_[i]);
        shape.back() = sizes[i];
        outputs[i].set_shape(shape);
        pointers[i] = outputs[i].data();
    }
    args.outputs = pointers;
    args.output_sizes = sizes;
    args.output_count = output_sizes_.size();

    const uint8_t* packed = inputs[kPacked].data<const uint8_t>();
    const auto section = [&](Section i) { return sections_[i] ? packed + offset_[i] : nullptr; };
    const auto floats = [&](Section i) { return reinterpret_cast<const float*>(section(i)); };
    args.format = type_->format;
    args.weight.data = packed;
    args.weight.row_bytes = checked_[1];
    args.weight.scale = section(kScale);
    args.weight.scale_is_f16 = scale_type_ == "f16";
    args.weight.zero_point = section(kZeroPoint);
    args.weight.implicit_zero_point = type_->implicit_zero_point;
    args.weight.k = k_;
    args.weight.n = n_;
    args.weight.n_padded = n_padded_;
    args.weight.group_size = static_cast<size_t>(group_size_);
    args.center = floats(kCenter);
    args.threshold = floats(kThreshold);
    args.center_per_channel = sections_[kCenter] > static_cast<int64_t>(sizeof(float));
    args.threshold_per_channel = sections_[kThreshold] > static_cast<int64_t>(sizeof(float));
    args.steepness = ramp_ > 0.0f ? 1.0f / ramp_ : 0.0f;
    args.compensation = floats(kCompensation);
    args.base = floats(kBase);
    args.all_rows = rows_ == "all";
    args.max_sparse_rows = static_cast<size_t>(max_sparse_rows_);
    args.positions = x_shape.size() == 3 ? x_shape[1] : 1;
    args.dynamic_quantization = dynamic_quantization_;
    sparse_matmul(args, active_implementation());
    return true;
}

}  // namespace scap_ov
