// UTF-8 that is known to be valid, and what Python's str says of a character: one byte of bits a code point.
#pragma once
#include <cstdint>

enum : uint8_t { kAlphabetic = 1, kAlphanumeric = 2, kDigit = 4, kSpace = 8, kLineBreak = 16 };  // corpus/filters/characters.py

inline bool is_continuation(uint8_t byte) { return (byte & 0xc0u) == 0x80u; }

// Length of the sequence at p and its code point.
inline int decode_at(const uint8_t* p, uint32_t* code) {
    if (p[0] < 0x80) { *code = p[0]; return 1; }
    if (p[0] < 0xe0) { *code = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu); return 2; }
    if (p[0] < 0xf0) { *code = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu); return 3; }
    *code = (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
    return 4;
}

inline int64_t characters_in(const uint8_t* p, int64_t size) {
    int64_t count = 0;
    for (int64_t i = 0; i < size; ++i) count += !is_continuation(p[i]);
    return count;
}
