// State of the dial, and the C functions that turn it. Dials live as long as ops that hold them.
#include "levels.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <openvino/core/attribute_adapter.hpp>
#include <set>
#include <sstream>
#include <stdexcept>

#include "guarded.hpp"
#include "scap_ov.h"

namespace scap_ov {
namespace {

constexpr double kTolerance = 1e-4;     // levels are shares of bytes; files hold them as float32
constexpr size_t kMaxLevels = 64;       // more blocks of thresholds would be a mistake, not a choice
constexpr int64_t kMaxOps = 1 << 20;    // of a model
constexpr size_t kMostRemembered = 64;  // readings whose steps a thread remembers
constexpr const char* kEnvironment = "SCAP_OV_LEVEL";

std::mutex registry_mutex;
std::vector<std::weak_ptr<Dial>> registry;
std::atomic<size_t> readings{0};

std::string text(double level) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%g", level);
    return buffer;
}

std::string list(const std::vector<float>& levels) {
    std::string all;
    for (const float level : levels) all += (all.empty() ? "" : ", ") + text(level);
    return all;
}

// Dials that are alive, of one name or of all. Under the mutex.
std::vector<std::shared_ptr<Dial>> loaded(const char* model) {
    std::vector<std::shared_ptr<Dial>> found;
    registry.erase(std::remove_if(registry.begin(), registry.end(), [](const auto& dial) { return dial.expired(); }), registry.end());
    for (const auto& weak : registry)
        if (auto dial = weak.lock(); dial && (!model || dial->name() == model)) found.push_back(std::move(dial));
    return found;
}

std::vector<std::shared_ptr<Dial>> some_loaded(const char* model) {
    auto found = loaded(model);
    if (!found.empty()) return found;
    const auto all = loaded(nullptr);
    if (all.empty()) throw std::invalid_argument(std::string("no model with levels is loaded; open one first, or set ") + kEnvironment);
    std::set<std::string> names;
    for (const auto& dial : all) names.insert(dial->name());
    std::string known;
    for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
    throw std::invalid_argument(std::string("no model named '") + model + "' with levels is loaded; there are: " + known);
}

double number(const std::string& word) {
    char* end = nullptr;
    const double value = std::strtod(word.c_str(), &end);
    if (word.empty() || *end != '\0')
        throw std::invalid_argument(std::string(kEnvironment) + " holds '" + word + "'; give a level such as 0.4, or model=0.4,other=0.25");
    return value;
}

// What the environment says of a model: `0.4`, or `model=0.4` among others. Read anew for each model that is read.
size_t start_of(const Dial& dial) {
    const char* value = std::getenv(kEnvironment);
    if (!value || !*value) return dial.chosen();
    size_t start = dial.chosen();
    bool named = false;
    std::istringstream words(value);
    for (std::string word; std::getline(words, word, ',');) {
        const size_t equals = word.rfind('=');
        const double level = number(equals == std::string::npos ? word : word.substr(equals + 1));
        const bool own = equals != std::string::npos && word.substr(0, equals) == dial.name();
        if (own || (equals == std::string::npos && !named)) start = dial.index_of(level);
        named |= own;
    }
    return start;
}

std::shared_ptr<Dial> dial_of(const LevelAttributes& a) {
    const std::lock_guard<std::mutex> lock(registry_mutex);
    for (auto& dial : loaded(a.model.c_str()))
        if (dial->levels() == a.levels) return dial;
    auto dial = std::make_shared<Dial>(a.model, a.levels, static_cast<size_t>(a.start));
    dial->choose(start_of(*dial));
    registry.push_back(dial);
    return dial;
}

// Steps of a thread, one for each reading that it ran.
struct Step {
    size_t reading;
    size_t level;
    size_t number;            // of the step, from 1
    std::vector<size_t> ran;  // number of the step that each op ran in last
};

// The reading whose ops a thread is reading now.
struct Open {
    std::weak_ptr<const Reading> reading;
    std::set<int64_t> ops;
};

}  // namespace

Dial::Dial(std::string name, std::vector<float> levels, size_t chosen)
    : name_(std::move(name)), levels_(std::move(levels)), chosen_(chosen) {}

size_t Dial::index_of(double level) const {
    for (size_t i = 0; i < levels_.size(); ++i)
        if (std::fabs(levels_[i] - level) < kTolerance) return i;
    throw std::invalid_argument("level " + text(level) + " is not in the model '" + name_ + "'; it has " + list(levels_));
}

Reading::Reading(std::shared_ptr<Dial> dial) : dial_(std::move(dial)), number_(++readings) {}

size_t Reading::level_of_step(size_t op) const {
    thread_local std::vector<Step> steps;
    auto step = std::find_if(steps.begin(), steps.end(), [&](const Step& s) { return s.reading == number_; });
    if (step == steps.end()) {
        if (steps.size() == kMostRemembered) steps.erase(steps.begin());
        steps.push_back({number_, dial_->chosen(), 1, {}});
        step = steps.end() - 1;
    }
    if (step->ran.size() <= op) step->ran.resize(op + 1, 0);
    if (step->ran[op] == step->number) {
        ++step->number;
        step->level = dial_->chosen();
    }
    step->ran[op] = step->number;
    return step->level;
}

bool LevelAttributes::operator==(const LevelAttributes& o) const {
    return levels == o.levels && start == o.start && model == o.model && op == o.op;
}

void LevelAttributes::visit(ov::AttributeVisitor& visitor, const std::string& prefix) {
    visitor.on_attribute(prefix + "levels", levels);
    visitor.on_attribute(prefix + "start_level", start);
    visitor.on_attribute(prefix + "level_model", model);
    visitor.on_attribute(prefix + "level_op", op);
}

std::string LevelAttributes::objection() const {
    if (levels.empty()) return {};
    if (levels.size() > kMaxLevels) return "levels has " + std::to_string(levels.size()) + " entries; give at most 64";
    for (size_t i = 0; i < levels.size(); ++i)
        if (!(levels[i] >= 0.0f && levels[i] < 1.0f) || (i && !(levels[i] > levels[i - 1])))
            return "levels are " + list(levels) + "; give shares of at least 0 and below 1, in ascending order";
    if (start < 0 || start >= static_cast<int64_t>(levels.size()))
        return "start_level is " + std::to_string(start) + "; give an index of levels";
    if (op < 0 || op >= kMaxOps) return "level_op is " + std::to_string(op) + "; give 0 to " + std::to_string(kMaxOps - 1);
    return {};
}

std::shared_ptr<const Reading> join_reading(const LevelAttributes& attributes) {
    thread_local Open open;
    std::shared_ptr<Dial> dial = dial_of(attributes);
    std::shared_ptr<const Reading> reading = open.reading.lock();
    if (!reading || reading->dial() != dial.get() || open.ops.count(attributes.op)) {
        reading = std::make_shared<const Reading>(std::move(dial));
        open = {reading, {}};
    }
    open.ops.insert(attributes.op);
    return reading;
}

}  // namespace scap_ov

using namespace scap_ov;

int scap_ov_set_level(double level, const char* model, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        const std::lock_guard<std::mutex> lock(registry_mutex);
        std::vector<std::pair<std::shared_ptr<Dial>, size_t>> changes;
        for (auto& dial : some_loaded(model)) changes.emplace_back(dial, dial->index_of(level));
        for (const auto& [dial, index] : changes) dial->choose(index);
    });
}

int scap_ov_get_level(const char* model, double* level, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        const std::lock_guard<std::mutex> lock(registry_mutex);
        std::set<std::string> seen;
        std::string all;
        for (const auto& dial : some_loaded(model)) {
            const std::string own = text(dial->levels()[dial->chosen()]);
            seen.insert(own);
            all += (all.empty() ? "" : ", ") + dial->name() + " " + own;
        }
        if (seen.size() > 1) throw std::invalid_argument("models have different levels (" + all + "); name one of them");
        *level = std::strtod(seen.begin()->c_str(), nullptr);
    });
}

int scap_ov_levels_of(const char* model, double* levels, size_t capacity, size_t* count, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        const std::lock_guard<std::mutex> lock(registry_mutex);
        std::set<double> found;  // that all of them have
        bool first = true;
        for (const auto& dial : some_loaded(model)) {
            std::set<double> own;
            for (const float level : dial->levels()) own.insert(std::strtod(text(level).c_str(), nullptr));
            for (auto it = found.begin(); it != found.end();) it = own.count(*it) ? std::next(it) : found.erase(it);
            if (first) found = own;
            first = false;
        }
        *count = found.size();
        size_t i = 0;
        for (auto it = found.begin(); it != found.end() && i < capacity; ++it) levels[i++] = *it;
    });
}

int scap_ov_models(char* names, size_t capacity, size_t* size, char* error, size_t error_size) {
    return guarded(error, error_size, [&] {
        const std::lock_guard<std::mutex> lock(registry_mutex);
        std::set<std::string> found;
        for (const auto& dial : loaded(nullptr)) found.insert(dial->name());
        std::string all;
        for (const std::string& name : found) all += name + "\n";
        *size = all.size() + 1;
        if (names && capacity) std::snprintf(names, capacity, "%s", all.c_str());
    });
}
