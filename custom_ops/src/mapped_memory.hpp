// Advice to the operating system about constants that lie in a mapped file.
#pragma once
#include <atomic>
#include <cstddef>

namespace scap_ov {

// Asks once per place for pages of 2 MB: read by 4 KB pages, a decode step waits for one address translation in every 4 KB of weight, and
// the hardware prefetchers stop at each. A hint: files of kernels and file systems that cannot, and other systems, stay as they are.
class LargePages {
public:
    void prefer(const void* data, size_t bytes) const {
        if (asked_.load(std::memory_order_relaxed) == data) return;
        asked_.store(data, std::memory_order_relaxed);
        ask(data, bytes);
    }

private:
    static void ask(const void* data, size_t bytes);
    mutable std::atomic<const void*> asked_{nullptr};
};

}  // namespace scap_ov
