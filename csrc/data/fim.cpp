// Fill in the middle, a row at a time (megatron_snow/datasets/fim.py, which says what is done and gives the same without this).
#include <algorithm>
#include <vector>

#include "abi.h"

namespace {

constexpr int64_t kBlock = 64, kSentinels = 3;
constexpr int64_t kClose = 64;  // ids: how far apart the fixed tokens may stand to be looked for at once

struct Fim {
    int64_t prefix, middle, suffix;
    int64_t eod, separator, repository, beginning;  // -1 where the vocabulary has none
    int64_t by_document, least;                     // unit "document"; tokens of the shortest that is permuted
    uint64_t key, rate, spm_rate;                   // rates in 2^-32
};

struct Document {
    int64_t start, first, second, stop;  // with its two cuts
    bool spm;
};

// One step of splitmix64 (Steele et al. 2014).
MSNOW_INLINE uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

MSNOW_INLINE bool is_fixed(const Fim& fim, int64_t token) {
    return (token == fim.eod) | (token == fim.separator) | (token == fim.repository) | (token == fim.beginning);
}

// Gives each place at which a text may end in turn to `use`: (place, whether the token there is fixed).
template <class Use>
MSNOW_INLINE void for_borders(const Fim& fim, const int64_t* tokens, const int32_t* segments, int64_t width, Use&& use) {
    const auto one = [&](int64_t p) {
        if (p && segments[p] != segments[p - 1]) use(p, false);
        if (is_fixed(fim, tokens[p])) use(p, true);
    };
    // Most blocks have no border. Fixed tokens stand close to each other in most vocabularies, so one comparison finds blocks
    // that may have one; segments never fall but to the padding at the end, so the ends of a block tell.
    const int64_t ids[] = {fim.eod, fim.separator, fim.repository, fim.beginning};
    int64_t low = fim.eod, high = fim.eod;
    for (const int64_t id : ids)
        if (id >= 0) low = std::min(low, id), high = std::max(high, id);
    const bool close = high - low < kClose;
    const uint64_t range = static_cast<uint64_t>(high - low);
    one(0);
    int64_t p = 1;
    for (; p + kBlock <= width; p += kBlock) {
        int64_t found = segments[p - 1] != segments[p + kBlock - 1];
        if (close)
            for (int64_t i = p; i < p + kBlock; ++i) found |= static_cast<uint64_t>(tokens[i] - low) <= range;
        else
            for (int64_t i = p; i < p + kBlock; ++i) found |= is_fixed(fim, tokens[i]);
        if (found)
            for (int64_t i = p; i < p + kBlock; ++i) one(i);
    }
    for (; p < width; ++p) one(p);
}

MSNOW_INLINE bool is_rest_of_name(const Fim& fim, const int64_t* tokens, const int32_t* segments, int64_t width, int64_t p) {
    return p + 1 < width && tokens[p] == fim.separator && segments[p] == segments[p + 1];
}

// The documents of a row that are permuted.
MSNOW_INLINE void choose(const Fim& fim, const int64_t* tokens, const int32_t* segments, int64_t width, uint64_t sample,
                         std::vector<Document>& chosen) {
    const uint64_t seed = mix(mix(fim.key) + sample);
    uint64_t number = 0;
    int64_t start = 0, before = -1;  // the fixed token before, of all
    bool full = false;
    const auto add = [&](int64_t stop) {
        const int64_t from = start;
        if (stop - from < fim.least || (from && tokens[from - 1] == fim.repository)) return;
        if (!from && stop < width && is_rest_of_name(fim, tokens, segments, width, stop)) return;
        const uint64_t draws = mix(seed + number++);
        if (full || mix(draws) >> 32 >= fim.rate) return;
        stop = std::min(stop, width - kSentinels * (static_cast<int64_t>(chosen.size()) + 1));
        full = stop - from < fim.least;  // and none behind it fits
        if (full) return;
        const uint64_t choices = static_cast<uint64_t>(stop - from + 1);
        const int64_t a = from + static_cast<int64_t>((mix(draws + 2) >> 32) * choices >> 32);
        const int64_t b = from + static_cast<int64_t>((mix(draws + 3) >> 32) * choices >> 32);
        chosen.push_back({from, std::min(a, b), std::max(a, b), stop, mix(draws + 1) >> 32 < fim.spm_rate});
    };
    for_borders(fim, tokens, segments, width, [&](int64_t p, bool fixed) {
        bool border = true;
        if (fim.by_document && !fixed) border = tokens[p - 1] != fim.separator;
        if (fim.by_document && fixed && tokens[p] == fim.separator)
            border = before >= 0 ? before == fim.repository : is_rest_of_name(fim, tokens, segments, width, p);
        if (fixed) before = tokens[p];
        if (!border) return;
        add(p);
        start = fixed ? p + 1 : p;
    });
    add(width);
}

// Permutes a row from its end, so that each stretch moves to its place at once; `scratch` holds one document.
void permute(const Fim& fim, const std::vector<Document>& documents, int64_t* tokens, int64_t width, int64_t* scratch) {
    int64_t until = width - kSentinels * static_cast<int64_t>(documents.size());  // of what is kept of the row as it was
    for (int64_t k = static_cast<int64_t>(documents.size()); k-- > 0;) {
        const Document& one = documents[k];
        const int64_t shift = kSentinels * k;
        if (one.stop < until) std::copy_backward(tokens + one.stop, tokens + until, tokens + until + shift + kSentinels);
        std::copy(tokens + one.start, tokens + one.stop, scratch);
        const auto put = [&](int64_t* to, int64_t from, int64_t end) { return std::copy(scratch + from - one.start, scratch + end - one.start, to); };
        int64_t* to = tokens + one.start + shift;
        *to++ = fim.prefix;
        if (!one.spm) to = put(to, one.start, one.first);
        *to++ = fim.suffix;
        to = put(to, one.second, one.stop);
        *to++ = fim.middle;
        if (one.spm) to = put(to, one.start, one.first);
        put(to, one.first, one.second);
        until = one.start;
    }
}

// A permuted document is one segment, with its sentinels and the separator that ends it; numbers rise by one.
void lengthen(const std::vector<Document>& documents, int32_t* segments, int64_t width) {
    bool merged = false;
    for (const Document& one : documents) {
        const int32_t last = segments[one.stop - 1];
        if (last == segments[one.start]) continue;
        const int64_t stop = one.stop + (one.stop < width && segments[one.stop] == last);
        std::fill(segments + one.start, segments + stop, segments[one.start]);
        merged = true;
    }
    int64_t until = width;
    for (int64_t k = static_cast<int64_t>(documents.size()); k-- > 0;) {
        const int64_t start = documents[k].start, target = start + kSentinels * (k + 1);
        const int64_t stop = std::min(until, width - kSentinels * (k + 1));
        if (stop > start) std::copy_backward(segments + start, segments + stop, segments + target + (stop - start));
        std::fill(segments + target - kSentinels, segments + target, segments[target]);
        until = start;
    }
    if (!merged) return;
    int32_t number = 0, before = segments[0];
    for (int64_t p = 0; p < width && segments[p] >= 0; ++p) {
        number += segments[p] != before;
        before = segments[p];
        segments[p] = number;
    }
}

}  // namespace

// Permutes documents of the samples with these numbers in place: tokens[count][width], segments[count][width].
MSNOW_API MSNOW_CLONES void msnow_fill_in_middle(const Fim* fim, int64_t* tokens, int32_t* segments, int64_t count, int64_t width,
                                                 const int64_t* samples) {
    std::vector<int64_t> scratch(static_cast<size_t>(width));
    std::vector<Document> documents;
    for (int64_t row = 0; row < count; ++row, tokens += width, segments += width) {
        documents.clear();
        choose(*fim, tokens, segments, width, static_cast<uint64_t>(samples[row]), documents);
        if (documents.empty()) continue;
        permute(*fim, documents, tokens, width, scratch.data());
        lengthen(documents, segments, width);
    }
}
