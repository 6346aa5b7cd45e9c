// All formats of format_list.inc.
#pragma once
#include "formats/bf16.hpp"
#include "formats/f16.hpp"
#include "formats/f32.hpp"
#include "formats/planes.hpp"
#include "formats/u4.hpp"
#include "formats/u8.hpp"

namespace scap_ov {

inline constexpr const char* kFormatNames[kFormatCount] = {
#define X(Trait, name) Trait::kName,
#include "formats/format_list.inc"
#undef X
};

inline size_t packed_row_bytes(WeightFormat format, size_t n_padded) {
    switch (format) {
#define X(Trait, name)       \
    case WeightFormat::name: \
        return Trait::row_bytes(n_padded);
#include "formats/format_list.inc"
#undef X
    }
    return 0;
}

// Rows of the packed weight that an input channel has: one, or one in either plane.
inline size_t rows_per_channel(WeightFormat format) {
    switch (format) {
#define X(Trait, name)       \
    case WeightFormat::name: \
        return Trait::kTwoPlanes ? 2 : 1;
#include "formats/format_list.inc"
#undef X
    }
    return 1;
}

inline bool is_integer(WeightFormat format) {
    switch (format) {
#define X(Trait, name)       \
    case WeightFormat::name: \
        return Trait::kInteger;
#include "formats/format_list.inc"
#undef X
    }
    return false;
}

}  // namespace scap_ov
