// The pool behind Scratch: a short list under a mutex (tens of nanoseconds, a few times per call).
#include "scratch.hpp"

#include <atomic>
#include <mutex>
#include <new>
#include <vector>

namespace scap_ov {
namespace {

constexpr size_t kKeepBytes = size_t{4} << 20;  // larger buffers belong to long prompts and are kept for the layers of one only
constexpr size_t kKeepCount = 256;  // of a few per call: far more than calls run at once, so that the list never grows under the lock
// Of large buffers. Memory that comes from the system anew is cleared page by page: an eighth of 512 tokens through routed experts.
constexpr size_t kKeepLargeBytes = size_t{256} << 20;

struct Buffer {
    uint8_t* data;
    size_t capacity;
};

void free_buffer(uint8_t* data) {
    ::operator delete(data, std::align_val_t{64});
}

// The smallest buffer that is large enough, taken out; false where there is none.
bool take_best(std::vector<Buffer>& from, size_t bytes, Buffer* found) {
    size_t best = from.size();
    for (size_t i = 0; i < from.size(); ++i)
        if (from[i].capacity >= bytes && (best == from.size() || from[i].capacity < from[best].capacity)) best = i;
    if (best == from.size()) return false;
    *found = from[best];
    from[best] = from.back();
    from.pop_back();
    return true;
}

struct Pool {
    std::mutex mutex;
    std::vector<Buffer> free, large;
    std::atomic<size_t> large_bytes{0};  // changed under the mutex, read without
    Pool() {
        free.reserve(kKeepCount);
        large.reserve(kKeepCount);
    }
};

Pool& pool() {
    // Never destroyed: worker threads may still hold buffers while static destructors run.
    static Pool* const instance = new Pool;
    return *instance;
}

}  // namespace

Scratch::Scratch(size_t bytes) : data_(nullptr), capacity_(0) {
    const bool is_large = bytes > kKeepBytes;
    Pool& p = pool();
    {
        const std::lock_guard<std::mutex> lock(p.mutex);
        Buffer found;
        if (take_best(is_large ? p.large : p.free, bytes, &found)) {
            data_ = found.data;
            capacity_ = found.capacity;
            if (is_large) p.large_bytes -= capacity_;
            return;
        }
    }
    if (is_large) {
        capacity_ = bytes;
    } else {
        // A power of two, so that ops of many sizes share few buffers.
        capacity_ = 4096;
        while (capacity_ < bytes) capacity_ *= 2;
    }
    data_ = static_cast<uint8_t*>(::operator new(capacity_, std::align_val_t{64}));
}

Scratch::~Scratch() {
    const bool is_large = capacity_ > kKeepBytes;
    {
        Pool& p = pool();
        const std::lock_guard<std::mutex> lock(p.mutex);
        std::vector<Buffer>& kept = is_large ? p.large : p.free;
        if (kept.size() < kKeepCount && (!is_large || p.large_bytes + capacity_ <= kKeepLargeBytes)) {
            kept.push_back({data_, capacity_});
            if (is_large) p.large_bytes += capacity_;
            return;
        }
    }
    free_buffer(data_);
}

void Scratch::let_go_of_large() {
    Pool& p = pool();
    if (p.large_bytes.load(std::memory_order_relaxed) == 0) return;
    std::vector<Buffer> gone;
    gone.reserve(kKeepCount);
    {
        const std::lock_guard<std::mutex> lock(p.mutex);
        gone.swap(p.large);  // both have room for kKeepCount
        p.large_bytes = 0;
    }
    for (const Buffer& buffer : gone) free_buffer(buffer.data);
}

}  // namespace scap_ov
