// MinHash signatures, bit for bit those of datasketch's "affine32" scheme, and the keys of their bands.
#include <algorithm>
#include <memory>

#include "words.h"

namespace {

constexpr int kLanes = 64;       // four AVX-512 registers of permutations
constexpr int kSeenBits = 12;    // 32 KB: stays in the first cache

MSNOW_INLINE uint32_t mix(uint32_t h) {  // MurmurHash3's 32-bit finalizer
    h = (h ^ (h >> 16)) * 0x85ebca6bu;
    h = (h ^ (h >> 13)) * 0xc2b2ae35u;
    return h ^ (h >> 16);
}

// least[p] = min over mixed hashes of a[p] * hash + b[p] (mod 2^32).
MSNOW_INLINE void least_of(const uint32_t* mixed, int64_t count, const uint32_t* a, const uint32_t* b, int64_t permutations, uint32_t* signature) {
    for (int64_t p = 0; p < permutations; p += kLanes) {
        uint32_t least[kLanes], times[kLanes] = {}, plus[kLanes] = {};
        const int64_t lanes = std::min<int64_t>(kLanes, permutations - p);
        std::copy(a + p, a + p + lanes, times);
        std::copy(b + p, b + p + lanes, plus);
        std::fill(least, least + kLanes, 0xffffffffu);
        for (int64_t i = 0; i < count; ++i) {
            for (int k = 0; k < kLanes; ++k) {
                const uint32_t value = times[k] * mixed[i] + plus[k];
                least[k] = value < least[k] ? value : least[k];
            }
        }
        std::copy(least, least + lanes, signature + p);
    }
}

// A key is of its band: equal rows in two bands are no match. The last step spreads it over all 64 bits.
MSNOW_INLINE uint64_t band_key(const uint32_t* rows, int64_t count, int64_t band) {
    uint64_t key = static_cast<uint64_t>(band) + 1;
    for (int64_t row = 0; row < count; ++row) key = key * 0x9e3779b97f4a7c15ULL + rows[row];
    key = (key ^ (key >> 32)) * 0xd6e8feb86659fd93ULL;
    key = (key ^ (key >> 29)) * 0xd6e8feb86659fd93ULL;
    return key ^ (key >> 32);
}

}  // namespace

// The signature of a list of hashes, of which the low 32 bits are used; all ones for no hashes. `scratch` has room for `count`.
MSNOW_API MSNOW_CLONES void msnow_minhash(const uint64_t* hashes, int64_t count, const uint32_t* a, const uint32_t* b,
                                          int64_t permutations, uint32_t* scratch, uint32_t* signature) {
    for (int64_t i = 0; i < count; ++i) scratch[i] = mix(static_cast<uint32_t>(hashes[i]));
    least_of(scratch, count, a, b, permutations, signature);
}

// Of each text the keys of its bands (keys[text * bands + band]) and how many n-grams it has, with repeats; no keys where none.
// A minimum needs no set: n-grams that were met lately are left out because that saves their permutations, not for the result.
MSNOW_API MSNOW_CLONES void msnow_band_keys(const uint8_t* data, const int64_t* offsets, int64_t count, int64_t n, const uint8_t* is_word,
                                            const uint32_t* a, const uint32_t* b, int64_t bands, int64_t rows, uint64_t* keys,
                                            int64_t* runs) {
    int64_t most = 0;
    for (int64_t i = 0; i < count; ++i) most = std::max(most, (offsets[i + 1] - offsets[i] + 1) / 2);
    const std::unique_ptr<uint64_t[]> words(new uint64_t[most + 1]), seen(new uint64_t[1 << kSeenBits]);
    const std::unique_ptr<uint32_t[]> hashes(new uint32_t[most + 1]), signature(new uint32_t[bands * rows]);
    std::fill(seen.get(), seen.get() + (1 << kSeenBits), ~0ULL);
    for (int64_t i = 0; i < count; ++i) {
        int64_t found = 0, kept = 0;
        msnow::for_each_word(data + offsets[i], offsets[i + 1] - offsets[i], is_word, [&](uint64_t hash) { words[found++] = hash; });
        runs[i] = msnow::ngrams(words.get(), found, n, hashes.get());
        for (int64_t k = 0; k < runs[i]; ++k) {
            const uint64_t entry = static_cast<uint64_t>(i) << 32 | hashes[k];
            uint64_t& known = seen[hashes[k] >> (32 - kSeenBits)];
            hashes[kept] = mix(hashes[k]);
            kept += known != entry;
            known = entry;
        }
        if (!runs[i]) continue;
        least_of(hashes.get(), kept, a, b, bands * rows, signature.get());
        for (int64_t band = 0; band < bands; ++band) keys[i * bands + band] = band_key(signature.get() + band * rows, rows, band);
    }
}
