// Attributes of a site that fit together, one of them broken now and then.
#pragma once
#include "bytes.hpp"
#include "formats/formats.hpp"
#include "setter.hpp"
#include "weight_type.hpp"

struct PackedSite {
    size_t k, height, width;
};

// Of a site with K = k input channels, 0: any, and layers of these sizes, none: any. Gives the shape of its packed constant, exactly as
// large as it must be. `prefix` stands before the names of attributes.
inline PackedSite fuzz_site(Bytes& bytes, Setter& set, const std::string& prefix, size_t k, std::vector<int64_t> sizes) {
    using namespace scap_ov;
    const std::string type = bytes.choice({"u4", "i4", "u8", "i8", "f16", "bf16", "f32", "planes", "planes"});
    const bool planes = type == "planes";
    const std::string stored = planes ? bytes.choice({"u8", "i8"}) : type;
    const bool integer = stored.size() == 2, f16_scale = bytes.chance(128);
    if (k == 0) k = bytes.size(300);
    if (sizes.empty()) {
        const size_t layers = 1 + bytes.byte() % 3;
        for (size_t i = 0; i < layers; ++i) sizes.push_back(static_cast<int64_t>(bytes.size(150)));
    }
    size_t n = 0;
    for (const int64_t size : sizes) n += static_cast<size_t>(size);
    const WeightFormat format = planes ? WeightFormat::planes : find_weight_type(stored)->format;
    const size_t n_padded = round_up(n, kColumnBlock), row_bytes = packed_row_bytes(format, n_padded);
    const size_t step_group = planes ? size_t{4} << bytes.byte() % 6 : 0;
    const size_t group = integer ? (bytes.chance(80) ? k : planes ? step_group * (1 + bytes.byte() % 3) : bytes.size(k)) : 0;
    const size_t groups = integer ? ceil_div(k, group) : 0, steps = planes ? ceil_div(k, step_group) * n_padded : 0;
    const auto some = [&](size_t full, size_t other) { return static_cast<int64_t>(bytes.chance(128) ? full : other); };
    std::vector<int64_t> sections = {static_cast<int64_t>(groups * n_padded * (f16_scale ? 2 : 4)),
                                     some(groups * n_padded, 0),
                                     some(4 * k, 4),
                                     some(4 * k, 4),
                                     some(4 * n, 0),
                                     some(4 * n, 0)};
    if (planes) {
        sections.insert(sections.end(), {static_cast<int64_t>(steps), static_cast<int64_t>(steps)});
        sections.push_back(bytes.chance(80) ? 0 : some(4 * k, 4));
    }
    set.levels = bytes.levels();
    if (!set.levels.empty()) {
        for (const size_t i : {2, 3, 4, 5, 8})
            if (i < sections.size()) sections[i] *= static_cast<int64_t>(set.levels.size());
    }
    size_t behind = 0;
    for (const int64_t size : sections) behind += round_up(static_cast<size_t>(size), 64);
    size_t height = k * (planes ? 2 : 1) + ceil_div(behind, row_bytes), width = row_bytes;
    set.text[prefix + "weight_type"] = stored;
    set.text[prefix + "scale_type"] = integer ? f16_scale ? "f16" : "f32" : "";
    set.text[prefix + "rows"] = bytes.choice({"decode", "all"});
    set.whole[prefix + "group_size"] = static_cast<int64_t>(group);
    set.whole[prefix + "max_sparse_rows"] = 1 + bytes.byte() % 20;
    set.whole[prefix + "planes"] = planes;
    set.whole[prefix + "step_group"] = static_cast<int64_t>(step_group);
    set.lists[prefix + "output_sizes"] = sizes;
    set.lists[prefix + "sections"] = sections;
    set_level_attributes(bytes, set, prefix);
    set.floats[prefix + "ramp"] = bytes.chance(60) ? bytes.number<float>() : 0.0f;
    set.dynamic_quantization = bytes.chance(128);
    const uint8_t broken = bytes.byte();
    if (broken == 1) set.lists[prefix + "sections"][bytes.byte() % sections.size()] = bytes.nasty();
    if (broken == 2) set.lists[prefix + "output_sizes"][bytes.byte() % sizes.size()] = bytes.nasty();
    if (broken == 3) set.whole[prefix + "group_size"] = bytes.nasty();
    if (broken == 4) set.whole[prefix + "step_group"] = bytes.nasty();
    if (broken == 5) set.whole[prefix + "max_sparse_rows"] = bytes.nasty();
    if (broken == 6) set.whole[prefix + "planes"] = bytes.nasty();
    if (broken == 7) height = bytes.size(600), width = bytes.size(2000);
    if (broken == 8) set.text[prefix + "weight_type"] = bytes.choice({"u4", "i4", "u8", "f32", "x", ""});
    if (broken == 9) {
        set.lists[prefix + "output_sizes"].push_back(bytes.nasty());
        set.lists[prefix + "sections"].push_back(bytes.nasty());
    }
    if (broken == 10) set.whole["version"] = bytes.nasty();
    return {k, height, width};
}
