// Words of many texts and how much they repeat: the most frequent n-gram, and what lies in n-grams that occur twice.
// megatron_snow/corpus/filters/words.py holds the Python form; the tests hold both equal.
#include <algorithm>
#include <vector>

#include "abi.h"
#include "utf8.h"

namespace {

constexpr uint64_t kFnvOffset = 0xcbf29ce484222325ULL, kFnvPrime = 0x100000001b3ULL, kBase = 0x9e3779b97f4a7c15ULL;
constexpr int kTop[] = {2, 3, 4}, kRepeated[] = {5, 6, 7, 8, 9, 10};

struct Words {
    std::vector<uint64_t> hashes;
    std::vector<uint32_t> lengths;  // characters
    int64_t characters = 0;
};

enum Kind { kNone, kLetters, kSymbols };  // a word is a run of letters and digits, or of other characters beyond ASCII

inline Kind kind_of(uint32_t code, uint8_t bits) {
    if (bits & kAlphanumeric) return kLetters;
    return code < 0x80 || (bits & kSpace) ? kNone : kSymbols;
}

void find_words(const uint8_t* p, int64_t size, const uint8_t* classes, const uint32_t* lower, Words& words) {
    words.hashes.clear();
    words.lengths.clear();
    words.characters = 0;
    Kind inside = kNone;
    for (int64_t i = 0; i < size;) {
        uint32_t code;
        i += decode_at(p + i, &code);
        const Kind kind = kind_of(code, classes[code]);
        if (kind != kNone) {
            if (kind != inside) {
                words.hashes.push_back(kFnvOffset);
                words.lengths.push_back(0);
            }
            words.hashes.back() = (words.hashes.back() ^ lower[code]) * kFnvPrime;
            ++words.lengths.back();
            ++words.characters;
        }
        inside = kind;
    }
}

struct Slot {
    uint64_t hash;
    uint32_t first, count;  // count 0: empty
};

// How often each hash occurs.
class Counter {
  public:
    void start(size_t items) {
        size_t size = 16;
        while (size < 2 * items) size *= 2;
        slots_.assign(size, Slot{0, 0, 0});
    }
    Slot& at(uint64_t hash) {
        hash = (hash ^ (hash >> 32)) * 0xd6e8feb86659fd93ULL;
        size_t i = (hash ^ (hash >> 29)) & (slots_.size() - 1);
        while (slots_[i].count && slots_[i].hash != hash) i = (i + 1) & (slots_.size() - 1);
        slots_[i].hash = hash;
        return slots_[i];
    }

  private:
    std::vector<Slot> slots_;
};

struct Grams {
    const Words& words;
    std::vector<uint64_t> hashes;  // of the n-gram that begins at each word
    Counter counter;

    explicit Grams(const Words& w) : words(w), hashes(w.hashes) {}

    void extend(size_t n) {  // from n - 1 words to n
        for (size_t i = 0; i + n <= words.hashes.size(); ++i) hashes[i] = hashes[i] * kBase + words.hashes[i + n - 1];
    }
    size_t number(size_t n) const { return words.hashes.size() < n ? 0 : words.hashes.size() - n + 1; }
    void count(size_t n) {
        counter.start(number(n));
        for (size_t i = 0; i < number(n); ++i) {
            Slot& slot = counter.at(hashes[i]);
            if (!slot.count++) slot.first = static_cast<uint32_t>(i);
        }
    }
    // Characters of all occurrences of the most frequent n-gram, the earliest of several; 0 where none occurs twice.
    int64_t top(size_t n) {
        uint32_t most = 1, first = 0;
        for (size_t i = 0; i < number(n); ++i) {
            const Slot& slot = counter.at(hashes[i]);
            if (slot.first == i && slot.count > most) { most = slot.count; first = slot.first; }
        }
        if (most == 1) return 0;
        int64_t characters = 0;
        for (size_t k = 0; k < n; ++k) characters += words.lengths[first + k];
        return characters * most;
    }
    // Characters of the words that lie in n-grams which occur more than once.
    int64_t repeated(size_t n) {
        int64_t characters = 0;
        size_t covered = 0;  // words before it are counted or never will be
        for (size_t i = 0; i < number(n); ++i) {
            if (counter.at(hashes[i]).count < 2) continue;
            for (size_t k = std::max(covered, i); k < i + n; ++k) characters += words.lengths[k];
            covered = i + n;
        }
        return characters;
    }
};

}  // namespace

// For text rows[r]: words, characters in words, characters of the top 2-, 3- and 4-gram, characters in repeated 5- to 10-grams.
// out: int64[count][11]. lower: the small letter of each code point.
MSNOW_API void msnow_words(const uint8_t* data, const int64_t* offsets, const int64_t* rows, int64_t count,
                           const uint8_t* classes, const uint32_t* lower, int64_t* out) {
    Words words;
    for (int64_t r = 0; r < count; ++r, out += 11) {
        find_words(data + offsets[rows[r]], offsets[rows[r] + 1] - offsets[rows[r]], classes, lower, words);
        std::fill(out, out + 11, 0);
        out[0] = static_cast<int64_t>(words.hashes.size());
        out[1] = words.characters;
        Grams grams(words);
        int column = 2;
        for (const int n : kTop) {
            grams.extend(n);
            grams.count(n);
            out[column++] = grams.top(n);
        }
        for (const int n : kRepeated) {
            grams.extend(n);
            grams.count(n);
            if ((out[column++] = grams.repeated(n)) == 0) break;  // no longer n-gram repeats either
        }
    }
}
