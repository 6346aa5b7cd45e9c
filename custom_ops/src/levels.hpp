// The dial: models that hold several levels of sparsity, which level each has, and which level a step runs with. ADR 0023.
#pragma once
#include <atomic>
#include <memory>
#include <openvino/core/attribute_visitor.hpp>
#include <string>
#include <vector>

namespace scap_ov {

// Levels of one model, or of several readings of it, which follow one choice.
class Dial {
public:
    Dial(std::string name, std::vector<float> levels, size_t chosen);
    const std::string& name() const { return name_; }
    const std::vector<float>& levels() const { return levels_; }
    size_t chosen() const { return chosen_.load(std::memory_order_acquire); }
    void choose(size_t level) { chosen_.store(level, std::memory_order_release); }
    // Index of a level; throws std::invalid_argument with those there are.
    size_t index_of(double level) const;

private:
    std::string name_;
    std::vector<float> levels_;
    std::atomic<size_t> chosen_;
};

// One reading of a model: its ops make steps together.
class Reading {
public:
    explicit Reading(std::shared_ptr<Dial> dial);
    // The level of the step that runs in this thread, for op number `op`. A step is what a thread runs from an op until that op comes
    // again: the CPU plugin runs all ops of an inference in one thread, each once, so the first op of the next inference begins the next
    // step.
    size_t level_of_step(size_t op) const;
    float value(size_t level) const { return dial_->levels()[level]; }
    const Dial* dial() const { return dial_.get(); }

private:
    std::shared_ptr<Dial> dial_;
    size_t number_;  // of this reading in the process
};

// Attributes of an op that has levels. Without levels, nothing of this is in a file.
struct LevelAttributes {
    std::vector<float> levels;  // ascending, or none
    int64_t start = 0;          // index of the level that a model starts with
    std::string model;          // name
    int64_t op = 0;             // number of the op in the model

    bool operator==(const LevelAttributes& other) const;
    size_t count() const { return levels.empty() ? 1 : levels.size(); }
    // `prefix` stands before the names of attributes: "up_".
    void visit(ov::AttributeVisitor& visitor, const std::string& prefix = "");
    // What is wrong with them, or an empty string.
    std::string objection() const;
};

// The reading that an op belongs to which this thread has just read: that of the ops read before it, unless op `op` is among them already.
// The level it starts with is that of SCAP_OV_LEVEL where that is set, else the model's own. Throws std::invalid_argument.
std::shared_ptr<const Reading> join_reading(const LevelAttributes& attributes);

}  // namespace scap_ov
