// Attributes of a site that fit together, one of them broken now and then.
#pragma once
#include "fuzz_weights.hpp"

struct PackedSite {
    size_t k, height, width;
};

// Of a site with K = k input channels, 0: any, and layers of these sizes, none: any. Gives the shape of its packed constant, exactly as
// large as it must be. `prefix` stands before the names of attributes.
inline PackedSite fuzz_site(Bytes& bytes, Setter& set, const std::string& prefix, size_t k, std::vector<int64_t> sizes) {
    using namespace scap_ov;
    FuzzedWeights weights(bytes);
    if (k == 0) k = bytes.size(300);
    if (sizes.empty()) {
        const size_t layers = 1 + bytes.byte() % 3;
        for (size_t i = 0; i < layers; ++i) sizes.push_back(static_cast<int64_t>(bytes.size(150)));
    }
    size_t n = 0;
    for (const int64_t size : sizes) n += static_cast<size_t>(size);
    weights.set_size(bytes, k, n);
    const auto some = [&](size_t full, size_t other) { return static_cast<int64_t>(bytes.chance(128) ? full : other); };
    std::vector<int64_t> sections = {
        weights.scale_bytes(), some(weights.groups * weights.n_padded, 0), some(4 * k, 4), some(4 * k, 4), some(4 * n, 0), some(4 * n, 0)};
    if (weights.planes) {
        sections.insert(sections.end(), {weights.step_bytes(), weights.step_bytes()});
        sections.push_back(bytes.chance(80) ? 0 : some(4 * k, 4));
    }
    set.levels = bytes.levels();
    if (!set.levels.empty()) {
        for (const size_t i : {2, 3, 4, 5, 8})
            if (i < sections.size()) sections[i] *= static_cast<int64_t>(set.levels.size());
    }
    size_t behind = 0;
    for (const int64_t size : sections) behind += round_up(static_cast<size_t>(size), 64);
    size_t height = k * (weights.planes ? 2 : 1) + ceil_div(behind, weights.row_bytes), width = weights.row_bytes;
    weights.put(set, prefix);
    set.text[prefix + "rows"] = bytes.choice({"decode", "all"});
    set.whole[prefix + "max_sparse_rows"] = 1 + bytes.byte() % 20;
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
