// cpuid and xgetbv; no features on other architectures, where the scalar implementation runs.
#include "cpu_features.hpp"

#ifdef __linux__
#    include <sys/syscall.h>
#    include <unistd.h>
#endif

#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
#    include <intrin.h>
#    define SCAP_OV_X86 1
#elif defined(__x86_64__) || defined(__i386__)
#    include <cpuid.h>
#    define SCAP_OV_X86 1
#endif

namespace scap_ov {
namespace {

#ifdef SCAP_OV_X86
struct Registers {
    uint32_t eax, ebx, ecx, edx;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
    Registers r{};
#    ifdef _MSC_VER
    int out[4];
    __cpuidex(out, static_cast<int>(leaf), static_cast<int>(subleaf));
    r = {static_cast<uint32_t>(out[0]), static_cast<uint32_t>(out[1]), static_cast<uint32_t>(out[2]), static_cast<uint32_t>(out[3])};
#    else
    __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
#    endif
    return r;
}

uint64_t saved_registers() {
#    ifdef _MSC_VER
    return _xgetbv(0);
#    else
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (static_cast<uint64_t>(high) << 32) | low;
#    endif
}
#endif

// Linux saves the 8 KB of tile registers only for processes that asked for it; the answer holds for all threads.
bool tile_registers_permitted() {
#ifdef __linux__
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

uint32_t detect() {
    uint32_t features = 0;
#ifdef SCAP_OV_X86
    const Registers zero = cpuid(0, 0);
    if (zero.eax < 7) return 0;
    const Registers one = cpuid(1, 0), seven = cpuid(7, 0);
    const Registers more = seven.eax >= 1 ? cpuid(7, 1) : Registers{};  // eax: the last subleaf
    if (!(one.ecx >> 27 & 1))                                           // OSXSAVE
        return 0;
    const uint64_t saved = saved_registers();
    if ((saved & 0x6) == 0x6) {  // xmm, ymm
        features |= seven.ebx >> 5 & 1 ? static_cast<uint32_t>(kAvx2) : 0u;
        features |= one.ecx >> 12 & 1 ? static_cast<uint32_t>(kFma) : 0u;
        features |= one.ecx >> 29 & 1 ? static_cast<uint32_t>(kF16c) : 0u;
        features |= more.eax >> 4 & 1 ? static_cast<uint32_t>(kAvxVnni) : 0u;
    }
    if ((saved & 0xe6) == 0xe6) {  // and opmask, zmm
        features |= seven.ebx >> 16 & 1 ? static_cast<uint32_t>(kAvx512f) : 0u;
        features |= seven.ebx >> 17 & 1 ? static_cast<uint32_t>(kAvx512dq) : 0u;
        features |= seven.ebx >> 30 & 1 ? static_cast<uint32_t>(kAvx512bw) : 0u;
        features |= seven.ebx >> 31 & 1 ? static_cast<uint32_t>(kAvx512vl) : 0u;
        features |= seven.ecx >> 11 & 1 ? static_cast<uint32_t>(kAvx512vnni) : 0u;
    }
    const bool amx = (seven.edx >> 24 & 1) && (seven.edx >> 25 & 1);  // tiles, and products of bytes in them
    if (amx && (saved & 0x60000) == 0x60000 && tile_registers_permitted()) features |= kAmxInt8;
    constexpr uint32_t kAuthenticAmd[] = {0x68747541, 0x69746e65, 0x444d4163};
    if (zero.ebx == kAuthenticAmd[0] && zero.edx == kAuthenticAmd[1] && zero.ecx == kAuthenticAmd[2]) features |= kAmd;
#endif
    return features;
}

}  // namespace

uint32_t cpu_features() {
    static const uint32_t features = detect();
    return features;
}

}  // namespace scap_ov
