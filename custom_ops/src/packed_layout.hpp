// How the weights of an op lie in its packed constant, and the checks of it that both ops make. docs/packing.md draws it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "weight_type.hpp"

namespace scap_ov {

// Sizes are below these, so that no product of two of them and an element size wraps around.
inline constexpr int64_t kMaxSize = int64_t{1} << 30;
inline constexpr int64_t kMaxSectionBytes = int64_t{1} << 40;

// The attributes that say how weights are stored.
struct StoredAs {
    const std::string& weight_type;
    int64_t group_size;
    const std::string& scale_type;
    int64_t planes, step_group;
};

// Bytes that a section may have: one of three numbers.
struct AllowedBytes {
    size_t first, second, third;

    AllowedBytes(size_t one) : first(one), second(one), third(one) {}
    AllowedBytes(size_t one, size_t two) : first(one), second(two), third(one) {}
    AllowedBytes(size_t one, size_t two, size_t three) : first(one), second(two), third(three) {}
};

// What is known of the weights of a site, or of one expert. Each step fills in more and gives what is wrong, or an empty string.
struct PackedLayout {
    const WeightType* type = nullptr;
    WeightFormat format{};
    size_t k = 0, n = 0, n_padded = 0, row_bytes = 0;

    // Type, planes and groups. `prefix` stands before the names of attributes: "up_".
    std::string read(const StoredAs& stored, const std::string& prefix);
    void set_outputs(size_t outputs);
    // k, from the rows of weights in `constant`, as messages call it.
    std::string set_rows(size_t rows, const StoredAs& stored, const std::string& prefix, const std::string& constant);

    AllowedBytes scale_bytes(const StoredAs& stored) const;
    AllowedBytes zero_point_bytes(const StoredAs& stored) const;
    AllowedBytes step_bytes(const StoredAs& stored) const;             // of the steps, and of the offsets
    AllowedBytes threshold_bytes() const;                              // of the centre, too: one number or one for each channel
    AllowedBytes whole_threshold_bytes(const StoredAs& stored) const;  // of planes
    // `levels`: blocks of the section, one for each level where it depends on the level.
    std::string check_section(const std::string& section, const std::string& of, size_t bytes, size_t levels,
                              const AllowedBytes& allowed) const;
};

// Offsets of sections that lie one behind the other from 0 on; returns the end.
size_t place_sections(const std::vector<int64_t>& sections, size_t* offset);

}  // namespace scap_ov
