// MinHash signatures, bit for bit those of datasketch's "affine32" scheme.
#include "abi.h"

namespace {

constexpr int kLanes = 16;  // one AVX-512 register of permutations

inline uint32_t mix(uint32_t h) {  // MurmurHash3's 32-bit finalizer
    h = (h ^ (h >> 16)) * 0x85ebca6bu;
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    return h ^ (h >> 16);
}

}  // namespace

// signature[p] = min over hashes of a[p] * mix(hash) + b[p] (mod 2^32); all ones for no hashes.
// The low 32 bits of each hash are used; `scratch` has room for `count`.
MSNOW_API MSNOW_CLONES void msnow_minhash(const uint64_t* hashes, int64_t count, const uint32_t* a, const uint32_t* b,
                                          int64_t permutations, uint32_t* scratch, uint32_t* signature) {
    for (int64_t i = 0; i < count; ++i) scratch[i] = mix(static_cast<uint32_t>(hashes[i]));
    int64_t p = 0;
    for (; p + kLanes <= permutations; p += kLanes) {
        uint32_t least[kLanes];
        for (int k = 0; k < kLanes; ++k) least[k] = 0xffffffffu;
        for (int64_t i = 0; i < count; ++i) {
            for (int k = 0; k < kLanes; ++k) {
                const uint32_t value = a[p + k] * scratch[i] + b[p + k];
                least[k] = value < least[k] ? value : least[k];
            }
        }
        for (int k = 0; k < kLanes; ++k) signature[p + k] = least[k];
    }
    for (; p < permutations; ++p) {
        uint32_t least = 0xffffffffu;
        for (int64_t i = 0; i < count; ++i) {
            const uint32_t value = a[p] * scratch[i] + b[p];
            least = value < least ? value : least;
        }
        signature[p] = least;
    }
}
