// Counts of characters and lines of many texts in one pass, as Python's str methods give them.
// megatron_snow/corpus/filters/characters.py holds the Python form; the tests hold both equal.
#include <algorithm>
#include <cstring>

#include "abi.h"
#include "utf8.h"

namespace {

constexpr int kLanes = 64, kRounds = 64;  // a lane's counter is a byte, so at most 255 rounds

struct Counts {
    int64_t alphabetic = 0, digits = 0, spaces = 0, continuations = 0, high = 0, breaks = 0;  // breaks: all but \n
    int64_t alphanumeric = 0, replacement = 0;
};

// The ASCII part of `rounds` x kLanes bytes; bytes >= 0x80 are only counted. Loops over lanes become vector instructions.
inline void count_lanes(const uint8_t* p, int rounds, Counts& counts) {
    uint8_t alphabetic[kLanes] = {}, digits[kLanes] = {}, spaces[kLanes] = {}, continuations[kLanes] = {}, high[kLanes] = {},
            breaks[kLanes] = {};
    for (int r = 0; r < rounds; ++r, p += kLanes) {
        for (int k = 0; k < kLanes; ++k) {
            const uint8_t c = p[k];
            alphabetic[k] += static_cast<uint8_t>((c | 0x20) - 'a') < 26;
            digits[k] += static_cast<uint8_t>(c - '0') < 10;
            spaces[k] += (c == ' ') | (static_cast<uint8_t>(c - 9) < 5) | (static_cast<uint8_t>(c - 28) < 4);
            continuations[k] += (c & 0xc0) == 0x80;
            high[k] += c >> 7;
            breaks[k] += (static_cast<uint8_t>(c - 11) < 3) | (static_cast<uint8_t>(c - 28) < 3);
        }
    }
    for (int k = 0; k < kLanes; ++k) {
        counts.alphabetic += alphabetic[k];
        counts.digits += digits[k];
        counts.spaces += spaces[k];
        counts.continuations += continuations[k];
        counts.high += high[k];
        counts.breaks += breaks[k];
    }
}

// The characters beyond ASCII that begin in [begin, end).
inline void count_high(const uint8_t* p, int64_t begin, int64_t end, const uint8_t* classes, Counts& counts) {
    for (int64_t i = begin; i < end;) {
        if (i + 8 <= end) {
            uint64_t eight;
            std::memcpy(&eight, p + i, 8);
            if (!(eight & 0x8080808080808080ULL)) { i += 8; continue; }
        }
        if (p[i] < 0xc0) { ++i; continue; }
        uint32_t code;
        i += decode_at(p + i, &code);
        const uint8_t kind = classes[code];
        counts.alphabetic += (kind & kAlphabetic) != 0;
        counts.alphanumeric += (kind & kAlphanumeric) != 0;
        counts.digits += (kind & kDigit) != 0;
        counts.spaces += (kind & kSpace) != 0;
        counts.breaks += (kind & kLineBreak) != 0;
        counts.replacement += code == 0xfffd;
    }
}

inline Counts count_characters(const uint8_t* p, int64_t size, const uint8_t* classes) {
    Counts counts;
    int64_t ascii_alphanumeric = 0;
    for (int64_t i = 0; i < size;) {
        const int64_t left = size - i, before = counts.high;
        const int64_t ascii = counts.alphabetic + counts.digits;
        int64_t taken = std::min<int64_t>(left / kLanes, kRounds) * kLanes;
        if (taken) {
            count_lanes(p + i, static_cast<int>(taken / kLanes), counts);
        } else {
            uint8_t tail[kLanes] = {};  // NUL counts as nothing
            std::memcpy(tail, p + i, left);
            count_lanes(tail, 1, counts);
            taken = left;
        }
        ascii_alphanumeric += counts.alphabetic + counts.digits - ascii;
        if (counts.high != before) count_high(p, i, i + taken, classes, counts);
        i += taken;
    }
    counts.alphanumeric += ascii_alphanumeric;
    return counts;
}

struct Lines {
    int64_t lines = 0, ends = 0, longest = 0;  // ends: characters that end lines
    void add(const uint8_t* p, int64_t size, bool ascii, int64_t end) {
        ++lines;
        ends += end;
        if (size > longest) longest = std::max(longest, ascii ? size : characters_in(p, size));
    }
};

inline Lines lines_by_newline(const uint8_t* p, int64_t size, bool ascii) {
    Lines lines;
    for (int64_t i = 0; i < size;) {
        const void* found = std::memchr(p + i, '\n', size - i);
        const int64_t end = found ? static_cast<const uint8_t*>(found) - p : size;
        lines.add(p + i, end - i, ascii, found != nullptr);
        i = end + 1;
    }
    return lines;
}

// str.splitlines: \n \r \r\n \v \f \x1c \x1d \x1e U+0085 U+2028 U+2029.
inline Lines lines_by_any(const uint8_t* p, int64_t size, bool ascii, const uint8_t* classes) {
    Lines lines;
    int64_t start = 0;
    for (int64_t i = 0; i < size;) {
        uint32_t code = p[i];
        const int64_t next = i + (code < 0x80 ? 1 : decode_at(p + i, &code));
        if (!(classes[code] & kLineBreak)) { i = next; continue; }
        const bool pair = code == '\r' && next < size && p[next] == '\n';
        lines.add(p + start, i - start, ascii, 1 + pair);
        i = start = next + pair;
    }
    if (start < size) lines.add(p + start, size - start, ascii, 0);
    return lines;
}

}  // namespace

// For text rows[r] (data[offsets[row]:offsets[row + 1]], valid UTF-8) the numbers of: characters, lines, characters in lines
// (without what ends them), characters of the longest line, alphabetic, alphanumeric, digits, white space, U+FFFD.
// out: int64[count][9]. classes: one byte a code point (utf8.h).
MSNOW_API MSNOW_CLONES void msnow_scan(const uint8_t* data, const int64_t* offsets, const int64_t* rows, int64_t count,
                                       const uint8_t* classes, int64_t* out) {
    for (int64_t r = 0; r < count; ++r, out += 9) {
        const uint8_t* p = data + offsets[rows[r]];
        const int64_t size = offsets[rows[r] + 1] - offsets[rows[r]];
        const Counts counts = count_characters(p, size, classes);
        const bool ascii = counts.high == 0;
        const Lines lines = counts.breaks ? lines_by_any(p, size, ascii, classes) : lines_by_newline(p, size, ascii);
        out[0] = size - counts.continuations;
        out[1] = lines.lines;
        out[2] = out[0] - lines.ends;
        out[3] = lines.longest;
        out[4] = counts.alphabetic;
        out[5] = counts.alphanumeric;
        out[6] = counts.digits;
        out[7] = counts.spaces;
        out[8] = counts.replacement;
    }
}
