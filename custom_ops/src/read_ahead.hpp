// What a step reads next, as the step before it did: a thread that has nothing to do between two ops brings it into its cache. ADR 0057.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace scap_ov {

struct Stretch {
    const uint8_t* data;
    size_t bytes;
};
using FirstReads = std::array<Stretch, 3>;  // in the order in which they are wanted

// One call of an op of few rows. Steps of a model run the same ops in the same order, so what came behind an op once comes behind it again.
class ReadAhead {
public:
    // The op of `weight` begins, and will read `first`. Remembers it as what follows the op that this thread ran before.
    ReadAhead(const void* weight, const FirstReads& first);
    // Ends what is under way for this op: its threads are wanted.
    void stop() const;
    // The op is done. Another thread of the arena, where there is one, reads what followed the last time, until that op wants it, or until
    // enough is read. By prefetch instructions alone: what they read may not be there any more.
    void start() const;

private:
    const void* weight_;
    const void* before_;  // weight of the op before
};

}  // namespace scap_ov
