// Hashes of all windows of tokens: sum over j of mix(token j) * base^j modulo 2^64, rolled on from one window to the next by the
// inverse of the (odd) base. The same as megatron_snow/datasets/windows.py.
#include "abi.h"

namespace {

inline uint64_t mix(uint64_t token) {
    uint64_t x = (token + 1) * 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    return x ^ (x >> 27);
}

inline uint64_t finish(uint64_t hash) { return (hash ^ (hash >> 31)) * 0x94d049bb133111ebULL; }

template <typename Token>
int64_t windows(const Token* tokens, int64_t count, int64_t window, uint64_t base, uint64_t inverse, const uint64_t* table, int64_t shift,
                uint64_t* hashes, int64_t* places) {
    uint64_t sum = 0, power = 1;
    for (int64_t i = 0; i < window; ++i) {
        sum += mix(tokens[i]) * power;
        if (i + 1 < window) power *= base;
    }
    int64_t found = 0;
    for (int64_t i = 0;; ++i) {
        const uint64_t hash = finish(sum);
        if (!table || (table[hash >> shift >> 6] >> (hash >> shift & 63) & 1)) {
            hashes[found] = hash;
            if (places) places[found] = i;
            ++found;
        }
        if (i + window >= count) return found;
        sum = (sum - mix(tokens[i])) * inverse + mix(tokens[i + window]) * power;
    }
}

}  // namespace

// Hashes of the windows, in order; with a table (a bit for the upper 64 - shift bits of a hash) only of those that it has, with where
// they begin. How many were written, at most count - window + 1; a token has 2 or 4 bytes and is not negative.
MSNOW_API int64_t msnow_windows(const void* tokens, int64_t token_bytes, int64_t count, int64_t window, uint64_t base, uint64_t inverse,
                                const uint64_t* table, int64_t shift, uint64_t* hashes, int64_t* places) {
    if (count < window) return 0;
    if (token_bytes == 2)
        return windows(static_cast<const uint16_t*>(tokens), count, window, base, inverse, table, shift, hashes, places);
    return windows(static_cast<const uint32_t*>(tokens), count, window, base, inverse, table, shift, hashes, places);
}
