// What a model file may say about an op of ours: its version, and no attribute that this library does not know. A newer scap_ov raises the
// version of the ops that use what older libraries would ignore without a word; files without a version are of version 1.
#pragma once
#include <openvino/core/attribute_visitor.hpp>
#include <openvino/op/util/framework_node.hpp>
#include <set>
#include <string>

namespace scap_ov {

inline constexpr int64_t kVersionOfLevels = 2;
inline constexpr int64_t kVersionOfProjection = 3;
inline constexpr int64_t kVersionOfBlocks = 4;
inline constexpr int64_t kOpVersion = 4;

// Collects the names of the attributes that an op visits.
class AttributeNames : public ov::AttributeVisitor {
public:
    using ov::AttributeVisitor::on_adapter;
    void on_adapter(const std::string& name, ov::ValueAccessor<void>&) override { names.insert(name); }
    std::set<std::string> names;
};

// visit(visitor) shows a visitor every attribute of the op, `version` among them. A reader of files gives all that stands in the file for
// attributes of a framework node; other visitors give nothing.
template <class Visit>
void visit_known(ov::AttributeVisitor& visitor, const char* op, const int64_t& version, const Visit& visit) {
    visit(visitor);
    ov::op::util::FrameworkNodeAttrs found;
    found.set_type_name(op);
    found.set_opset_name("scap_ov");
    visitor.on_attribute("attributes_of_the_file", found);
    OPENVINO_ASSERT(version >= 1 && version <= kOpVersion, op, " is of version ", version, ", this library of scap_ov knows 1 to ",
                    kOpVersion, "; upgrade scap_ov");
    if (found.begin() == found.end()) return;
    AttributeNames known;
    visit(known);
    for (const auto& attribute : found)
        OPENVINO_ASSERT(known.names.count(attribute.first), op, " has the attribute ", attribute.first,
                        ", which this library of scap_ov does not know; upgrade scap_ov");
}

}  // namespace scap_ov
