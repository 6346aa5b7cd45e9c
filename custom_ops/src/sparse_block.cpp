// Checks of SparseBlock, made once per constant so that evaluate and the kernels need none, and the call itself.
#include "sparse_block.hpp"

#include <algorithm>
#include <cmath>
#include <openvino/op/constant.hpp>
#include <tuple>

#include "activation.hpp"
#include "dispatch.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

enum Input : size_t { kX, kH, kPacked, kInputCount };
constexpr const char* kPartNames[] = {"o", "up", "down", "next", "norm_1", "norm_2"};
constexpr size_t kOffsetStep = 64;
constexpr int64_t kNone = -1;  // offset of what is absent

bool is_taken(const ov::element::Type& type) {
    return type == ov::element::f32 || type == ov::element::f16;
}

// All dimensions but the last.
bool same_rows(const ov::Shape& x, const ov::Shape& h) {
    return x.size() == h.size() && std::equal(x.begin(), x.end() - 1, h.begin());
}

}  // namespace

std::shared_ptr<const SparseBlock::Attributes> SparseBlock::default_attributes() {
    static const auto defaults = std::make_shared<const Attributes>();
    return defaults;
}

// Of what decides how the constant is read: all but `version`.
bool SparseBlock::Attributes::operator==(const Attributes& other) const {
    const auto all = [](const Attributes& a) { return std::tie(a.activation, a.eps_1, a.eps_2, a.offsets, a.packed_rows, a.sites); };
    return all(*this) == all(other);
}

void SparseBlock::check(const std::string& objection) const {
    NODE_VALIDATION_CHECK(this, objection.empty(), objection);
}

void SparseBlock::check_attributes(Checked& checked) const {
    const Attributes& a = *attributes_;
    const int activation = find_activation(a.activation);
    checked.activation = static_cast<Activation>(activation);
    NODE_VALIDATION_CHECK(this, activation >= 0 && checked.activation != Activation::clamped_swiglu, "activation is '", a.activation,
                          "'; give silu, gelu_tanh or gelu_erf");
    NODE_VALIDATION_CHECK(this, a.offsets.size() == kPartCount && a.packed_rows.size() == kSiteCount, "offsets and packed_rows have ",
                          a.offsets.size(), " and ", a.packed_rows.size(), " entries; give ", size_t{kPartCount}, " and ",
                          size_t{kSiteCount});
    for (size_t part = 0; part < kPartCount; ++part) {
        const bool absent = !a.has_next() && (part == kNext || part == kNorm2);
        if (absent)
            NODE_VALIDATION_CHECK(this, a.offsets[part] == kNone && (part == kNorm2 || a.packed_rows[part] == 0), kPartNames[part],
                                  " has offset ", a.offsets[part], ", but next_output_sizes is empty; give -1, and no packed_rows");
        else
            NODE_VALIDATION_CHECK(
                this, a.offsets[part] >= 0 && a.offsets[part] % kOffsetStep == 0 && static_cast<size_t>(a.offsets[part]) < checked.bytes,
                kPartNames[part], " has offset ", a.offsets[part], " in a constant of ", checked.bytes, " bytes; give a multiple of ",
                kOffsetStep, " inside it");
    }
}

Site SparseBlock::check_site(Part part, size_t bytes) const {
    const std::string name = kPartNames[part];
    const int64_t rows = attributes_->packed_rows[part];
    const size_t room = bytes - static_cast<size_t>(attributes_->offsets[part]);
    Site site(attributes_->sites[part], name + "_");
    check(site.check_attributes());
    NODE_VALIDATION_CHECK(this, rows >= 1 && static_cast<size_t>(rows) <= room / site.row_bytes(), name, " has ", rows, " packed rows of ",
                          site.row_bytes(), " bytes; ", room, " bytes of the constant lie behind its offset");
    check(site.check_packed({static_cast<size_t>(rows), site.row_bytes()}, name));
    return site;
}

// The sites' channels fit each other.
void SparseBlock::check_sizes(Checked& checked) const {
    const std::vector<Site>& sites = checked.sites;
    const std::vector<size_t>&o = sites[kO].output_sizes(), &up = sites[kUp].output_sizes(), &down = sites[kDown].output_sizes();
    NODE_VALIDATION_CHECK(this, o.size() == 1 && down.size() == 1 && o == down, "o_output_sizes are ", ov::Shape(o),
                          " and down_output_sizes ", ov::Shape(down), "; both must have one entry, the channels of h");
    checked.h = o[0];
    NODE_VALIDATION_CHECK(this, up.size() == 1 || (up.size() == 2 && up[0] == up[1]), "up_output_sizes are ", ov::Shape(up),
                          "; give one, or for gate and up two that are the same");
    NODE_VALIDATION_CHECK(this, sites[kDown].k() == up[0], "up gives ", up[0], " channels and down takes ", sites[kDown].k(),
                          "; they must be as many");
    for (const Part part : {kUp, kNext})
        NODE_VALIDATION_CHECK(this, part >= sites.size() || sites[part].k() == checked.h, "h has ", checked.h, " channels and ",
                              kPartNames[part], " takes ", part < sites.size() ? sites[part].k() : 0, "; they must be as many");
    NODE_VALIDATION_CHECK(this, sites.size() <= kNext || sites[kNext].output_sizes().size() < kMaxOutputs, "next_output_sizes has ",
                          sites.back().output_sizes().size(), " entries; give at most ", kMaxOutputs - 1);
}

void SparseBlock::check_norm(Part part, float eps, const Checked& checked) const {
    NODE_VALIDATION_CHECK(this, eps >= 0.0f && std::isfinite(eps), part == kNorm1 ? "eps_1" : "eps_2", " is ", eps,
                          "; give what the norm adds to the mean of squares, 0 or more");
    const size_t room = checked.bytes - static_cast<size_t>(attributes_->offsets[part]);
    NODE_VALIDATION_CHECK(this, room >= checked.h * sizeof(float), kPartNames[part], " has ", room, " bytes behind its offset; ", checked.h,
                          " channels take ", checked.h * sizeof(float));
}

std::shared_ptr<const SparseBlock::Checked> SparseBlock::check_constant(size_t bytes) const {
    const auto checked = std::make_shared<Checked>();
    checked->bytes = bytes;
    check_attributes(*checked);
    for (const Part part : {kO, kUp, kDown, kNext})
        if (part != kNext || attributes_->has_next()) checked->sites.push_back(check_site(part, bytes));
    check_sizes(*checked);
    check_norm(kNorm1, attributes_->eps_1, *checked);
    if (attributes_->has_next()) check_norm(kNorm2, attributes_->eps_2, *checked);
    for (Site& site : checked->sites) site.join_levels();
    return checked;
}

void SparseBlock::check_input(size_t input, const char* name, size_t width) const {
    const ov::element::Type type = get_input_element_type(input);
    NODE_VALIDATION_CHECK(this, is_taken(type) || type.is_dynamic(), name, " is ", type, "; convert it to f32 or f16");
    const ov::PartialShape& shape = get_input_partial_shape(input);
    if (shape.rank().is_dynamic()) return;
    NODE_VALIDATION_CHECK(this, shape.size() >= 1 && shape[shape.size() - 1].compatible(static_cast<int64_t>(width)), name, " has shape ",
                          shape, "; its last dimension must be ", width);
}

// Of h2; what x knows and h does not is in it.
ov::PartialShape SparseBlock::output_shape() const {
    check_input(kX, "x", checked_->sites[kO].k());
    check_input(kH, "h", checked_->h);
    const ov::PartialShape& x = get_input_partial_shape(kX);
    ov::PartialShape shape = get_input_partial_shape(kH);
    if (x.rank().is_dynamic()) return shape;
    if (shape.rank().is_dynamic()) shape = ov::PartialShape::dynamic(x.rank());
    bool same = shape.size() == x.size();
    for (size_t i = 0; same && i + 1 < x.size(); ++i) same = ov::Dimension::merge(shape[i], shape[i], x[i]);
    NODE_VALIDATION_CHECK(this, same, "x has shape ", x, " and h ", get_input_partial_shape(kH),
                          "; all dimensions but the last must be the same");
    return shape;
}

void SparseBlock::validate_and_infer_types() {
    NODE_VALIDATION_CHECK(this, get_input_size() == kInputCount, "SparseBlock takes 3 inputs (x, h, packed), got ", get_input_size());
    const ov::PartialShape& packed = get_input_partial_shape(kPacked);
    NODE_VALIDATION_CHECK(this, packed.is_static() && packed.size() == 1 && get_input_element_type(kPacked) == ov::element::u8,
                          "packed is ", get_input_element_type(kPacked), packed, "; it must be a u8 constant of one dimension");
    if (const size_t bytes = get_input_tensor(kPacked).get_shape()[0]; !checked_ || checked_->bytes != bytes) {
        checked_ = check_constant(bytes);
        // Before a file is read: it comes in pages as large as was asked for.
        if (const auto constant = ov::as_type_ptr<const ov::op::v0::Constant>(get_input_node_shared_ptr(kPacked)))
            pages_.prefer(constant->get_data_ptr(), constant->get_byte_size());
    }
    ov::PartialShape shape = output_shape();
    const size_t outputs = attributes_->has_next() ? checked_->sites[kNext].output_sizes().size() : 0;
    set_output_size(1 + outputs);
    for (size_t i = 0; i <= outputs; ++i) {
        const size_t size = i == 0 ? checked_->h : checked_->sites[kNext].output_sizes()[i - 1];
        if (shape.rank().is_static()) shape[shape.size() - 1] = static_cast<int64_t>(size);
        set_output_type(i, get_input_element_type(i == 0 ? kH : kX), shape);
    }
}

std::shared_ptr<ov::Node> SparseBlock::clone_with_new_inputs(const ov::OutputVector& inputs) const {
    check_new_args_count(this, inputs);
    auto copy = std::make_shared<SparseBlock>();
    copy->attributes_ = attributes_;
    copy->checked_ = checked_;
    copy->set_arguments(inputs);
    copy->validate_and_infer_types();
    return copy;
}

bool SparseBlock::visit_attributes(ov::AttributeVisitor& visitor) {
    Attributes a = *attributes_;
    visit_known(visitor, "SparseBlock", a.version, [&](ov::AttributeVisitor& v) {
        v.on_attribute("version", a.version);
        v.on_attribute("activation", a.activation);
        v.on_attribute("eps_1", a.eps_1);
        v.on_attribute("eps_2", a.eps_2);
        v.on_attribute("offsets", a.offsets);
        v.on_attribute("packed_rows", a.packed_rows);
        for (size_t site = 0; site < kSiteCount; ++site) a.sites[site].visit(v, std::string(kPartNames[site]) + "_", true);
    });
    // As in SparseMatMul: a visitor that only reads leaves alone what a call needs.
    const bool same = a == *attributes_;
    if (!same) checked_ = {};
    if (!same || a.version != attributes_->version) attributes_ = std::make_shared<const Attributes>(std::move(a));
    return true;
}

// The CPU plugin keeps to what was validated; who calls evaluate directly may not. Everything that the kernels rely on is looked at here.
void SparseBlock::check_call(const ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    OPENVINO_ASSERT(checked_, "SparseBlock has attributes that were not validated; call validate_and_infer_types first");
    const size_t count = 1 + (attributes_->has_next() ? checked_->sites[kNext].output_sizes().size() : 0);
    OPENVINO_ASSERT(inputs.size() == kInputCount && outputs.size() == count, "SparseBlock takes 3 inputs (x, h, packed) and gives ", count,
                    " outputs, got ", inputs.size(), " and ", outputs.size());
    for (const Input input : {kX, kH}) {
        const char* name = input == kX ? "x" : "h";
        const size_t width = input == kX ? checked_->sites[kO].k() : checked_->h;
        const ov::Shape& shape = inputs[input].get_shape();
        OPENVINO_ASSERT(is_taken(inputs[input].get_element_type()), "SparseBlock got ", name, " of type ", inputs[input].get_element_type(),
                        "; give f32 or f16");
        OPENVINO_ASSERT(!shape.empty() && shape.back() == width, "SparseBlock got ", name, " of shape ", shape,
                        "; its last dimension must be ", width);
        OPENVINO_ASSERT(is_contiguous(inputs[input]), "SparseBlock got an input that is not contiguous");
    }
    OPENVINO_ASSERT(same_rows(inputs[kX].get_shape(), inputs[kH].get_shape()), "SparseBlock got x of shape ", inputs[kX].get_shape(),
                    " and h of ", inputs[kH].get_shape(), "; all dimensions but the last must be the same");
    const ov::Tensor& packed = inputs[kPacked];
    OPENVINO_ASSERT(packed.get_element_type() == ov::element::u8 && packed.get_shape() == ov::Shape{checked_->bytes},
                    "SparseBlock got packed weights of ", packed.get_element_type(), packed.get_shape(), "; they were validated with u8[",
                    checked_->bytes, "]");
    OPENVINO_ASSERT(contiguous_.holds(packed), "SparseBlock got an input that is not contiguous");
    for (size_t i = 0; i < count; ++i) {
        const ov::element::Type type = inputs[i == 0 ? kH : kX].get_element_type();
        OPENVINO_ASSERT(outputs[i].get_element_type() == type, "SparseBlock got output ", i, " of type ", outputs[i].get_element_type(),
                        "; it must be that of ", i == 0 ? "h, " : "x, ", type);
    }
}

bool SparseBlock::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
    check_call(outputs, inputs);
    const Checked& c = *checked_;
    const uint8_t* packed = inputs[kPacked].data<const uint8_t>();
    pages_.prefer(packed, c.bytes);
    const auto at = [&](Part part) { return packed + attributes_->offsets[part]; };
    const auto norm = [&](Part part, float eps) { return RmsNorm{reinterpret_cast<const float*>(at(part)), eps}; };
    const bool has_next = attributes_->has_next();
    SparseBlockArgs args{};
    args.o = c.sites[kO].call(at(kO));
    args.up = c.sites[kUp].call(at(kUp));
    args.down = c.sites[kDown].call(at(kDown));
    args.norm_1 = norm(kNorm1, attributes_->eps_1);
    if (has_next) {
        args.next = c.sites[kNext].call(at(kNext));
        args.norm_2 = norm(kNorm2, attributes_->eps_2);
    }
    args.activation = c.activation;
    args.x = inputs[kX].data();
    args.h = inputs[kH].data();
    args.x_is_f16 = inputs[kX].get_element_type() == ov::element::f16;
    args.h_is_f16 = inputs[kH].get_element_type() == ov::element::f16;
    ov::Shape shape = inputs[kH].get_shape();
    args.m = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) args.m *= shape[i];
    args.positions = shape.size() == 3 ? shape[1] : 1;
    void* pointers[kMaxOutputs];
    for (size_t i = 0; i < outputs.size(); ++i) {
        shape.back() = i == 0 ? c.h : args.next.output_sizes[i - 1];
        if (outputs[i].get_shape() != shape) outputs[i].set_shape(shape);
        OPENVINO_ASSERT(is_contiguous(outputs[i]), "SparseBlock got an output that is not contiguous");
        pointers[i] = outputs[i].data();
    }
    args.sum = pointers[0];
    args.outputs = pointers + 1;
    if (args.m <= kMaxGemvRows) Scratch::let_go_of_large();
    sparse_block(args, active_implementation());
    return true;
}

}  // namespace scap_ov
