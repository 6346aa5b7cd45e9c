// The pool behind Scratch: a short list under a mutex (tens of nanoseconds, a few times per call).
#include "scratch.hpp"

#include <mutex>
#include <new>
#include <vector>

namespace scap_ov {
namespace {

constexpr size_t kKeepBytes = size_t{4} << 20;  // larger buffers belong to long prompts and go back to the heap
constexpr size_t kKeepCount = 256;  // of a few per call: far more than calls run at once, so that the list never grows under the lock

struct Buffer {
    uint8_t* data;
    size_t capacity;
};

void free_buffer(uint8_t* data) {
    ::operator delete(data, std::align_val_t{64});
}

struct Pool {
    std::mutex mutex;
    std::vector<Buffer> free;
    Pool() { free.reserve(kKeepCount); }
};

Pool& pool() {
    // Never destroyed: worker threads may still hold buffers while static destructors run.
    static Pool* const instance = new Pool;
    return *instance;
}

}  // namespace

Scratch::Scratch(size_t bytes) : data_(nullptr), capacity_(0) {
    if (bytes <= kKeepBytes) {
        Pool& p = pool();
        const std::lock_guard<std::mutex> lock(p.mutex);
        size_t best = p.free.size();
        for (size_t i = 0; i < p.free.size(); ++i)
            if (p.free[i].capacity >= bytes && (best == p.free.size() || p.free[i].capacity < p.free[best].capacity)) best = i;
        if (best < p.free.size()) {
            data_ = p.free[best].data;
            capacity_ = p.free[best].capacity;
            p.free[best] = p.free.back();
            p.free.pop_back();
            return;
        }
        // A power of two, so that ops of many sizes share few buffers.
        capacity_ = 4096;
        while (capacity_ < bytes) capacity_ *= 2;
    } else {
        capacity_ = bytes;
    }
    data_ = static_cast<uint8_t*>(::operator new(capacity_, std::align_val_t{64}));
}

Scratch::~Scratch() {
    if (capacity_ <= kKeepBytes) {
        Pool& p = pool();
        const std::lock_guard<std::mutex> lock(p.mutex);
        if (p.free.size() < kKeepCount) {
            p.free.push_back({data_, capacity_});
            return;
        }
    }
    free_buffer(data_);
}

}  // namespace scap_ov
