// In place of TBB where ThreadSanitizer looks on: the parts of it that the library uses, with threads that the sanitizer understands.
#pragma once
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace tbb {

inline thread_local int concurrency = 1;
inline thread_local int thread_index = 0;

// A thread of its own for what was queued last, waited for before the next, or when the thread that queued it ends.
class Queued {
public:
    template <class Body>
    void start(const Body& body) {
        wait();
        thread_ = std::thread([body] {
            thread_index = 1;
            body();
        });
    }
    ~Queued() { wait(); }

private:
    void wait() {
        if (thread_.joinable()) thread_.join();
    }
    std::thread thread_;
};

namespace this_task_arena {
inline int max_concurrency() {
    return concurrency;
}
inline int current_thread_index() {
    return thread_index;
}
template <class Body>
void enqueue(const Body& body) {
    static thread_local Queued queued;
    queued.start(body);
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
