// In place of src/cpu_features.cpp where instructions are emulated: this CPU has them all.
#include "cpu_features.hpp"

namespace scap_ov {

uint32_t cpu_features() {
    return ~0u;
}

}  // namespace scap_ov
