// Lines that can hold a secret or an address: those with a literal that some detector cannot do without.
// megatron_snow/corpus/redaction/prefilter.py holds what a hit means; the tests hold that nothing is missed.
#include "abi.h"

#include <cstring>
#include <vector>

namespace {

inline bool digit(uint8_t c) { return c - '0' < 10u; }
inline bool letter(uint8_t c) { return (c | 0x20) - 'a' < 26u; }
inline bool hexadecimal(uint8_t c) { return digit(c) || (c | 0x20) - 'a' < 6u; }
inline uint8_t lower(uint8_t c) { return c - 'A' < 26u ? c | 0x20 : c; }

struct Line {
    const uint8_t *begin, *end;
};

// x@y: a character of a local part before, a letter or digit after.
bool email(const uint8_t* at, Line line) {
    return at > line.begin && at + 1 < line.end && (digit(at[-1]) || letter(at[-1]) || memchr("._%+-", at[-1], 5)) &&
           (digit(at[1]) || letter(at[1]));
}

// The first dot of four groups of one to three digits.
bool ipv4(const uint8_t* dot, Line line) {
    const uint8_t* p = dot;
    while (p > line.begin && digit(p[-1])) --p;
    if (p == dot || dot - p > 3 || (p > line.begin && p[-1] == '.')) return false;
    p = dot;
    for (int group = 0; group < 3; ++group) {
        if (p == line.end || *p != '.') return false;
        const uint8_t* start = ++p;
        while (p < line.end && digit(*p)) ++p;
        if (p == start || p - start > 3) return false;
    }
    return true;
}

// The first colon of 2000::/3, all that is assigned: four hexadecimal digits of which the first is 2 or 3.
bool ipv6(const uint8_t* colon, Line line) {
    if (colon - line.begin < 4 || colon + 1 >= line.end || (colon[-4] != '2' && colon[-4] != '3')) return false;
    for (int i = 1; i < 4; ++i)
        if (!hexadecimal(colon[-i])) return false;
    return colon[1] == ':' || hexadecimal(colon[1]);
}

// A run of at least `least` characters that a secret is written in, with two digits and two letters.
bool dense(Line line, int64_t least) {
    for (const uint8_t* p = line.begin; p < line.end;) {
        int64_t length = 0, digits = 0, letters = 0;
        for (; p < line.end && *p > ' ' && *p < 0x7f && !memchr("\"'`\\<>{}", *p, 8); ++p, ++length) {
            digits += digit(*p);
            letters += letter(*p);
        }
        if (length >= least && digits >= 2 && letters >= 2) return true;
        ++p;
    }
    return false;
}

}  // namespace

// For each line with a hint: its text, its bytes [start, end) and the union of its hints' masks.
// Literals are lower case and of two bytes or more, found whatever the case. The masks of "@", of a dotted quad and of a
// colon after 2xxx or 3xxx are `email`, `quad` and `six`; the bit `keyword` is taken back where the line has no dense run
// of `least` characters. `lines` has room for 4 * `capacity`; returns how many lines there are, be that more.
MSNOW_API int64_t msnow_hints(const uint8_t* data, const int64_t* offsets, int64_t count, const uint8_t* literals,
                              const int64_t* literal_offsets, const uint64_t* masks, int64_t literal_count, uint64_t email_mask,
                              uint64_t quad_mask, uint64_t six_mask, uint64_t keyword_mask, int64_t least, int64_t* lines,
                              int64_t capacity) {
    std::vector<uint8_t> begins(1 << 16, 0);  // whether a hint can begin with these two bytes
    std::vector<std::vector<int64_t>> by_first(256);
    for (int64_t k = 0; k < literal_count; ++k) {
        const uint8_t *text = literals + literal_offsets[k], a = text[0], b = text[1];
        by_first[a].push_back(k);
        for (uint8_t x : {a, static_cast<uint8_t>(letter(a) ? a ^ 0x20 : a)})
            for (uint8_t y : {b, static_cast<uint8_t>(letter(b) ? b ^ 0x20 : b)}) begins[x << 8 | y] = 1;
    }
    for (int c = 0; c < 256; ++c) {
        if (digit(c) || letter(c)) begins['@' << 8 | c] = 1;
        if (digit(c)) begins['.' << 8 | c] = 1;
        if (hexadecimal(c) || c == ':') begins[':' << 8 | c] = 1;
    }
    int64_t found = 0;
    for (int64_t t = 0; t < count; ++t) {
        const uint8_t *text = data + offsets[t], *stop = data + offsets[t + 1];
        Line line{text, text};
        uint64_t mask = 0;
        auto close = [&] {
            if ((mask & keyword_mask) && !dense(line, least)) mask &= ~keyword_mask;
            if (mask && found++ < capacity) {
                int64_t* row = lines + 4 * (found - 1);
                row[0] = t, row[1] = line.begin - data, row[2] = line.end - data, row[3] = static_cast<int64_t>(mask);
            }
            mask = 0;
        };
        for (const uint8_t* p = text; p + 1 < stop; ++p) {
            if (!begins[p[0] << 8 | p[1]]) continue;
            if (p >= line.end) {  // a new line
                close();
                line.begin = p;
                while (line.begin > text && line.begin[-1] != '\n') --line.begin;
                const void* end = memchr(p, '\n', stop - p);
                line.end = end ? static_cast<const uint8_t*>(end) : stop;
            }
            if (*p == '@') mask |= email(p, line) ? email_mask : 0;
            if (*p == '.') mask |= ipv4(p, line) ? quad_mask : 0;
            if (*p == ':') mask |= ipv6(p, line) ? six_mask : 0;
            for (int64_t k : by_first[lower(*p)]) {
                const uint8_t* literal = literals + literal_offsets[k];
                const int64_t size = literal_offsets[k + 1] - literal_offsets[k];
                if (line.end - p < size) continue;
                int64_t i = 1;
                while (i < size && lower(p[i]) == literal[i]) ++i;
                if (i == size) mask |= masks[k];
            }
        }
        close();
    }
    return found;
}
