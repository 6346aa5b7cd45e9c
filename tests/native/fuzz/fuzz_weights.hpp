// How weights are stored: what fuzz_site.hpp and fuzz_sparse_experts.cpp have in common.
#pragma once
#include "bytes.hpp"
#include "formats/formats.hpp"
#include "setter.hpp"
#include "weight_type.hpp"

struct FuzzedWeights {
    std::string stored;
    bool planes, integer, f16_scale;
    size_t n_padded = 0, row_bytes = 0, step_group = 0, group = 0, groups = 0, steps = 0;

    explicit FuzzedWeights(Bytes& bytes) {
        const std::string type = bytes.choice({"u4", "i4", "u8", "i8", "f16", "bf16", "f32", "planes", "planes"});
        planes = type == "planes";
        stored = planes ? bytes.choice({"u8", "i8"}) : type;
        integer = stored.size() == 2;
        f16_scale = bytes.chance(128);
    }

    // Of k input and n output channels.
    void set_size(Bytes& bytes, size_t k, size_t n) {
        using namespace scap_ov;
        n_padded = round_up(n, kColumnBlock);
        row_bytes = packed_row_bytes(planes ? WeightFormat::planes : find_weight_type(stored)->format, n_padded);
        step_group = planes ? size_t{4} << bytes.byte() % 6 : 0;
        group = integer ? (bytes.chance(80) ? k : planes ? step_group * (1 + bytes.byte() % 3) : bytes.size(k)) : 0;
        groups = integer ? ceil_div(k, group) : 0;
        steps = planes ? ceil_div(k, step_group) * n_padded : 0;
    }

    int64_t scale_bytes() const { return static_cast<int64_t>(groups * n_padded * (f16_scale ? 2 : 4)); }
    int64_t step_bytes() const { return static_cast<int64_t>(steps); }

    // Attributes, behind a prefix: "up_".
    void put(Setter& set, const std::string& prefix) const {
        set.text[prefix + "weight_type"] = stored;
        set.text[prefix + "scale_type"] = integer ? f16_scale ? "f16" : "f32" : "";
        set.whole[prefix + "group_size"] = static_cast<int64_t>(group);
        set.whole[prefix + "planes"] = planes;
        set.whole[prefix + "step_group"] = static_cast<int64_t>(step_group);
    }
};
