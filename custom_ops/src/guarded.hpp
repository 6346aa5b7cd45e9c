// The edge of a C function: an exception becomes a code and a text.
#pragma once

#include <cstddef>
#include <cstdio>
#include <exception>

namespace scap_ov {

// Runs body; 0, or 1 with what its exception says in error, when there is room.
template <class Body>
int guarded(char* error, size_t error_size, const Body& body) {
    try {
        body();
        return 0;
    } catch (const std::exception& e) {
        if (error && error_size) std::snprintf(error, error_size, "%s", e.what());
        return 1;
    }
}

}  // namespace scap_ov
