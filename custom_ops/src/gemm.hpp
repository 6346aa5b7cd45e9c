// Many rows: the dense GEMM, cut into tasks.
#pragma once
#include "rows.hpp"

namespace scap_ov {

// x: f32 [M, K]; pruned rows are masked first.
void run_gemm(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const float* x);

}  // namespace scap_ov
