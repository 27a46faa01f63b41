// Words of a text as hashes: a run of `\w` (Unicode, case kept).
#pragma once
#include <cstring>

#include "abi.h"

namespace msnow {

constexpr uint64_t kWordSeed = 0xcbf29ce484222325ULL, kWordMix = 0x9fb21c651e98df25ULL;

// Length of the UTF-8 sequence at p (valid UTF-8) and its code point.
MSNOW_INLINE int decode(const uint8_t* p, uint32_t* code_point) {
    if (p[0] < 0x80) { *code_point = p[0]; return 1; }
    if (p[0] < 0xe0) { *code_point = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu); return 2; }
    if (p[0] < 0xf0) { *code_point = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu); return 3; }
    *code_point = (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
    return 4;
}

MSNOW_INLINE uint64_t absorb(uint64_t hash, uint64_t bytes) {
    hash = (hash ^ bytes) * kWordMix;
    return hash ^ (hash >> 32);
}

// Eight bytes at a time, the last padded with zeros, which no word holds. `after` bytes can be read behind the word.
MSNOW_INLINE uint64_t hash_word(const uint8_t* p, int64_t size, int64_t after) {
    uint64_t hash = kWordSeed, bytes = 0;
    for (; size > 8; p += 8, size -= 8) {
        std::memcpy(&bytes, p, 8);
        hash = absorb(hash, bytes);
    }
    if (size + after >= 8) {
        std::memcpy(&bytes, p, 8);
        bytes &= ~0ULL >> (64 - 8 * size);
    } else {
        bytes = 0;
        std::memcpy(&bytes, p, size);
    }
    return absorb(hash, bytes);
}

// One bit a byte of the 64 at p, for ASCII; *high tells whether other bytes are there.
MSNOW_INLINE uint64_t ascii_words(const uint8_t* p, bool* high) {
    uint8_t is[64], any = 0;
    for (int i = 0; i < 64; ++i) {
        const uint8_t c = p[i];
        is[i] = (uint8_t((c | 32) - 'a') < 26) | (uint8_t(c - '0') < 10) | (c == '_');
        any |= c;
    }
    uint64_t bits = 0;
    for (int k = 0; k < 8; ++k) {
        uint64_t eight;
        std::memcpy(&eight, is + 8 * k, 8);
        bits |= (eight * 0x0102040810204080ULL) >> 56 << (8 * k);
    }
    *high = any & 0x80;
    return bits;
}

// Calls word(hash) for each word of valid UTF-8; is_word[c] says whether code point c belongs to one.
template <class Word>
MSNOW_INLINE void for_each_word(const uint8_t* text, int64_t size, const uint8_t* is_word, Word&& word) {
    bool inside = false;
    int64_t start = 0, decoded = 0;  // code points before `decoded` are classified
    uint64_t spill = 0;              // bits of the next block that belong to a code point of this one
    for (int64_t base = 0; base < size; base += 64) {
        uint8_t tail[64];
        const uint8_t* p = text + base;
        const int64_t length = size - base < 64 ? size - base : 64;
        if (length < 64) {
            std::memset(tail, 0, 64);
            std::memcpy(tail, p, length);
            p = tail;
        }
        bool high;
        uint64_t bits = ascii_words(p, &high) | spill;
        spill = 0;
        if (high) {
            for (int64_t i = decoded > base ? decoded - base : 0; i < length;) {
                if (p[i] < 0x80) { ++i; continue; }
                uint32_t code_point;
                const int bytes = decode(text + base + i, &code_point);
                if (is_word[code_point]) {
                    const uint64_t ones = (1ULL << bytes) - 1;
                    bits |= ones << i;
                    if (i + bytes > 64) spill = ones >> (64 - i);
                }
                i += bytes;
                decoded = base + i;
            }
        }
        for (uint64_t edges = bits ^ (bits << 1 | uint64_t(inside)); edges; edges &= edges - 1) {
            const int64_t at = base + __builtin_ctzll(edges);
            if (inside) word(hash_word(text + start, at - start, size - at));
            else start = at;
            inside = !inside;
        }
    }
    if (inside) word(hash_word(text + start, size - start, 0));
}

// A window of n words: the polynomial of their hashes, kept by one step a word.
class Window {
 public:
    explicit Window(int64_t n) : n_(n) {
        for (int64_t i = 0; i < n; ++i) oldest_ *= kBase;
    }
    MSNOW_INLINE uint64_t slide(uint64_t hash, uint64_t in, uint64_t out) const { return hash * kBase + in - out * oldest_; }
    int64_t size() const { return n_; }

    static MSNOW_INLINE uint64_t finish(uint64_t hash) {
        hash = (hash ^ (hash >> 32)) * kMix;
        return hash ^ (hash >> 29);
    }

 private:
    static constexpr uint64_t kBase = 0x9e3779b97f4a7c15ULL, kMix = 0xd6e8feb86659fd93ULL;
    int64_t n_;
    uint64_t oldest_ = 1;
};

// Hashes of the runs of n words, in order; of fewer words the one run of all. `out` has room for `count`; returns how many.
template <class Hash>
MSNOW_INLINE int64_t ngrams(const uint64_t* words, int64_t count, int64_t n, Hash* out) {
    if (n > count) n = count;
    const Window window(n);
    uint64_t hash = 0;
    int64_t runs = 0;
    for (int64_t i = 0; i < n; ++i) hash = window.slide(hash, words[i], 0);
    if (count) out[runs++] = static_cast<Hash>(Window::finish(hash));
    for (int64_t i = n; i < count; ++i) {
        hash = window.slide(hash, words[i], words[i - n]);
        out[runs++] = static_cast<Hash>(Window::finish(hash));
    }
    return runs;
}

}  // namespace msnow
