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
    constexpr size_t kLeastBytes = size_t{64} << 10;  // of a constant that is worth asking for
    // Whole pages around the constant: layers of small models are less than one, and what lies beside them in the file is weights too.
    const uintptr_t begin = reinterpret_cast<uintptr_t>(data) / kLargePage * kLargePage;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes + kLargePage - 1) / kLargePage * kLargePage;
    if (bytes >= kLeastBytes) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
    (void)data;
    (void)bytes;
#endif
}

}  // namespace scap_ov
