// A few rows: the weight is read once, in the order in which it lies in memory. Rows of the weight that are shorter than some pages are cut
// into parts of the input channels, each with a sum of its own; parts, and the tree in which they are added, follow from the shape and the
// number of rows alone. Longer rows are cut into pieces of columns. So bits do not depend on the number of threads.
#include "gemm_few.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "formats/formats.hpp"
#include "parallel.hpp"
#include "quantized_rows.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

constexpr size_t kColumnStep = 128;                   // whole tiles
constexpr size_t kLeastBytes = size_t{1} << 20;       // smaller weights stay in the caches, whatever the order
constexpr size_t kNarrowRowBytes = 2048;              // rows of the weight; up to there six rows of x are enough to gain
constexpr size_t kWideRowBytes = 8192;                // halves of such rows are whole pages
constexpr size_t kStripBytes = 4096;                  // of a row: prefetchers stop at the end of a page
constexpr size_t kLeastStripBytes = 2048;             // where sums of many rows of x would not stay in L2
constexpr size_t kStripSumBytes = size_t{512} << 10;  // of a strip
constexpr size_t kBlockChannels = 128;                // input channels of a block,
constexpr size_t kWideBlockChannels = 64;             // of wide rows, each of which is in another page: of 128 the TLB of L1 has too few
constexpr size_t kWideByteChannels = 32;              // of bytes and planes: one activation group
constexpr size_t kDeepRowBytes = 3072;                // of bytes and planes, for which 128 are faster
constexpr size_t kMostRowBytes = 4096;                // of bytes and planes that gain by being tall, or have rows that are not long
constexpr size_t kMaxParts = 4;                       // a power of two
constexpr size_t kPartBytes = size_t{1} << 20;        // weight bytes of a part, at least
constexpr size_t kSumBytes = size_t{2} << 20;         // of the sums of more than two parts, at most
constexpr size_t kLeastPipelinedBytes = size_t{128} << 10;  // smaller ones have not been measured

// Of an input channel.
size_t row_bytes(const PackedWeight& weight) {
    return (weight.step ? 2 : 1) * weight.row_bytes;
}

// Of nibbles.
bool is_wide(const PackedWeight& weight) {
    return row_bytes(weight) >= kWideRowBytes;
}

// Bytes and planes of which reading hides behind multiplying but for the first block of a part.
bool is_tall(const PackedWeight& weight) {
    return row_bytes(weight) <= kMostRowBytes && weight.k >= 2 * weight.n_padded;
}

// Whether 32 input channels are taken at a time (kernels/generic/gemm_few_wide.hpp): bytes and planes unless they are tall.
bool takes_wide_kernel(const SparseMatMulArgs& a) {
    return a.format != WeightFormat::u4 && !is_tall(a.weight);
}

// What multiplies a block while the next one is unpacked; null where it does not take this call: scales of x and of the weight have to
// change with whole blocks only.
const FewRows::Pipelined* pipelined_of(const SparseMatMulArgs& a, const FewRows& few) {
    const FewRows::Pipelined& pipelined = few.pipelined[static_cast<int>(a.format)];
    const bool nibbles = a.format == WeightFormat::u4;
    const bool takes = pipelined.kernel && pipelined.rows.holds(a.m) && a.k % kFineGroup == 0 &&
                       a.k * row_bytes(a.weight) >= kLeastPipelinedBytes && nibbles == (a.weight.group_size < a.k) &&
                       a.weight.group_size % (nibbles ? kFineGroup : 1) == 0 && (!a.weight.step || a.weight.step_group % kFineGroup == 0);
    return takes ? &pipelined : nullptr;
}

// The kernel of this call; null where there is none.
auto kernel_of(const SparseMatMulArgs& a, const FewRows& few) {
    if (const FewRows::Pipelined* pipelined = pipelined_of(a, few)) return pipelined->kernel;
    return (takes_wide_kernel(a) ? few.wide_kernel : few.kernel)[static_cast<int>(a.format)];
}

size_t block_channels(const SparseMatMulArgs& a) {
    if (takes_wide_kernel(a)) return kWideByteChannels;
    const bool deep = a.format == WeightFormat::u4 ? !is_wide(a.weight) : row_bytes(a.weight) <= kDeepRowBytes;
    return deep ? kBlockChannels : kWideBlockChannels;
}

DenseActivations activations_of(const SparseMatMulArgs& a, const FewRows& few) {
    return {pipelined_of(a, few) ? kFineGroup : block_channels(a), kQuad, 1, 0, 0};
}

// x as the pipelined kernel reads it, see FewRowsParams.
class OrderedRows {
public:
    // q: in groups of 32. weight_group: input channels that share a scale of the weight, or more than there are.
    OrderedRows(const QuantizeRowsParams& q, size_t weight_group)
        : scratch_(bytes(q)),
          value_(scratch_.take<int8_t>(q.m * q.k)),
          scale_(scratch_.take<float>(q.m * groups(q))),
          sum_(scratch_.take<float>(q.m * groups(q))) {
        for (size_t m = 0; m < q.m; ++m) {
            const float *scales = q.scale + m * groups(q), *sums = q.sums + 2 * m * groups(q);
            float sum = 0.0f;
            for (size_t g = 0, k = 0; k < q.k; ++g, k += kFineGroup) {
                std::memcpy(value_ + k * q.m + m * kFineGroup, q.quantized + m * q.k_padded + k, kFineGroup);
                scale_[g * q.m + m] = scales[g];
                sum = (k % weight_group == 0 ? 0.0f : sum) + sums[2 * g];
                sum_[(weight_group < q.k ? g * q.m : 0) + m] = sum;
            }
        }
    }
    void give(FewRowsParams& p) const {
        p.x = value_;
        p.x_scale = scale_;
        p.x_sum = sum_;
    }

private:
    static size_t groups(const QuantizeRowsParams& q) { return q.k / kFineGroup; }
    static size_t bytes(const QuantizeRowsParams& q) {
        return Scratch::bytes_for<int8_t>(q.m * q.k) + 2 * Scratch::bytes_for<float>(q.m * groups(q));
    }

    Scratch scratch_;
    int8_t* value_;
    float *scale_, *sum_;
};

struct FewGemm {
    const SparseMatMulArgs& args;
    const Implementation& implementation;
    const Rows& rows;
    const QuantizeRowsParams& q;
    size_t parts, pieces;        // of the input channels, of the columns
    size_t block_groups;         // activation groups of a block
    const OrderedRows* ordered;  // of the pipelined kernel, else null

    size_t stride() const { return parts == 1 ? strip_columns() + kStridePadding : args.weight.n_padded + kStridePadding; }
    size_t part_size() const { return args.m * stride(); }
    size_t piece_from(size_t piece) const {
        const size_t steps = ceil_div(args.weight.n_padded, kColumnStep);
        return std::min(steps * piece / pieces * kColumnStep, args.weight.n_padded);
    }
    size_t strip_columns() const {
        if (ordered) return pipelined_of(args, implementation.few)->strip_columns;
        const size_t n = args.weight.n_padded, of_sums = kStripSumBytes / sizeof(float) / args.m;
        const size_t most = kStripBytes * n / args.weight.row_bytes, least = kLeastStripBytes * n / args.weight.row_bytes;
        const size_t columns = std::max(std::min(most, of_sums), least) / kColumnStep * kColumnStep;
        return std::min(std::max(columns, kColumnStep), n);
    }
    // of a piece, all about as wide
    size_t strips(size_t piece) const { return ceil_div(piece_from(piece + 1) - piece_from(piece), strip_columns()); }
    size_t strip_from(size_t piece, size_t strip) const {
        const size_t from = piece_from(piece), to = piece_from(piece + 1), steps = ceil_div(to - from, kColumnStep);
        return std::min(from + ceil_div(steps * strip, strips(piece)) * kColumnStep, to);
    }

    void run_task(size_t task, float* sums, std::atomic<uint8_t>* arrived) const {
        const size_t part = task / pieces, piece = task % pieces, groups = ceil_div(q.k, q.group_size);
        const size_t bytes = ordered ? implementation.few.pipelined_scratch_bytes(args.m, strip_columns())
                                     : implementation.few.scratch_bytes(args.m, block_groups, q.group_size);
        Scratch scratch(round_up(bytes, 64) + (parts == 1 ? Scratch::bytes_for<float>(part_size()) : 0));
        FewRowsParams p{};
        p.weight = &args.weight;
        p.q = &q;
        p.group_from = groups * part / parts;
        p.group_to = groups * (part + 1) / parts;
        p.block_groups = block_groups;
        p.scratch = scratch.take<uint8_t>(bytes);
        p.y_stride = stride();
        if (ordered) ordered->give(p);
        float* own = parts == 1 ? scratch.take<float>(part_size()) : nullptr;
        const size_t count = strips(piece);
        for (size_t strip = 0; strip < count; ++strip) {
            p.n_from = strip_from(piece, strip);
            p.n_to = p.next_from = strip_from(piece, strip + 1);
            p.next_to = strip + 1 < count ? strip_from(piece, strip + 2) : p.n_to;
            p.prefetched = strip != 0;
            p.y = own ? own : sums + part * part_size() + p.n_from;
            kernel_of(args, implementation.few)(p);
            if (own) write_outputs(args, implementation, rows, own, p.y_stride, 0, args.m, p.n_from, p.n_to);
        }
        if (!own) add_up(part, piece, sums, arrived);
    }

    // From the leaf of `part` towards the root, as far as the other half of each node has arrived: whoever comes second adds.
    void add_up(size_t part, size_t piece, float* sums, std::atomic<uint8_t>* arrived) const {
        const size_t from = piece_from(piece), to = piece_from(piece + 1);
        for (size_t node = parts + part, width = 1; node > 1; node /= 2, width *= 2) {
            if (arrived[piece * parts + node / 2].fetch_add(1, std::memory_order_acq_rel) == 0) return;
            const size_t left = part / (2 * width) * (2 * width);
            for (size_t m = 0; m < args.m; ++m) {
                float* sum = sums + left * part_size() + m * stride() + from;
                implementation.add(sum + width * part_size(), to - from, sum);
            }
        }
        write_outputs(args, implementation, rows, sums + from, stride(), 0, args.m, from, to);
    }
};

size_t parts_of(const SparseMatMulArgs& a, const FewRows& few, size_t groups) {
    if (pipelined_of(a, few) || takes_wide_kernel(a) || is_wide(a.weight)) return 1;
    const auto divides = [&](size_t parts) {
        return parts <= kMaxParts && parts <= groups && parts * kPartBytes <= a.k * row_bytes(a.weight) &&
               (parts == 2 || parts * a.m * a.weight.n_padded * sizeof(float) <= kSumBytes);
    };
    size_t parts = 1;
    while (divides(2 * parts)) parts *= 2;
    return parts;
}

FewRows::Range of_nibbles(const PackedWeight& w, const FewRows& few) {
    if (w.group_size >= w.k) return {};
    return is_wide(w) ? few.wide : w.row_bytes > kNarrowRowBytes ? few.middle : few.narrow;
}

// Bytes and planes: by how long rows are, and short ones by how many there are.
FewRows::Range of_bytes(const PackedWeight& w, const FewRows& few) {
    const FewRows::ByShape& by_shape = w.step ? few.planes : few.bytes;
    if (w.group_size < w.k) return {};
    if (row_bytes(w) > kMostRowBytes) return by_shape.wide;
    if (is_tall(w)) return by_shape.tall;
    return w.k < w.n_padded ? by_shape.other : by_shape.square;
}

}  // namespace

bool takes_few(const SparseMatMulArgs& a, const Implementation& implementation) {
    if (!kernel_of(a, implementation.few)) return false;
    if (pipelined_of(a, implementation.few)) return quantizes_activations(a);
    const FewRows::Range range =
        a.format == WeightFormat::u4 ? of_nibbles(a.weight, implementation.few) : of_bytes(a.weight, implementation.few);
    return range.holds(a.m) && a.k * row_bytes(a.weight) >= kLeastBytes && quantizes_activations(a) &&
           dense_group_size(a.format, a.weight, activations_of(a, implementation.few), false) <=
               (takes_wide_kernel(a) ? kWideByteChannels : kBlockChannels);
}

void run_gemm_few(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const float* x) {
    const QuantizedRows quantized(a, activations_of(a, implementation.few), implementation.few.quantize, x, false);
    const QuantizeRowsParams& q = quantized.q;
    std::optional<OrderedRows> ordered;
    if (pipelined_of(a, implementation.few)) ordered.emplace(q, a.weight.group_size);
    const size_t parts = parts_of(a, implementation.few, ceil_div(a.k, q.group_size)), steps = ceil_div(a.weight.n_padded, kColumnStep);
    const size_t pieces = std::min(ceil_div(ceil_div(thread_count(), a.beside), parts), steps);
    const size_t groups = takes_wide_kernel(a) ? 1 : std::max(block_channels(a) / q.group_size, size_t{1});
    const FewGemm gemm{a, implementation, rows, q, parts, pieces, groups, ordered ? &*ordered : nullptr};
    const size_t tasks = parts * pieces, sums_size = parts == 1 ? 0 : parts * gemm.part_size();
    Scratch scratch(Scratch::bytes_for<float>(sums_size) + Scratch::bytes_for<std::atomic<uint8_t>>(tasks));
    float* sums = scratch.take<float>(sums_size);
    auto* arrived = scratch.take<std::atomic<uint8_t>>(tasks);
    for (size_t i = 0; i < tasks; ++i) new (&arrived[i]) std::atomic<uint8_t>(0);
    parallel_for(tasks, [&](size_t task) { gemm.run_task(task, sums, arrived); });
}

}  // namespace scap_ov
