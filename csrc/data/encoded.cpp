// Data written as text: the matches of StarCoder2's three regular expressions (arXiv 2402.19173, 2.1), without a regex engine.
// megatron_snow/corpus/filters/encoded.py holds the expressions; the tests hold both equal.
#include <algorithm>

#include "abi.h"
#include "utf8.h"

namespace {

struct Set {
    bool has[256] = {};
    explicit constexpr Set(const char* members, bool spaces = false, bool high = false) {
        for (const char* c = members; *c; ++c) has[static_cast<uint8_t>(*c)] = true;
        for (int c = 0; c < 256; ++c) has[c] |= (spaces && (c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31))) || (high && c >= 0x80);
    }
    constexpr bool operator[](uint8_t byte) const { return has[byte]; }
};

#define MSNOW_HEX "0123456789abcdefABCDEF"
constexpr Set kHex(MSNOW_HEX);
constexpr Set kBase64("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/\n=");
constexpr Set kUnicodeBytes(MSNOW_HEX "\\u");
constexpr Set kHexBytes(MSNOW_HEX "\\x,", true, true);
constexpr int64_t kBase64Least = 64, kItems = 8, kUnit = 6;
constexpr int64_t kHexLeast = 23;  // bytes of eight pairs and seven separators

struct Text {
    const uint8_t* p;
    int64_t size;
    const uint8_t* classes;

    bool word_at(int64_t i) const {
        if (i >= size) return false;
        uint32_t code;
        decode_at(p + i, &code);
        return code == '_' || (classes[code] & kAlphanumeric);
    }
    bool word_before(int64_t i) const {
        if (i == 0) return false;
        do { --i; } while (is_continuation(p[i]));
        return word_at(i);
    }
    bool boundary(int64_t i) const { return word_before(i) != word_at(i); }
    bool pair_at(int64_t i) const { return i + 2 <= size && kHex[p[i]] && kHex[p[i + 1]]; }
};

struct Found {
    int64_t longest = 0, total = 0;
    void add(int64_t length) { longest = std::max(longest, length); total += length; }
};

// Calls found(start, end) for each maximal run of at least `least` bytes of a set, in order. Looks at every `least`-th byte
// where there is none, as Boyer and Moore do.
template <typename Callback>
inline void runs_of(const Text& text, const Set& set, int64_t least, Callback found) {
    for (int64_t start = 0; start + least <= text.size;) {
        int64_t k = start + least - 1;
        while (k >= start && set[text.p[k]]) --k;
        if (k >= start) { start = k + 1; continue; }
        int64_t end = start + least;
        while (end < text.size && set[text.p[end]]) ++end;
        found(start, end);
        start = end + 1;
    }
}

// One item of (?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)) at i: where it ends, or -1. No choice that the engine could take back
// leads further, so a chain of items is one loop.
inline int64_t hex_item(const Text& text, int64_t i) {
    if (i >= text.size || !text.boundary(i)) return -1;
    const uint8_t* p = text.p;
    if (i + 1 < text.size && (p[i] == '0' || p[i] == '\\') && p[i + 1] == 'x') i += 2;
    if (!text.pair_at(i)) return -1;
    i += 2;
    if (i < text.size && p[i] == ',') return i + 1;
    if (!text.boundary(i)) return -1;
    while (i < text.size) {
        uint32_t code;
        const int length = decode_at(p + i, &code);
        if (!(text.classes[code] & kSpace)) break;
        i += length;
    }
    return i;
}

inline void hexadecimal(const Text& text, int64_t start, int64_t end, Found& found) {
    for (int64_t i = start; i < end;) {
        if (is_continuation(text.p[i])) { ++i; continue; }
        int64_t items = 0, stop = i;
        for (int64_t next; (next = hex_item(text, stop)) >= 0; stop = next) ++items;
        if (items >= kItems) found.add(characters_in(text.p + i, stop - i));
        i = items ? stop : i + 1;
    }
}

inline void unicode(const Text& text, int64_t start, int64_t end, Found& found) {
    const uint8_t* p = text.p;
    for (int64_t i = start; i < end;) {
        int64_t stop = i;
        while (stop + kUnit <= end && p[stop] == '\\' && p[stop + 1] == 'u' && text.pair_at(stop + 2) && text.pair_at(stop + 4)) stop += kUnit;
        if (stop - i >= kItems * kUnit) found.add(stop - i);
        i = stop > i ? stop : i + 1;
    }
}

}  // namespace

// For text rows[r]: characters of the longest match, of all matches together and of the text. out: int64[count][3].
MSNOW_API void msnow_encoded(const uint8_t* data, const int64_t* offsets, const int64_t* rows, int64_t count,
                             const uint8_t* classes, int64_t* out) {
    for (int64_t r = 0; r < count; ++r) {
        const Text text{data + offsets[rows[r]], offsets[rows[r] + 1] - offsets[rows[r]], classes};
        Found found;
        runs_of(text, kBase64, kBase64Least, [&](int64_t start, int64_t end) { found.add(end - start); });
        runs_of(text, kHexBytes, kHexLeast, [&](int64_t start, int64_t end) { hexadecimal(text, start, end, found); });
        runs_of(text, kUnicodeBytes, kItems * kUnit, [&](int64_t start, int64_t end) { unicode(text, start, end, found); });
        out[3 * r] = found.longest;
        out[3 * r + 1] = found.total;
        out[3 * r + 2] = characters_in(text.p, text.size);
    }
}
