// Working memory that survives between calls: no heap allocation in the steady state, one owner at a time.
#pragma once
#include <cstddef>
#include <cstdint>

namespace scap_ov {

// 64-byte aligned bytes, borrowed from a pool of the process and given back at the end of the scope. Borrow one per task,
// never one per thread: a thread that waits for tasks may run another request's in between.
class Scratch {
public:
    explicit Scratch(size_t bytes);
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    // Gives the large buffers back that a long step left for its next layers; a step of few rows has no use for them.
    static void let_go_of_large();

    // The next `count` values of T, 64-byte aligned; the bytes asked for must cover all takes, see bytes_for().
    template <class T>
    T* take(size_t count) {
        T* result = reinterpret_cast<T*>(data_ + used_);
        used_ += bytes_for<T>(count);
        return result;
    }
    template <class T>
    static constexpr size_t bytes_for(size_t count) {
        return (count * sizeof(T) + 63) / 64 * 64;
    }

private:
    uint8_t* data_;
    size_t capacity_;
    size_t used_ = 0;
};

}  // namespace scap_ov
