// Which implementation runs: the first of isa_list.inc that this CPU supports, or the one that SCAP_OV_ISA names.
#pragma once
#include <string>

#include "implementation.hpp"

namespace scap_ov {

inline constexpr int kImplementationCount = 0
#define X(isa) +1
#include "isa_list.inc"
#undef X
    ;

const Implementation& implementation_at(int index);  // in the order of isa_list.inc
bool is_supported(const Implementation& implementation);

// Throws std::invalid_argument, listing the valid names, for an unknown name or one that this CPU cannot run.
const Implementation& implementation_by_name(const std::string& name);

// Chosen once, at the first use.
const Implementation& active_implementation();

}  // namespace scap_ov
