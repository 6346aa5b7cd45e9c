// In place of TBB where ThreadSanitizer looks on: the parts of it that the library uses, with threads that the sanitizer understands.
#pragma once
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace tbb {

inline thread_local int concurrency = 1;

namespace this_task_arena {
inline int max_concurrency() {
    return concurrency;
}
}  // namespace this_task_arena

class task_arena {
public:
    explicit task_arena(int threads) : threads_(threads) {}

    template <class Body>
    void execute(const Body& body) {
        const int before = concurrency;
        concurrency = threads_;
        body();
        concurrency = before;
    }

private:
    int threads_;
};

}  // namespace tbb
