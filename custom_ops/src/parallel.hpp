// Independent tasks on the threads of the current TBB arena, which inside the CPU plugin is the stream's own.
#pragma once
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <cstddef>

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

}  // namespace scap_ov
