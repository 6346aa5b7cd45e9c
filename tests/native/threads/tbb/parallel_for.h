// See task_arena.h.
#pragma once
#include "task_arena.h"

namespace tbb {

struct simple_partitioner {};

template <class T>
class blocked_range {
public:
    blocked_range(T begin, T end, size_t) : begin_(begin), end_(end) {}
    T begin() const { return begin_; }
    T end() const { return end_; }

private:
    T begin_, end_;
};

template <class T, class Body>
void parallel_for(const blocked_range<T>& range, const Body& body, const simple_partitioner&) {
    std::atomic<T> next{range.begin()};
    const auto work = [&] {
        for (T i = next++; i < range.end(); i = next++) body(blocked_range<T>(i, i + 1, 1));
    };
    std::vector<std::thread> others;
    for (int i = 1; i < concurrency; ++i)
        others.emplace_back([&work, i] {
            thread_index = i;
            work();
        });
    work();
    for (std::thread& other : others) other.join();
}

}  // namespace tbb
