// Checks of SparseMatMul, made once per shape so that evaluate and the kernels need none, and the call itself.
#include "sparse_matmul.hpp"

#include <numeric>
#include <openvino/op/util/precision_sensitive_attribute.hpp>

#include "dispatch.hpp"
#include "execute.hpp"
#include "formats/formats.hpp"
#include "weight_type.hpp"

namespace scap_ov {
namespace {

enum Input : size_t { kX, kWeight, kScale, kZeroPoint, kCenter, kThreshold, kCompensation, kBase, kInputCount };
constexpr const char* kInputNames[kInputCount] = {"x", "weight", "scale", "zero_point", "center", "threshold", "compensation", "base"};

size_t length(const ov::PartialShape& shape) {
    return shape[0].is_static() ? static_cast<size_t>(shape[0].get_length()) : 0;
}

}  // namespace

void SparseMatMul::validate_and_infer_types() {
    NODE_VALIDATION_CHECK(this, get_input_size() == kInputCount, "SparseMatMul takes 8 inputs (x, weight, scale, zero_point, center, ",
                          "threshold, compensation, base), got ", get_input_size());
    const WeightType* type = find_weight_type(weight_type_);
    NODE_VALIDATION_CHECK(this, type, "weight_type is '", weight_type_, "'; give one of u4, i4, u8, i8, f16, bf16, f32");
    NODE_VALIDATION_CHECK(this, rows_ == "decode" || rows_ == "all", "rows is '", rows_, "'; give decode or all");
    NODE_VALIDATION_CHECK(this, max_sparse_rows_ >= 1, "max_sparse_rows is ", max_sparse_rows_, "; give a number of at least 1");
    NODE_VALIDATION_CHECK(this, !output_sizes_.empty() && output_sizes_.size() <= kMaxOutputs, "output_sizes has ", output_sizes_.size(),
                          " entries; give 1 to ", kMaxOutputs, ", one per layer");
    for (const int64_t size : output_sizes_)
        NODE_VALIDATION_CHECK(this, size > 0, "output_sizes holds ", size, "; a layer has at least one output channel");

    const ov::element::Type x_type = get_input_element_type(kX);
    NODE_VALIDATION_CHECK(this, x_type == ov::element::f32 || x_type == ov::element::f16 || x_type.is_dynamic(), "x is ", x_type,
                          "; convert it to f32 or f16");
    for (size_t i = kWeight; i < kInputCount; ++i) {
        const ov::element::Type wanted = i <= kZeroPoint ? ov::element::u8 : ov::element::f32;
        NODE_VALIDATION_CHECK(this, get_input_element_type(i) == wanted, kInputNames[i], " is ", get_input_element_type(i), "; it must be ",
                              wanted);
        const ov::PartialShape& shape = get_input_partial_shape(i);
        const int64_t rank = i == kWeight ? 2 : 1;
        NODE_VALIDATION_CHECK(this, shape.is_static() && shape.rank().get_length() == rank, kInputNames[i], " has shape ", shape,
                              "; it must be a constant of rank ", rank);
        // ov::save_model would round centers and thresholds to f16, while base stays the product with the exact centers
        if (wanted == ov::element::f32) ov::mark_as_precision_sensitive(input(i));
    }
    const ov::Shape weight = get_input_shape(kWeight);
    const size_t k = weight[0], n = std::accumulate(output_sizes_.begin(), output_sizes_.end(), size_t{0});
    const size_t n_padded = round_up(n, kColumnBlock), row_bytes = packed_row_bytes(type->format, n_padded);
    NODE_VALIDATION_CHECK(this, k > 0 && weight[1] == row_bytes, "weight has shape ", weight, "; ", weight_type_, " weights of ", n,
                          " output channels take [K, ", row_bytes, "]");
    size_t scale_bytes = 0, zero_points = 0;
    if (is_integer(type->format)) {
        NODE_VALIDATION_CHECK(this, group_size_ >= 1, "group_size is ", group_size_,
                              "; give the input channels per scale, K for per-channel");
        NODE_VALIDATION_CHECK(this, scale_type_ == "f16" || scale_type_ == "f32", "scale_type is '", scale_type_, "'; give f16 or f32");
        zero_points = ceil_div(k, static_cast<size_t>(group_size_)) * n_padded;
        scale_bytes = zero_points * (scale_type_ == "f16" ? 2 : 4);
    }
    NODE_VALIDATION_CHECK(this, length(get_input_partial_shape(kScale)) == scale_bytes, "scale has ",
                          length(get_input_partial_shape(kScale)), " bytes; it must have ", scale_bytes);
    const auto check_length = [&](size_t input, size_t first, size_t second) {
        const size_t got = length(get_input_partial_shape(input));
        NODE_VALIDATION_CHECK(this, got == first || got == second, kInputNames[input], " has ", got, " values; it must have ", first,
                              " or ", second);
    };
    check_length(kZeroPoint, 0, zero_points);
    check_length(kCenter, 1, k);
    check_length(kThreshold, 1, k);
    check_length(kCompensation, 0, n);
    check_length(kBase, 0, n);

    ov::PartialShape shape = get_input_partial_shape(kX);
    if (shape.rank().is_static()) {
        const size_t rank = shape.size();
        NODE_VALIDATION_CHECK(this, rank >= 1, "x is a scalar; it must have K = ", k, " as its last dimension");
        NODE_VALIDATION_CHECK(this, shape[rank - 1].compatible(static_cast<int64_t>(k)), "x has shape ", shape,
                              "; its last dimension must be K = ", k);
    }
    set_output_size(output_sizes_.size());
    for (size_t i = 0; i < output_sizes_.size(); ++i) {
        ov::PartialShape out = shape;
        if (out.rank().is_static()) out[out.size() - 1] = output_sizes_[i];
        set_output_type(i, x_type, out);
    }
}

std::shared_ptr<ov::Node> SparseMatMul::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    check_new_args_count(this, inputs);
    auto copy = std::make_shared<SparseMatMul>();
    copy->weight_type_ = weight_type_;
    copy->group_size_ = group_size_;
    copy->scale_type_ = scale_type_;
    copy->output_sizes_ = output_sizes_;
    copy->rows_ = rows_;
    copy->max_sparse_rows_ = max_sparse_rows_;
    copy->dynamic_quantization_ = dynamic_quantization_;
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
}

bool SparseMatMul::visit_attributes(ov::AttributeVisitor& visitor) {
    visitor.on_attribute("weight_type", weight_type_);
    visitor.on_attribute("group_size", group_size_);
    visitor.on_attribute("scale_type", scale_type_);
    visitor.on_attribute("output_sizes", output_sizes_);
    visitor.on_attribute("rows", rows_);
    visitor.on_attribute("max_sparse_rows", max_sparse_rows_);
    visitor.on_attribute("dynamic_quantization", dynamic_quantization_);
    return true;
}

bool SparseMatMul::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    const ov::Shape x_shape = inputs[kX].get_shape();
    const WeightType& type = *find_weight_type(weight_type_);
    SparseMatMulArgs args{};
    args.k = inputs[kWeight].get_shape()[0];
    OPENVINO_ASSERT(!x_shape.empty() && x_shape.back() == args.k, "SparseMatMul got x of shape ", x_shape, "; its last dimension must be ",
                    args.k);
    args.m = ov::shape_size(ov::Shape(x_shape.begin(), x_shape.end() - 1));
    args.x = inputs[kX].data();
    args.x_is_f16 = inputs[kX].get_element_type() == ov::element::f16;
    size_t n = 0, sizes[kMaxOutputs];
    void* pointers[kMaxOutputs];
    for (size_t i = 0; i < output_sizes_.size(); ++i) {
        sizes[i] = static_cast<size_t>(output_sizes_[i]);
        n += sizes[i];
        ov::Shape shape = x_shape;
        shape.back() = sizes[i];
        outputs[i].set_shape(shape);
        pointers[i] = outputs[i].data();
    }
    args.outputs = pointers;
    args.output_sizes = sizes;
    args.output_count = output_sizes_.size();

    const auto floats = [&](size_t input) { return inputs[input].get_size() ? inputs[input].data<const float>() : nullptr; };
    args.format = type.format;
    args.weight.data = inputs[kWeight].data<const uint8_t>();
    args.weight.row_bytes = inputs[kWeight].get_shape()[1];
    args.weight.scale = inputs[kScale].get_size() ? inputs[kScale].data() : nullptr;
    args.weight.scale_is_f16 = scale_type_ == "f16";
    args.weight.zero_point = inputs[kZeroPoint].get_size() ? inputs[kZeroPoint].data<const uint8_t>() : nullptr;
    args.weight.implicit_zero_point = type.implicit_zero_point;
    args.weight.k = args.k;
    args.weight.n = n;
    args.weight.n_padded = round_up(n, kColumnBlock);
    args.weight.group_size = static_cast<size_t>(group_size_);
    args.center = floats(kCenter);
    args.threshold = floats(kThreshold);
    args.center_per_channel = inputs[kCenter].get_size() > 1;
    args.threshold_per_channel = inputs[kThreshold].get_size() > 1;
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
