// The table of the kernels of namespace SCAP_OV_ISA. Included outside the target region: every CPU asks for the tables.
#pragma once
#include "formats/formats.hpp"
#include "implementation.hpp"

namespace scap_ov {
namespace SCAP_OV_ISA {
namespace {

inline Implementation table(const char* name, const char* description, uint32_t required_features) {
    return {
        name,
        description,
        required_features,
        widen,
        narrow,
        add,
        compact,
        quantize_rows,
        {sparse_gemv_qd8<U4>, sparse_gemv_qd8<U8>, nullptr, nullptr, nullptr},
        {sparse_gemv_f32<U4>, sparse_gemv_f32<U8>, sparse_gemv_f32<F16>, sparse_gemv_f32<BF16>, sparse_gemv_f32<F32>},
        {gemm_qd8<U4>, gemm_qd8<U8>, nullptr, nullptr, nullptr},
        {gemm_f32<U4>, gemm_f32<U8>, gemm_f32<F16>, gemm_f32<BF16>, gemm_f32<F32>},
        gemv_scratch_bytes,
        gemm_scratch_bytes,
    };
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
