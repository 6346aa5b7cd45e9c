// Few rows: the sparse GEMV, cut into tasks.
#pragma once
#include "rows.hpp"

namespace scap_ov {

// x: f32 [M, K], M <= kMaxGemvRows; all rows pruned or none.
void run_gemv(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const float* x);

}  // namespace scap_ov
