// Independent tasks on the threads of the current TBB arena, which inside the CPU plugin is the stream's own.
#pragma once
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace scap_ov {

inline size_t thread_count() {
    return static_cast<size_t>(tbb::this_task_arena::max_concurrency());
}

// Runs body(0) … body(tasks - 1). Results must not depend on which thread runs what, nor on thread_count() beyond how
// independent columns are cut.
template <class Body>
void parallel_for(size_t tasks, const Body& body) {
    if (tasks <= 1 || thread_count() <= 1) {
        for (size_t i = 0; i < tasks; ++i) body(i);
        return;
    }
    tbb::parallel_for(
        tbb::blocked_range<size_t>(0, tasks, 1),
        [&](const tbb::blocked_range<size_t>& range) {
            for (size_t i = range.begin(); i != range.end(); ++i) body(i);
        },
        tbb::simple_partitioner{});
}

// The same, one thread from the first task on and the others from the last one back, each taking what nobody has taken: who is faster does
// more. `taken` has a 0 for each task.
template <class Body>
void from_both_ends(size_t tasks, std::atomic<uint8_t>* taken, const Body& body) {
    parallel_for(thread_count() < tasks ? thread_count() : tasks, [&](size_t thread) {
        for (size_t i = 0; i < tasks; ++i) {
            const size_t task = thread == 0 ? i : tasks - 1 - i;
            if (taken[task].exchange(1, std::memory_order_relaxed) == 0) body(task);
        }
    });
}

}  // namespace scap_ov
