// Which rows a model prunes, unless the process says otherwise: SCAP_OV_ROWS=all or decode, read once. `all` is for tools that score whole
// sequences in one pass, which would measure the dense model, as long steps run dense.
#pragma once
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace scap_ov {

inline bool prunes_all_rows(const std::string& of_model) {
    static const std::string forced = [] {
        const char* value = std::getenv("SCAP_OV_ROWS");
        const std::string rows = value ? value : "";
        if (!rows.empty() && rows != "all" && rows != "decode")
            throw std::invalid_argument("SCAP_OV_ROWS is '" + rows + "'; give all or decode, or leave it unset");
        return rows;
    }();
    return (forced.empty() ? of_model : forced) == "all";
}

}  // namespace scap_ov
