// Words of texts, hashes of their n-grams, sets of them, and the overlap of two sets.
// megatron_snow/corpus/shingles.py holds the Python form; the tests hold both equal.
#include <algorithm>
#include <memory>
#include <vector>

#include "words.h"

namespace {

// Sorts hashes, whose high bits are even: a place by them, then the few of a place. Three times as fast as std::sort.
class Sorter {
 public:
    explicit Sorter(int64_t most) : scratch_(new uint64_t[most + 1]) {}

    void sort(uint64_t* values, int64_t count) {
        int bits = 1;
        while (bits < 20 && (int64_t{4} << bits) < count) ++bits;
        starts_.assign((size_t{1} << bits) + 1, 0);
        for (int64_t i = 0; i < count; ++i) ++starts_[(values[i] >> (64 - bits)) + 1];
        for (size_t place = 1; place < starts_.size(); ++place) starts_[place] += starts_[place - 1];
        for (int64_t i = 0; i < count; ++i) scratch_[starts_[values[i] >> (64 - bits)]++] = values[i];
        int64_t start = 0;
        for (size_t place = 0; place + 1 < starts_.size(); start = starts_[place++]) std::sort(&scratch_[start], &scratch_[starts_[place]]);
        std::copy(&scratch_[0], &scratch_[count], values);
    }

 private:
    std::unique_ptr<uint64_t[]> scratch_;
    std::vector<int64_t> starts_;  // of each place, then its end
};

}  // namespace

// The hash of each word, in order; `hashes` has room for (size + 1) / 2. Returns the number of words.
MSNOW_API MSNOW_CLONES int64_t msnow_word_hashes(const uint8_t* text, int64_t size, const uint8_t* is_word, uint64_t* hashes) {
    int64_t count = 0;
    msnow::for_each_word(text, size, is_word, [&](uint64_t hash) { hashes[count++] = hash; });
    return count;
}

// Hashes of the `count - n + 1` runs of n words, in order; count >= n.
MSNOW_API void msnow_ngram_hashes(const uint64_t* words, int64_t count, int64_t n, uint64_t* hashes) {
    msnow::ngrams(words, count, n, hashes);
}

// The set of n-grams of each chosen text, sorted, one after the other: set i ends at ends[i]. `hashes` has room for
// the sum of (size + 1) / 2.
MSNOW_API MSNOW_CLONES void msnow_shingle_sets(const uint8_t* data, const int64_t* offsets, const int64_t* chosen, int64_t count, int64_t n,
                                               const uint8_t* is_word, uint64_t* hashes, int64_t* ends) {
    int64_t most = 0, end = 0;
    for (int64_t i = 0; i < count; ++i) most = std::max(most, (offsets[chosen[i] + 1] - offsets[chosen[i]] + 1) / 2);
    const std::unique_ptr<uint64_t[]> words(new uint64_t[most + 1]);
    Sorter sorter(most);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t start = offsets[chosen[i]];
        int64_t found = 0;
        msnow::for_each_word(data + start, offsets[chosen[i] + 1] - start, is_word, [&](uint64_t hash) { words[found++] = hash; });
        uint64_t* set = hashes + end;
        const int64_t runs = msnow::ngrams(words.get(), found, n, set);
        sorter.sort(set, runs);
        ends[i] = end += std::unique(set, set + runs) - set;
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
