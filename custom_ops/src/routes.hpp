// Who goes where: the rows of a batch sorted by the expert that they were sent to.
#pragma once
#include <cstddef>
#include <cstdint>

#include "scratch.hpp"

namespace scap_ov {

// Rows of x that one expert multiplies alike: consecutive entries of Routes::row.
struct Route {
    uint32_t expert;
    uint32_t begin, end;
    bool pruned;
};

// An assignment is one choice of one token: k for each of T tokens.
class Routes {
public:
    // ids [tokens, k], each below `experts`; pruned(token) tells rows that are pruned from those that are not.
    template <class Pruned>
    Routes(const uint32_t* ids, size_t tokens, size_t k, size_t experts, const Pruned& pruned)
        : scratch_(bytes(tokens * k, experts)), k_(k) {
        row_ = scratch_.take<uint32_t>(tokens * k);
        place_ = scratch_.take<uint32_t>(tokens * k);
        routes_ = scratch_.take<Route>(2 * experts);
        uint32_t* next = scratch_.take<uint32_t>(2 * experts);
        for (size_t i = 0; i < 2 * experts; ++i) next[i] = 0;
        const auto bin = [&](size_t i) { return 2 * ids[i] + (pruned(i / k) ? 1 : 0); };
        for (size_t i = 0; i < tokens * k; ++i) ++next[bin(i)];
        uint32_t begin = 0;
        for (size_t i = 0; i < 2 * experts; ++i) {
            const uint32_t end = begin + next[i];
            if (end > begin) routes_[count_++] = {static_cast<uint32_t>(i / 2), begin, end, i % 2 == 1};
            next[i] = begin;
            begin = end;
        }
        for (size_t i = 0; i < tokens * k; ++i) {
            const uint32_t place = next[bin(i)]++;
            row_[place] = static_cast<uint32_t>(i / k);
            place_[i] = place;
        }
    }

    size_t count() const { return count_; }
    const Route& operator[](size_t i) const { return routes_[i]; }
    // Token of each place, sorted by expert, tokens of an expert in ascending order.
    const uint32_t* row() const { return row_; }
    // Place of choice j of a token.
    uint32_t place(size_t token, size_t j) const { return place_[token * k_ + j]; }

private:
    static size_t bytes(size_t assignments, size_t experts) {
        return 2 * Scratch::bytes_for<uint32_t>(assignments) + Scratch::bytes_for<Route>(2 * experts) +
               Scratch::bytes_for<uint32_t>(2 * experts);
    }

    Scratch scratch_;
    size_t k_, count_ = 0;
    uint32_t *row_, *place_;
    Route* routes_;
};

}  // namespace scap_ov
