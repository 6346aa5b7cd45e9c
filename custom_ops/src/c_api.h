// C entry points for Python (ctypes): what is in the library, and for tests and benchmarks one sparse matmul with a named implementation
// and a number of threads. Not a stable interface for users; they run the op.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#    define SCAP_OV_API __declspec(dllexport)
#else
#    define SCAP_OV_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

SCAP_OV_API int scap_ov_implementation_count(void);
SCAP_OV_API const char* scap_ov_implementation_name(int index);                         // best first
SCAP_OV_API int scap_ov_implementation_supported(int index);                            // 1 when this CPU can run it
SCAP_OV_API const char* scap_ov_active_implementation(char* error, size_t error_size);  // null, and the reason in error
SCAP_OV_API int scap_ov_format_count(void);
SCAP_OV_API const char* scap_ov_format_name(int index);

// The fields of docs/packing.md on plain pointers. Empty inputs are null.
typedef struct {
    const void* x;  // [m, k], f32, or f16 when x_is_f16; so are the outputs
    int32_t x_is_f16;
    size_t m, k, n;           // n: output channels of all layers
    const char* weight_type;  // a name of weight_type.hpp
    const uint8_t* weight;
    const void* scale;
    int32_t scale_is_f16;
    const uint8_t* zero_point;
    size_t group_size;
    const float* center;
    size_t center_size;
    const float* threshold;
    size_t threshold_size;
    const float* compensation;
    const float* base;
    int32_t all_rows;
    size_t max_sparse_rows;
    size_t positions;
    int32_t dynamic_quantization;
    void* const* outputs;
    const size_t* output_sizes;
    size_t output_count;
    float ramp;
    int32_t planes;  // weight is [2 k, row_bytes] in two planes, with the fields below
    const uint8_t* step;
    const uint8_t* offset;
    size_t step_group;
    const float* whole_threshold;
    size_t whole_threshold_size;
} scap_ov_sparse_matmul_args;

// Whole op, `repeat` times. 0, or 1 and the reason in error.
SCAP_OV_API int scap_ov_sparse_matmul(const scap_ov_sparse_matmul_args* args, const char* implementation, int threads, int repeat,
                                      char* error, size_t error_size);

// One product of all experts; offsets in bytes from an expert's weight, 0 where there is no such section.
typedef struct {
    const char* weight_type;
    const uint8_t* packed;  // expert 0
    size_t stride;          // bytes from one expert to the next
    size_t k, n, group_size;
    size_t scale, zero_point, base, step, offset;
    size_t step_group;  // 0: not in planes
    int32_t scale_is_f16;
    const float* bias;  // [experts, n] or null
    const float* center;
    size_t center_size;
    const float* threshold;
    size_t threshold_size;
    const float* whole_threshold;
    size_t whole_threshold_size;
} scap_ov_expert_stage;

typedef struct {
    const void* x;  // [tokens, k of up], f32, or f16 when x_is_f16; so is the output
    int32_t x_is_f16;
    size_t tokens;
    const void* ids;  // [tokens, choices]
    int32_t ids_are_i64;
    const float* routing;
    size_t experts, choices;
    scap_ov_expert_stage up, down;
    int32_t interleaved;
    const char* activation;
    float alpha, limit;
    int32_t all_rows;
    size_t max_sparse_rows;
    size_t positions;
    int32_t dynamic_quantization;
    void* output;
} scap_ov_sparse_experts_args;

// A layer of experts. 0, or 1 and the reason in error.
SCAP_OV_API int scap_ov_sparse_experts(const scap_ov_sparse_experts_args* args, const char* implementation, int threads, char* error,
                                       size_t error_size);

// Step and offset of each group of 8-bit weights, [groups, group], that is split into two planes (formats/planes.py, which calls it).
SCAP_OV_API void scap_ov_plane_steps(const uint8_t* weights, size_t groups, size_t group, uint8_t* step, uint8_t* offset);

// Output channels as a model stores them, which need not follow one another.
typedef struct {
    const uint8_t* const* rows;  // [n], each the integers of one
    size_t n;
    int32_t bits;  // 8, or 4: two in a byte, the first in the low nibble
    uint8_t flip;  // by xor to what packed formats hold: 0x80 of i8, 0x88 of two i4
} scap_ov_rows;

// Step and offset of every group of input channels of every output channel, [n, groups].
typedef struct {
    size_t group, groups;
    const uint8_t* step;
    const uint8_t* offset;
} scap_ov_steps;

// Bytes [first, last) of every output channel to the rows of their input channels, u8 or u4 (formats/native.py, which calls it).
SCAP_OV_API void scap_ov_pack(const scap_ov_rows* rows, size_t first, size_t last, int32_t packed_bits, uint8_t* out, size_t row_bytes);

// The same in two planes, each as rows of u4.
SCAP_OV_API void scap_ov_pack_planes(const scap_ov_rows* rows, size_t first, size_t last, const scap_ov_steps* steps, uint8_t* high,
                                     uint8_t* low, size_t row_bytes);

// Reads `bytes` of data with `threads` threads and vector loads, `repeat` times; returns seconds of the fastest. The
// machine's read bandwidth, beside which kernels are judged.
SCAP_OV_API double scap_ov_read_seconds(const uint8_t* data, size_t bytes, int threads, int repeat);

#ifdef __cplusplus
}
#endif
