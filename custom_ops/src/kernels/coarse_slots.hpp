// Second digits of the largest kept values of an activation group (kCoarse of params.hpp): Zhao et al. 2019 split such channels in two,
// "Improving neural network quantization without retraining using outlier channel splitting"; here the second copy counts kCoarse times.
// Which values these are follows from a row alone, and sums are integers, so a row's bits do not depend on its neighbours.
// Included by every implementation, inside its target region.
#pragma once
#include <cmath>

#include "formats/format.hpp"

namespace scap_ov {
namespace {

constexpr float kSmallestCoarse = 1e-30f;  // scales below that are left alone: 32 times their inverse would overflow

// How many times finer the step of a group may be, so that at most kMostCoarse values have two digits; count_above(t) tells how many
// exceed t. Less than half of a step is not worth the rows that are multiplied twice.
template <class CountAbove>
inline float coarse_gain(float maximum, const CountAbove& count_above) {
    float gain = 1.0f;
    while (gain < kCoarse && count_above(maximum / (2.0f * gain)) <= kMostCoarse) gain *= 2.0f;
    return gain;
}

// The coarse slots of a list, behind its others.
class CoarseSlots {
public:
    CoarseSlots(const KeptChannels& kept, size_t m, size_t begin) : kept_(kept), m_(m), begin_(begin) {}

    // Splits what has been rounded to `slot`, if it needs two digits; `scaled` is its value in units of the row's scale.
    void split(size_t row, size_t slot, float scaled) {
        const int32_t q = static_cast<int32_t>(std::nearbyintf(scaled));
        if (q >= -127 && q <= 127) return;
        const int32_t high = (q + kCoarse / 2) >> 5;  // towards minus infinity, as gcc, clang and MSVC shift
        int8_t* quantized = kept_.quantized + row * kept_.capacity;
        quantized[slot] = static_cast<int8_t>(q - kCoarse * high);
        quantized[slot_of(kept_.index[slot])] = static_cast<int8_t>(high);
    }
    size_t end() const { return begin_ + round_up(count_, kQuad); }

private:
    size_t slot_of(uint32_t index) {
        for (size_t i = begin_; i < begin_ + count_; ++i)
            if (kept_.index[i] == index) return i;
        const size_t slot = begin_ + count_++;
        for (size_t i = slot; i < end(); ++i) kept_.index[i] = index;  // pads repeat it, with value 0
        for (size_t row = 0; row < m_; ++row)
            for (size_t i = slot; i < end(); ++i) kept_.quantized[row * kept_.capacity + i] = 0;
        return slot;
    }

    const KeptChannels& kept_;
    size_t m_, begin_, count_ = 0;
};
static_assert(kCoarse == 1 << 5, "split() shifts by five");

}  // namespace
}  // namespace scap_ov
