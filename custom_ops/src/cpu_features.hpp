// The instruction sets of this CPU that some implementation asks for, as bits.
#pragma once
#include <cstdint>

namespace scap_ov {

enum CpuFeature : uint32_t {
    kAvx2 = 1u << 0,
    kFma = 1u << 1,
    kF16c = 1u << 2,
    kAvx512f = 1u << 3,
    kAvx512bw = 1u << 4,
    kAvx512vl = 1u << 5,
    kAvx512dq = 1u << 6,
    kAvx512vnni = 1u << 7,
    kAvxVnni = 1u << 8,
    kAmxInt8 = 1u << 9,  // and the kernel's permission to use tile registers
    kAmd = 1u << 10,     // the maker: its cores have more lines under way
};

// Bits that both the CPU and the operating system (saved registers) support.
uint32_t cpu_features();

}  // namespace scap_ov
