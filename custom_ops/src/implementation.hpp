// One instruction set's table of micro-kernels. dispatch.cpp picks a table; nothing else asks what the CPU can do.
#pragma once
#include "params.hpp"

namespace scap_ov {

// The dense path of few rows: nibbles, which have a scale for each group of input channels, where x has one for each of at most 128; bytes
// and planes with one for each output channel, where x has one for each 32.
struct FewRows {
    struct Range {
        size_t least, most;  // numbers of rows that are faster here than elsewhere; none: 0, 0
        bool holds(size_t rows) const { return rows >= least && rows <= most; }
    };
    Range narrow, middle, wide;  // nibbles, by the bytes of a row of the weight
    struct ByShape {
        Range tall, square, wide, other;  // see of_bytes in gemm_few.cpp
    } bytes, planes;
    void (*quantize)(const QuantizeRowsParams&) noexcept;              // as dense.digits == 1 says
    void (*kernel[kFormatCount])(const FewRowsParams&) noexcept;       // null where there is none
    void (*wide_kernel[kFormatCount])(const FewRowsParams&) noexcept;  // of bytes and planes whose rows are long, likewise
    // Of a block of so many activation groups.
    size_t (*scratch_bytes)(size_t m, size_t groups, size_t group_size) noexcept;
    // What multiplies a block while the next one is unpacked, taken before the others (kernels/avx512_zen4/gemm_pipelined.hpp).
    struct Pipelined {
        Range rows;
        size_t strip_columns;  // at most; a multiple of 128
        void (*kernel)(const FewRowsParams&) noexcept;
    } pipelined[kFormatCount];
    size_t (*pipelined_scratch_bytes)(size_t m, size_t columns) noexcept;
};

struct Implementation {
    const char* name;  // "scalar", "avx2", "avx_vnni", "avx512_vnni": the value of SCAP_OV_ISA
    const char* description;
    uint32_t required_features;                                              // bits of cpu_features.hpp
    uint32_t preferred_features;                                             // without them it is chosen by name only
    void (*widen)(const uint16_t* from, size_t count, float* to) noexcept;   // f16 -> f32
    void (*narrow)(const float* from, size_t count, uint16_t* to) noexcept;  // f32 -> f16
    void (*add)(const float* other, size_t count, float* y) noexcept;        // y += other; count a multiple of kColumnBlock
    void (*activate)(const ActivateParams&) noexcept;
    void (*combine)(const float* const* rows, const float* factor, size_t count, size_t n, float* out) noexcept;  // Σ factor · row
    void (*compact)(const CompactParams&) noexcept;
    void (*quantize_rows)(const QuantizeRowsParams&) noexcept;
    void (*sparse_gemv_qd8[kFormatCount])(const SparseGemvParams&) noexcept;  // null for float formats
    void (*sparse_gemv_f32[kFormatCount])(const SparseGemvParams&) noexcept;
    void (*gemm_qd8[kFormatCount])(const GemmParams&) noexcept;  // null for float formats
    void (*gemm_f32[kFormatCount])(const GemmParams&) noexcept;
    void (*gemm_half_qd8)(const GemmParams&) noexcept;  // planes: the high plane alone
    void (*gemm_half_f32)(const GemmParams&) noexcept;
    size_t (*gemv_scratch_bytes)(size_t m, size_t columns) noexcept;
    size_t (*gemm_scratch_bytes)(size_t k, size_t group_size) noexcept;
    // Of a task with m rows, at most; a multiple of 128. group_size is that of x, or 0.
    size_t (*gemm_columns)(size_t m, bool in_planes, size_t group_size) noexcept;
    DenseActivations dense;
    FewRows few;
};

}  // namespace scap_ov
