// What a reader would see of HTML. megatron_snow/corpus/filters/markup.py holds the rule as a regular expression.
#include <cstring>

#include "abi.h"
#include "utf8.h"

namespace {

constexpr const char* kHidden[] = {"script", "style", "template", "noscript"};

inline bool is_letter(uint8_t c) { return static_cast<uint8_t>((c | 0x20) - 'a') < 26; }
inline bool is_digit(uint8_t c) { return static_cast<uint8_t>(c - '0') < 10; }
inline bool is_name(uint8_t c) { return is_letter(c) || is_digit(c) || c == '_'; }
inline bool is_hex(uint8_t c) { return is_digit(c) || static_cast<uint8_t>((c | 0x20) - 'a') < 6; }

struct Html {
    const uint8_t* p;
    int64_t size;

    uint8_t at(int64_t i) const { return i < size ? p[i] : 0; }
    bool name_at(int64_t i, const char* name) const {
        for (; *name; ++name, ++i) {
            if ((at(i) | 0x20) != *name) return false;
        }
        return true;
    }
    int64_t after(int64_t i, const char* text) const {  // the end of the next `text`, or of all
        const int64_t length = static_cast<int64_t>(std::strlen(text));
        while (i + length <= size) {
            const void* found = std::memchr(p + i, text[0], size - i);
            if (!found) break;
            i = static_cast<const uint8_t*>(found) - p;
            if (i + length <= size && !std::memcmp(p + i, text, length)) return i + length;
            ++i;
        }
        return size;
    }
    // The end of an element that hides what it holds and begins at the '<' at i; -1 where none does.
    int64_t after_hidden(int64_t i) const {
        for (const char* name : kHidden) {
            const int64_t length = static_cast<int64_t>(std::strlen(name));
            if (!name_at(i + 1, name) || is_name(at(i + 1 + length))) continue;
            for (int64_t k = i + 1 + length; (k = after(k, "</")) < size;) {
                if (!name_at(k, name)) continue;
                int64_t end = k + length;
                while (at(end) == ' ' || (at(end) >= 9 && at(end) <= 13)) ++end;
                if (at(end) == '>') return end + 1;
            }
            return size;
        }
        return -1;
    }
    // The end of the comment, hidden element or tag at the '<' at i; -1 where it is text.
    int64_t after_markup(int64_t i) const {
        if (at(i + 1) == '!' && at(i + 2) == '-' && at(i + 3) == '-') return after(i + 4, "-->");
        const int64_t hidden = after_hidden(i);
        if (hidden >= 0) return hidden;
        const uint8_t c = at(i + 1);
        return is_letter(c) || c == '/' || c == '!' || c == '?' ? after(i + 2, ">") : -1;
    }
    // The end of the entity at the '&' at i; -1 where it is text.
    int64_t after_entity(int64_t i) const {
        int64_t k = i + 1, first;
        if (at(k) == '#' && (at(k + 1) | 0x20) == 'x') {
            for (first = k += 2; is_hex(at(k));) ++k;
        } else if (at(k) == '#') {
            for (first = ++k; is_digit(at(k));) ++k;
        } else {
            first = k;
            if (is_letter(at(k))) while (is_letter(at(k)) || is_digit(at(k))) ++k;
        }
        return k > first && at(k) == ';' ? k + 1 : -1;
    }
};

int64_t visible(const Html& html, const uint8_t* classes) {
    int64_t count = 0;
    bool blank = false;  // before what comes
    for (int64_t i = 0; i < html.size;) {
        int64_t next = -1;
        bool space = false;
        if (html.p[i] == '<' && (next = html.after_markup(i)) >= 0) { i = next; continue; }
        if (html.p[i] == '&') next = html.after_entity(i);
        if (next < 0) {
            uint32_t code;
            next = i + decode_at(html.p + i, &code);
            space = (classes[code] & kSpace) != 0;
        }
        if (!space) count += 1 + (blank && count);
        blank = space;
        i = next;
    }
    return count;
}

}  // namespace

// For text rows[r] the visible characters, a run of white space as one. out: int64[count].
MSNOW_API void msnow_visible(const uint8_t* data, const int64_t* offsets, const int64_t* rows, int64_t count,
                             const uint8_t* classes, int64_t* out) {
    for (int64_t r = 0; r < count; ++r) {
        out[r] = visible({data + offsets[rows[r]], offsets[rows[r] + 1] - offsets[rows[r]]}, classes);
    }
}
