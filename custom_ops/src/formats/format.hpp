// What a kernel needs to know of a weight format; one file each, listed in format_list.inc. Layouts: docs/packing.md.
#pragma once
#include <cstddef>
#include <cstdint>

#include "params.hpp"

namespace scap_ov {

// Channel of a position inside a block of 64, and the reverse: 16l + 4j + i <-> 16j + 4l + i.
inline constexpr size_t channel_of_position(size_t p) {
    return (p & 3) | ((p >> 2 & 3) << 4) | ((p >> 4 & 3) << 2);
}

inline constexpr size_t round_up(size_t value, size_t step) {
    return (value + step - 1) / step * step;
}
inline constexpr size_t ceil_div(size_t value, size_t step) {
    return (value + step - 1) / step;
}

}  // namespace scap_ov
