// Gives an op its attributes, in place of a file.
#pragma once
#include <map>
#include <openvino/core/attribute_visitor.hpp>
#include <string>
#include <vector>

#include "bytes.hpp"

class Setter : public ov::AttributeVisitor {
public:
    std::map<std::string, std::string> text;
    std::map<std::string, int64_t> whole;
    std::map<std::string, std::vector<int64_t>> lists;
    std::map<std::string, float> floats;
    std::vector<float> levels;  // of every site
    bool dynamic_quantization = true;

    using ov::AttributeVisitor::on_adapter;
    void on_adapter(const std::string&, ov::ValueAccessor<void>&) override {}
    void on_adapter(const std::string& name, ov::ValueAccessor<std::string>& a) override {
        if (text.count(name)) a.set(text[name]);
    }
    void on_adapter(const std::string& name, ov::ValueAccessor<int64_t>& a) override {
        if (whole.count(name)) a.set(whole[name]);
    }
    void on_adapter(const std::string& name, ov::ValueAccessor<double>& a) override {
        if (floats.count(name)) a.set(floats[name]);
    }
    void on_adapter(const std::string&, ov::ValueAccessor<bool>& a) override { a.set(dynamic_quantization); }
    void on_adapter(const std::string& name, ov::ValueAccessor<std::vector<float>>& a) override {
        if (name.size() >= 6 && name.compare(name.size() - 6, 6, "levels") == 0) a.set(levels);
    }
    void on_adapter(const std::string& name, ov::ValueAccessor<std::vector<int64_t>>& a) override {
        if (lists.count(name)) a.set(lists[name]);
    }
};

// What goes with levels, where there are any.
inline void set_level_attributes(Bytes& bytes, Setter& set, const std::string& prefix = "") {
    if (set.levels.empty()) return;
    if (prefix.empty()) set.whole["version"] = 2;
    set.whole[prefix + "start_level"] = bytes.chance(10) ? bytes.nasty() : bytes.byte() % static_cast<int64_t>(set.levels.size());
    set.whole[prefix + "level_op"] = bytes.chance(10) ? bytes.nasty() : 0;
    set.text[prefix + "level_model"] = bytes.choice({"a", "b", ""});
}
