#include "read_ahead.hpp"

#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>

#include "parallel.hpp"

#if defined(_MSC_VER)
#    include <intrin.h>
#endif

namespace scap_ov {
namespace {

constexpr size_t kMostBytes = size_t{768} << 10;  // of a thread's cache of L2, which has 1 to 2 MB
constexpr size_t kLineBytes = 64;
constexpr size_t kPieceBytes = 2048;  // between two looks at whether to go on
constexpr size_t kEntries = 4096;     // a power of two

// What follows an op. Ops that share an entry, and threads that write one at once, only make it useless.
struct Entry {
    std::atomic<const void*> weight{nullptr};  // of the op
    std::atomic<const uint8_t*> data[FirstReads{}.size()] = {};
    std::atomic<size_t> bytes[FirstReads{}.size()] = {};
    std::atomic<bool> wanted{false};
};

Entry& entry_of(const void* weight) {
    static Entry entries[kEntries];  // needs no destructor, so a thread may be late
    const uint64_t mixed = (reinterpret_cast<uintptr_t>(weight) >> 6) * uint64_t{0x9E3779B97F4A7C15};
    return entries[mixed >> 52 & (kEntries - 1)];
}

thread_local const void* last_weight = nullptr;

void prefetch(const uint8_t* line) noexcept {
#if defined(_MSC_VER)
    _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1);
#else
    __builtin_prefetch(line, 0, 2);
#endif
}

void read(const Entry& entry) noexcept {
    size_t left = kMostBytes;
    for (size_t i = 0; i < FirstReads{}.size(); ++i) {
        const uint8_t* data = entry.data[i].load(std::memory_order_relaxed);
        const size_t bytes = std::min(entry.bytes[i].load(std::memory_order_relaxed), left);
        left -= bytes;
        for (size_t at = 0; at < bytes; at += kPieceBytes) {
            if (!entry.wanted.load(std::memory_order_relaxed)) return;
            const size_t end = std::min(at + kPieceBytes, bytes);
            for (size_t line = at; line < end; line += kLineBytes) prefetch(data + line);
        }
    }
}

}  // namespace

ReadAhead::ReadAhead(const void* weight, const FirstReads& first) : weight_(weight), before_(last_weight) {
    last_weight = weight;
    if (!before_) return;
    Entry& entry = entry_of(before_);
    entry.weight.store(before_, std::memory_order_relaxed);
    for (size_t i = 0; i < first.size(); ++i) {
        entry.data[i].store(first[i].data, std::memory_order_relaxed);
        entry.bytes[i].store(first[i].bytes, std::memory_order_relaxed);
    }
}

void ReadAhead::stop() const {
    if (before_) entry_of(before_).wanted.store(false, std::memory_order_relaxed);
}

void ReadAhead::start() const {
    Entry& entry = entry_of(weight_);
    if (thread_count() <= 1 || entry.weight.load(std::memory_order_relaxed) != weight_) return;
    entry.wanted.store(true, std::memory_order_relaxed);
    const int here = tbb::this_task_arena::current_thread_index();
    tbb::this_task_arena::enqueue([&entry, here] {
        if (tbb::this_task_arena::current_thread_index() != here) read(entry);
    });
}

}  // namespace scap_ov
