// What the micro-kernels of gemm_few.hpp are given, and what those of all instruction sets share.
#pragma once

namespace scap_ov {

// Bytes of weight in a tile: two nibbles, of columns that are kColumnBlock apart, or one value of a column, of a last block.
enum class TileKind { nibbles, single };

struct FewOperands {
    const uint8_t* tile;  // of a stream: [quads][registers]
    const int8_t* x;      // [quads][rows][4]
    size_t quads;
    const float *scale, *zero_point;  // of the stream's first column; the second ones are kColumnBlock on, as in y
    const float *x_scale, *x_sums;
    float* y;  // [rows, y_stride]
    size_t y_stride;
    bool accumulate;
    const uint8_t* ahead;  // a line to prefetch at each quad
    size_t ahead_step;     // bytes from one to the next
};

// Nibbles, one activation group: x_scale [rows, x_groups] and x_sums [rows, x_groups, 2], see QuantizeRowsParams.
struct MicroFew : FewOperands {
    size_t x_groups;
};

// Bytes, all activation groups of a block, which share the scale of the weight: x_scale [fine groups, rows] and x_sums [groups, rows, 2],
// as in MicroQuantized with one_scale.
struct MicroFewBytes : FewOperands {
    size_t groups, group_quads;  // the last group has what is left of quads
    size_t scale_stride;         // from one group's zero points to the next one's
};

namespace SCAP_OV_ISA {
namespace {

template <size_t R>
struct RowNumber {
    constexpr operator size_t() const { return R; }
};
template <class Body, size_t... R>
inline void for_rows(const Body& body, std::index_sequence<R...>) {
    (body(RowNumber<R>{}), ...);
}
// body(0) ... body(Rows - 1), each by code of its own: what body takes stays in registers.
template <int Rows, class Body>
inline void for_rows(const Body& body) {
    for_rows(body, std::make_index_sequence<Rows>{});
}

// Into L2.
inline void prefetch_line(const uint8_t* at) {
    _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1);
}

}  // namespace
}  // namespace SCAP_OV_ISA
}  // namespace scap_ov
