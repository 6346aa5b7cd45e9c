#include "packed_layout.hpp"

#include "formats/formats.hpp"

namespace scap_ov {
namespace {

constexpr size_t kSectionStep = 64;

std::string text(size_t number) {
    return std::to_string(number);
}

size_t groups_of(size_t k, int64_t size) {
    return ceil_div(k, static_cast<size_t>(size));
}

}  // namespace

std::string PackedLayout::read(const StoredAs& stored, const std::string& prefix) {
    type = find_weight_type(stored.weight_type);
    if (!type) return prefix + "weight_type is '" + stored.weight_type + "'; give one of " + weight_type_names();
    format = type->format;
    if (stored.planes != 0 && stored.planes != 1)
        return prefix + "planes is " + std::to_string(stored.planes) + "; give 0, or 1 for two planes of nibbles";
    if (stored.planes) {
        if (format != WeightFormat::u8) return prefix + "planes is 1 with " + stored.weight_type + " weights; only u8 and i8 have planes";
        format = WeightFormat::planes;
        if (stored.step_group < 1 || stored.step_group > kMaxSize)
            return prefix + "step_group is " + std::to_string(stored.step_group) + "; give the input channels per step";
    }
    if (!is_integer(format)) return "";
    if (stored.group_size < 1)
        return prefix + "group_size is " + std::to_string(stored.group_size) + "; give the input channels per scale, K for per-channel";
    if (stored.scale_type != "f16" && stored.scale_type != "f32")
        return prefix + "scale_type is '" + stored.scale_type + "'; give f16 or f32";
    return "";
}

void PackedLayout::set_outputs(size_t outputs) {
    n = outputs;
    n_padded = round_up(n, kColumnBlock);
    row_bytes = packed_row_bytes(format, n_padded);
}

std::string PackedLayout::set_rows(size_t rows, const StoredAs& stored, const std::string& prefix, const std::string& constant) {
    const size_t per_channel = rows_per_channel(format);
    if (rows % per_channel) return constant + " has " + text(rows) + " rows of weights; two planes have as many rows";
    k = rows / per_channel;
    if (k > static_cast<size_t>(kMaxSize))
        return constant + " has " + text(k) + " rows of weights; at most " + std::to_string(kMaxSize) + " input channels fit into one op";
    if (stored.planes && static_cast<size_t>(stored.group_size) < k && stored.group_size % stored.step_group)
        return prefix + "step_group is " + std::to_string(stored.step_group) + "; it must divide group_size, " +
               std::to_string(stored.group_size);
    return "";
}

AllowedBytes PackedLayout::scale_bytes(const StoredAs& stored) const {
    return is_integer(format) ? groups_of(k, stored.group_size) * n_padded * (stored.scale_type == "f16" ? 2 : 4) : 0;
}

AllowedBytes PackedLayout::zero_point_bytes(const StoredAs& stored) const {
    return {0, is_integer(format) ? groups_of(k, stored.group_size) * n_padded : 0};
}

AllowedBytes PackedLayout::step_bytes(const StoredAs& stored) const {
    return stored.planes ? groups_of(k, stored.step_group) * n_padded : 0;
}

AllowedBytes PackedLayout::threshold_bytes() const {
    return {sizeof(float), k * sizeof(float)};
}

AllowedBytes PackedLayout::whole_threshold_bytes(const StoredAs& stored) const {
    return stored.planes ? AllowedBytes{0, sizeof(float), k * sizeof(float)} : AllowedBytes{0};
}

std::string PackedLayout::check_section(const std::string& section, const std::string& of, size_t bytes, size_t levels,
                                        const AllowedBytes& allowed) const {
    const std::string named = "section " + section + of;
    const size_t got = bytes / levels;
    if (got * levels != bytes) return named + " has " + text(bytes) + " bytes, which are not those of " + text(levels) + " levels";
    if (got == allowed.first || got == allowed.second || got == allowed.third) return "";
    return named + " has " + text(got) + " bytes; with K = " + text(k) + " and N = " + text(n) + " it must have " + text(allowed.first) +
           " or " + text(allowed.second);
}

size_t place_sections(const std::vector<int64_t>& sections, size_t* offset) {
    size_t bytes = 0;
    for (const int64_t own : sections) {
        *offset++ = bytes;
        bytes += round_up(static_cast<size_t>(own), kSectionStep);
    }
    return bytes;
}

}  // namespace scap_ov
