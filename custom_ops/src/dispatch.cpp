// Choice of the implementation. Nothing else asks what the CPU can do.
#include "dispatch.hpp"

#include <cstdlib>
#include <stdexcept>

#include "cpu_features.hpp"

namespace scap_ov {

#define X(isa)                              \
    namespace isa {                         \
    const Implementation& implementation(); \
    }
#include "isa_list.inc"
#undef X

const Implementation& implementation_at(int index) {
    static const Implementation* const table[] = {
#define X(isa) &isa::implementation(),
#include "isa_list.inc"
#undef X
    };
    return *table[index];
}

bool is_supported(const Implementation& implementation) {
    return (implementation.required_features & ~cpu_features()) == 0;
}

// Whether this CPU is one that it was made for.
bool is_preferred(const Implementation& implementation) {
    return (implementation.preferred_features & ~cpu_features()) == 0;
}

const Implementation& implementation_by_name(const std::string& name) {
    std::string valid;
    for (int i = 0; i < kImplementationCount; ++i) {
        const Implementation& candidate = implementation_at(i);
        if (!is_supported(candidate)) continue;
        if (name == candidate.name) return candidate;
        valid += (valid.empty() ? "" : ", ") + std::string(candidate.name);
    }
    throw std::invalid_argument("no scap_ov implementation '" + name + "' runs on this CPU; set SCAP_OV_ISA to one of " + valid +
                                ", or leave it unset");
}

const Implementation& active_implementation() {
    static const Implementation& chosen = []() -> const Implementation& {
        if (const char* name = std::getenv("SCAP_OV_ISA"); name && *name) return implementation_by_name(name);
        int i = 0;
        while (!is_supported(implementation_at(i)) || !is_preferred(implementation_at(i)))  // scalar, the last one, asks for nothing
            ++i;
        return implementation_at(i);
    }();
    return chosen;
}

}  // namespace scap_ov
