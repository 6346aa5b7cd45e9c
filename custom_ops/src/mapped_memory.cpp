// madvise, where there is one.
#include "mapped_memory.hpp"

#include <cstdint>

#ifdef __linux__
#    include <sys/mman.h>
#endif

namespace scap_ov {

void LargePages::ask(const void* data, size_t bytes) {
#ifdef __linux__
    constexpr uintptr_t kLargePage = uintptr_t{2} << 20;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kLargePage - 1) / kLargePage * kLargePage;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) / kLargePage * kLargePage;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)data;
    (void)bytes;
#endif
}

}  // namespace scap_ov
