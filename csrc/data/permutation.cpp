// Many positions of a permutation at once.
#include "permutation.h"

#include <algorithm>
#include <cstring>

namespace {

template <bool back>
MSNOW_INLINE void permute_all(const Permutation& order, const int64_t* from, int64_t count, int64_t* to) {
    uint64_t block[kLanes];
    for (int64_t first = 0; first < count; first += kLanes) {
        const int lanes = static_cast<int>(std::min<int64_t>(kLanes, count - first));
        std::memcpy(block, from + first, sizeof(*block) * lanes);
        permute<back>(order, block, lanes);
        std::memcpy(to + first, block, sizeof(*block) * lanes);
    }
}

}  // namespace

// values[i] = what stands at positions[i], each below order->count.
MSNOW_API MSNOW_CLONES void msnow_permute(const Permutation* order, const int64_t* positions, int64_t count, int64_t* values) {
    permute_all<false>(*order, positions, count, values);
}

// positions[i] = where values[i] stands.
MSNOW_API MSNOW_CLONES void msnow_permute_back(const Permutation* order, const int64_t* values, int64_t count, int64_t* positions) {
    permute_all<true>(*order, values, count, positions);
}
