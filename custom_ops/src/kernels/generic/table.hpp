// The table of the kernels of namespace SCAP_OV_ISA. Included outside the target region: every CPU asks for the tables.
#pragma once
#include "formats/formats.hpp"
#include "implementation.hpp"

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

// Products of int8 activations: of integer weights only.
template <class Format>
constexpr decltype(&sparse_gemv_planes_qd8) quantized_gemv() {
    if constexpr (Format::kTwoPlanes)
        return &sparse_gemv_planes_qd8;
    else if constexpr (Format::kInteger)
        return &sparse_gemv_qd8<Format>;
    else
        return nullptr;
}
template <class Format>
constexpr decltype(&sparse_gemv_planes_f32) float_gemv() {
    if constexpr (Format::kTwoPlanes)
        return &sparse_gemv_planes_f32;
    else
        return &sparse_gemv_f32<Format>;
}
template <class Format>
constexpr decltype(&gemm_f32<Format>) quantized_gemm() {
    if constexpr (Format::kInteger)
        return &gemm_qd8<Format>;
    else
        return nullptr;
}

inline Implementation table(const char* name, const char* description, uint32_t required_features) {
    return {
        name,
        description,
        required_features,
        0,
        widen,
        narrow,
        add,
        activate,
        combine,
        compact,
        quantize_rows,
        {
#define X(Trait, name) quantized_gemv<Trait>(),
#include "formats/format_list.inc"
#undef X
        },
        {
#define X(Trait, name) float_gemv<Trait>(),
#include "formats/format_list.inc"
#undef X
        },
        {
#define X(Trait, name) quantized_gemm<Trait>(),
#include "formats/format_list.inc"
#undef X
        },
        {
#define X(Trait, name) gemm_f32<Trait>,
#include "formats/format_list.inc"
#undef X
        },
        gemm_qd8<HighPlane>,
        gemm_f32<HighPlane>,
        gemv_scratch_bytes,
        gemm_scratch_bytes,
        gemm_columns,
        {128, kQuad, 1, kMaxGemvRows + 1, kLeastRowsOfPlanes},
        {
            kFewRows[0],
            kFewRows[1],
            kFewRows[2],
            kFewRowsOfBytes,
            kFewRowsOfPlanes,
            quantize_rows,
            {
#define X(Trait, name) few_kernel<Trait>(),
#include "formats/format_list.inc"
#undef X
            },
            {
#define X(Trait, name) wide_kernel<Trait>(),
#include "formats/format_list.inc"
#undef X
            },
            few_scratch_bytes,
            {},
            nullptr,
        },
    };
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
