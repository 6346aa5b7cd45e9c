// The path of few rows, at most kMaxGemvRows, pruned or not alike.
#pragma once
#include "read_ahead.hpp"
#include "rows.hpp"
#include "scratch.hpp"

namespace scap_ov {

// Kept channels of a call's x, ready for run_gemv. Weights with the same K, group size and format may share one.
class Scan {
public:
    // x [M, K] f32; prune: as the call's centre and threshold say, otherwise every channel is kept.
    Scan(const SparseMatMulArgs& args, const Implementation& implementation, bool prune, const float* x);
    const KeptChannels& kept() const { return kept_; }

private:
    Scratch scratch_;
    KeptChannels kept_;
};

// Where a call's threads begin to read, if they drop little.
FirstReads first_reads(const SparseMatMulArgs& args);

// The product of what was kept with the weight, written to the call's outputs.
void run_gemv(const SparseMatMulArgs& args, const Implementation& implementation, const Rows& rows, const KeptChannels& kept);

}  // namespace scap_ov
