// Few rows: one scan of x, then the kept rows of the weight, by columns or by kept channels.
//
// Very long rows are cut into pieces of columns, one for each thread: a column's sum is the same whichever task holds the column.
// Pieces of shorter rows defeat the prefetchers, so there the kept channels are cut into parts, each with a sum of its own.
// Parts and the tree in which they are added follow from the shape alone; whoever comes second to a node adds its two halves,
// while they are still in a cache. So bits depend neither on the number of threads nor on who ran what.
#include "gemv.hpp"

#include <algorithm>
#include <atomic>

#include "formats/formats.hpp"
#include "parallel.hpp"
#include "scratch.hpp"

namespace scap_ov {
namespace {

constexpr size_t kColumnStep = 128;                // a task's columns: whole tiles of every format
constexpr size_t kSerialBytes = size_t{48} << 10;  // less weight is not worth a second thread, awake and with its part in its cache
constexpr size_t kLongRowBytes = 12288;            // 4.5 and 6 KB rows are 25-35 % faster whole than in halves, 16 KB ones the same
constexpr size_t kPieceBytes = 512;                // the least piece of a row when there are more threads than parts
constexpr size_t kPartBytes = size_t{80} << 10;    // dense weight bytes of a part, at least
constexpr size_t kMaxParts = 8;                    // a power of two
constexpr size_t kPartChannels = 512;  // input channels of a part, where it is not one of two: else adding up is 10 % of the time
constexpr size_t kPartRows = 16384;    // bytes of a row times parts, for the same reason

// One borrowed buffer holds everything that a call needs.
struct Layout {
    size_t bytes = 0;
    template <class T>
    void add(size_t count) {
        bytes += Scratch::bytes_for<T>(count);
    }
};

// Geometry of the kept channels of a call, before there is memory for them.
KeptChannels kept_of(const SparseMatMulArgs& a) {
    KeptChannels kept{};
    kept.group_size = activation_group_size(a.format, a.weight);
    kept.groups = ceil_div(a.k, kept.group_size);
    kept.lists = rows_per_channel(a.format);
    kept.capacity = round_up(kept.lists * kept_capacity(kept.groups, kept.group_size, a.m), 64);
    return kept;
}

size_t kept_bytes(const KeptChannels& kept, size_t m) {
    Layout layout;
    layout.add<uint32_t>(kept.capacity);
    layout.add<int8_t>(m * kept.capacity);
    layout.add<float>(m * kept.capacity);
    layout.add<uint32_t>(kept.groups * kept.lists + 1);
    layout.add<uint32_t>(kept.groups * kept.lists);
    layout.add<float>(m * kept.groups);
    layout.add<float>(m * kept.groups * kept.lists);
    layout.add<int32_t>(m * kept.groups * kept.lists);
    return layout.bytes;
}

void take_kept(Scratch& scratch, size_t m, bool quantize, KeptChannels& kept) {
    kept.index = scratch.take<uint32_t>(kept.capacity);
    kept.quantized = scratch.take<int8_t>(m * kept.capacity);
    kept.value = scratch.take<float>(m * kept.capacity);
    kept.group_begin = scratch.take<uint32_t>(kept.groups * kept.lists + 1);
    kept.coarse_begin = scratch.take<uint32_t>(kept.groups * kept.lists);
    kept.scale = scratch.take<float>(m * kept.groups);
    kept.value_sum = scratch.take<float>(m * kept.groups * kept.lists);
    kept.sum = scratch.take<int32_t>(m * kept.groups * kept.lists);
    if (!quantize) kept.quantized = nullptr;
}

struct Gemv {
    const SparseMatMulArgs& args;
    const Implementation& implementation;
    const Rows& rows;
    const KeptChannels& kept;
    void (*kernel)(const SparseGemvParams&) noexcept;
    size_t parts, pieces;  // of the kept channels; of the columns
    size_t part_size;      // floats of a part's sum: [M, n_padded]
    float* y;              // [parts, M, n_padded]
    uint8_t* scratch;      // [parts * pieces, scratch_bytes]
    size_t scratch_bytes;
    std::atomic<uint8_t>* taken;    // [parts * pieces]
    std::atomic<uint8_t>* arrived;  // [pieces, parts] nodes of the tree of sums, in heap order

    size_t column(size_t piece) const {
        const size_t steps = ceil_div(args.weight.n_padded, kColumnStep);
        return std::min(steps * piece / pieces * kColumnStep, args.weight.n_padded);
    }

    void run_task(size_t task) const {
        const size_t part = task / pieces, piece = task % pieces, n = args.weight.n_padded;
        SparseGemvParams p{};
        p.weight = &args.weight;
        p.kept = &kept;
        p.m = args.m;
        p.group_from = kept.groups * part / parts;
        p.group_to = kept.groups * (part + 1) / parts;
        p.n_from = column(piece);
        p.n_to = column(piece + 1);
        p.y = y + part * part_size;
        p.y_stride = n;
        p.scratch = scratch + task * scratch_bytes;
        kernel(p);
        add_up(part, piece, p.n_from, p.n_to);
    }

    // From the leaf of `part` towards the root, as far as the other half of each node has arrived.
    void add_up(size_t part, size_t piece, size_t from, size_t to) const {
        for (size_t node = parts + part, width = 1; node > 1; node /= 2, width *= 2) {
            if (arrived[piece * parts + node / 2].fetch_add(1, std::memory_order_acq_rel) == 0) return;
            const size_t left = part / (2 * width) * (2 * width);
            for (size_t m = 0; m < args.m; ++m) {
                float* sum = y + left * part_size + m * args.weight.n_padded;
                implementation.add(sum + width * part_size + from, to - from, sum + from);
            }
        }
        write_outputs(args, implementation, rows, y + from, args.weight.n_padded, 0, args.m, from, to);
    }
};

struct Split {
    size_t parts, pieces;
    bool parallel;
};

// Parts of the kept channels.
size_t parts_of(const SparseMatMulArgs& a, const KeptChannels& kept) {
    const size_t row_bytes = a.weight.row_bytes;
    if (row_bytes >= kLongRowBytes) return 1;
    const auto divides = [&](size_t parts) {
        const bool cheap = parts == 2 || (parts * kPartChannels <= a.k && parts * row_bytes <= kPartRows);
        return parts <= kMaxParts && parts <= kept.groups && parts * kPartBytes <= kept.lists * a.k * row_bytes && cheap;
    };
    size_t parts = 1;
    while (divides(2 * parts)) parts *= 2;
    return parts;
}

Split split_of(const SparseMatMulArgs& a, const KeptChannels& kept) {
    const size_t row_bytes = a.weight.row_bytes, steps = ceil_div(a.weight.n_padded, kColumnStep);
    const size_t threads = ceil_div(thread_count(), a.beside), parts = parts_of(a, kept);
    const bool parallel = size_t{kept.group_begin[kept.all_lists()]} * row_bytes > kSerialBytes && thread_count() > 1;
    if (row_bytes >= kLongRowBytes) return {1, parallel ? std::min(threads, steps) : 1, parallel};
    if (!parallel || parts >= threads) return {parts, 1, parallel};
    const size_t most = std::max<size_t>(std::min(steps, row_bytes / kPieceBytes), 1);
    return {parts, std::min(ceil_div(threads, parts), most), parallel};
}

}  // namespace

Scan::Scan(const SparseMatMulArgs& a, const Implementation& implementation, bool prune, const float* x)
    : scratch_(kept_bytes(kept_of(a), a.m)), kept_(kept_of(a)) {
    take_kept(scratch_, a.m, quantizes_activations(a), kept_);
    CompactParams compact{};
    compact.x = x;
    compact.m = a.m;
    compact.k = a.k;
    compact.center = a.center;
    compact.threshold = a.threshold;
    compact.center_per_channel = a.center_per_channel;
    compact.threshold_per_channel = a.threshold_per_channel;
    compact.whole_threshold = a.whole_threshold;
    compact.whole_threshold_per_channel = a.whole_threshold_per_channel;
    compact.steepness = a.steepness;
    compact.prune = prune;
    compact.kept = &kept_;
    implementation.compact(compact);
}

FirstReads first_reads(const SparseMatMulArgs& a) {
    const PackedWeight& w = a.weight;
    const size_t rows = a.k / parts_of(a, kept_of(a)), part = rows * w.row_bytes;
    const size_t scales = is_integer(a.format) ? ceil_div(a.k, w.group_size) * w.n_padded * (w.scale_is_f16 ? 2 : 4) : 0;
    // The last part, which a second thread begins with, its scales, and the first part.
    return {{{w.data + (a.k - rows) * w.row_bytes, part}, {static_cast<const uint8_t*>(w.scale), scales}, {w.data, rows < a.k ? part : 0}}};
}

void run_gemv(const SparseMatMulArgs& a, const Implementation& implementation, const Rows& rows, const KeptChannels& kept) {
    const int format = static_cast<int>(a.format);
    const Split split = split_of(a, kept);
    const size_t tasks = split.parts * split.pieces, part_size = a.m * a.weight.n_padded;
    const size_t columns = round_up(ceil_div(a.weight.n_padded, split.pieces), kColumnStep) + kColumnStep;
    const size_t scratch_bytes = round_up(kept.lists * implementation.gemv_scratch_bytes(a.m, columns), 64);
    Layout sums;
    sums.add<float>(split.parts * part_size);
    sums.add<uint8_t>(tasks * scratch_bytes);
    sums.add<std::atomic<uint8_t>>(tasks);
    sums.add<std::atomic<uint8_t>>(tasks);
    Scratch scratch(sums.bytes);
    Gemv gemv{a,
              implementation,
              rows,
              kept,
              kept.quantized ? implementation.sparse_gemv_qd8[format] : implementation.sparse_gemv_f32[format],
              split.parts,
              split.pieces,
              part_size,
              nullptr,
              nullptr,
              scratch_bytes,
              nullptr,
              nullptr};
    gemv.y = scratch.take<float>(split.parts * part_size);
    gemv.scratch = scratch.take<uint8_t>(tasks * scratch_bytes);
    gemv.taken = scratch.take<std::atomic<uint8_t>>(tasks);
    gemv.arrived = scratch.take<std::atomic<uint8_t>>(tasks);
    for (std::atomic<uint8_t>* marks : {gemv.taken, gemv.arrived})
        for (size_t i = 0; i < tasks; ++i) new (&marks[i]) std::atomic<uint8_t>(0);
    if (split.parallel)
        from_both_ends(tasks, gemv.taken, [&](size_t task) { gemv.run_task(task); });
    else
        for (size_t task = 0; task < tasks; ++task) gemv.run_task(task);
}

}  // namespace scap_ov
