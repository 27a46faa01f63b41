// Many positions of a permutation at once.
#include "permutation.h"

// values[i] = what stands at positions[i], each below order->count.
MSNOW_API MSNOW_CLONES void msnow_permute(const Permutation* order, const int64_t* positions, int64_t count, int64_t* values) {
    const Permutation local = *order;
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<int64_t>(permute_one<false>(local, static_cast<uint64_t>(positions[i])));
}

// positions[i] = where values[i] stands.
MSNOW_API void msnow_permute_back(const Permutation* order, const int64_t* values, int64_t count, int64_t* positions) {
    const Permutation local = *order;
    for (int64_t i = 0; i < count; ++i) positions[i] = static_cast<int64_t>(permute_one<true>(local, static_cast<uint64_t>(values[i])));
}
