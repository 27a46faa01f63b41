// Words of a text, hashes of their n-grams, and the overlap of two sorted sets of them.
// megatron_snow/corpus/shingles.py holds the Python form; the tests hold both equal.
#include "abi.h"

namespace {

constexpr uint64_t kFnvOffset = 0xcbf29ce484222325ULL, kFnvPrime = 0x100000001b3ULL;
constexpr uint64_t kBase = 0x9e3779b97f4a7c15ULL, kMix = 0xd6e8feb86659fd93ULL;

// Length of the UTF-8 sequence at p (valid UTF-8) and its code point.
inline int decode(const uint8_t* p, uint32_t* code_point) {
    if (p[0] < 0x80) { *code_point = p[0]; return 1; }
    if (p[0] < 0xe0) { *code_point = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu); return 2; }
    if (p[0] < 0xf0) { *code_point = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu); return 3; }
    *code_point = (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
    return 4;
}

}  // namespace

// FNV-1a of each word of valid UTF-8; is_word[c] says whether code point c belongs to a word.
// `hashes` has room for (size + 1) / 2. Returns the number of words.
MSNOW_API int64_t msnow_word_hashes(const uint8_t* text, int64_t size, const uint8_t* is_word, uint64_t* hashes) {
    int64_t count = 0;
    uint64_t hash = kFnvOffset;
    bool inside = false;
    for (int64_t i = 0; i < size;) {
        uint32_t code_point;
        const int length = decode(text + i, &code_point);
        if (is_word[code_point]) {
            inside = true;
            for (int k = 0; k < length; ++k) hash = (hash ^ text[i + k]) * kFnvPrime;
        } else if (inside) {
            hashes[count++] = hash;
            hash = kFnvOffset;
            inside = false;
        }
        i += length;
    }
    if (inside) hashes[count++] = hash;
    return count;
}

// Hashes of the `count - n + 1` runs of n words, in order.
MSNOW_API void msnow_ngram_hashes(const uint64_t* words, int64_t count, int64_t n, uint64_t* hashes) {
    for (int64_t i = 0; i + n <= count; ++i) {
        uint64_t hash = 0;
        for (int64_t k = 0; k < n; ++k) hash = hash * kBase + words[i + k];
        hash = (hash ^ (hash >> 32)) * kMix;
        hashes[i] = hash ^ (hash >> 29);
    }
}

// The number of values that two sorted arrays without repeats share.
MSNOW_API int64_t msnow_overlap(const uint64_t* a, int64_t a_count, const uint64_t* b, int64_t b_count) {
    int64_t shared = 0;
    for (int64_t i = 0, j = 0; i < a_count && j < b_count;) {
        const uint64_t x = a[i], y = b[j];
        shared += x == y;
        i += x <= y;
        j += y <= x;
    }
    return shared;
}
