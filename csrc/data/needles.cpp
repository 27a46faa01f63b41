// Runs of words of many needles, found in texts in one pass (megatron_snow/corpus/decontamination/index.py).
// A rolling hash of the last words asks a bit table whether any run can end here; what passes is looked up
// by the hashes of its possible lengths and compared word by word, so a hash that collides finds nothing.
#include <vector>

#include "abi.h"

namespace {

constexpr uint64_t kFnvOffset = 0xcbf29ce484222325ULL, kFnvPrime = 0x100000001b3ULL;
constexpr uint64_t kBase = 0x9e3779b97f4a7c15ULL, kMix = 0xd6e8feb86659fd93ULL;

inline uint64_t mix(uint64_t h) {
    h = (h ^ (h >> 32)) * kMix;
    return h ^ (h >> 29);
}

// Reads valid UTF-8 as code points of words in lower case; 0 stands for what belongs to no word.
class Reader {
  public:
    explicit Reader(const uint32_t* lower) : lower_(lower) {
        for (int c = 0; c < 0x80; ++c) ascii_[c] = lower[c];
    }

    inline int code(const uint8_t* p, uint32_t* code) const {
        if (p[0] < 0x80) { *code = ascii_[p[0]]; return 1; }
        if (p[0] < 0xe0) { *code = lower_[(p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)]; return 2; }
        if (p[0] < 0xf0) { *code = lower_[(p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu)]; return 3; }
        *code = lower_[(p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu)];
        return 4;
    }

    // Calls word(hash, start, end) for each word of text[0:size].
    template <typename Word>
    void words(const uint8_t* text, int64_t size, Word word) const {
        const uint8_t *p = text, *end = text + size;
        while (p < end) {
            uint32_t c;
            int length = code(p, &c);
            if (!c) { p += length; continue; }
            const uint8_t* start = p;
            uint64_t hash = kFnvOffset;
            while (c) {
                hash = (hash ^ c) * kFnvPrime;
                p += length;
                if (p >= end) break;
                length = code(p, &c);
            }
            word(mix(hash), start - text, p - text);
        }
    }

    // Whether the words of [p, end) are those of `codes`, each of which a 0 ends.
    bool same(const uint8_t* p, const uint8_t* end, const uint32_t* codes, const uint32_t* codes_end) const {
        uint32_t c;
        while (p < end && codes < codes_end) {
            int length = code(p, &c);
            if (!c) { p += length; continue; }
            for (; c; ++codes) {
                if (*codes != c) return false;
                p += length;
                if (p >= end) { ++codes; break; }
                length = code(p, &c);
            }
            if (codes >= codes_end || *codes++ != 0) return false;
        }
        return codes == codes_end;
    }

  private:
    const uint32_t* lower_;
    uint32_t ascii_[0x80];
};

}  // namespace

// The runs of all needles, of `shortest` to `longest` (64 at most) words. Run i has the hash keys[i] (ascending), the words
// codes[code_starts[i]:][:code_counts[i]] and stands in the needles postings[posting_starts[i]:posting_starts[i + 1]].
struct MsnowIndex {
    const uint64_t* filter;  // bits: whether a run ends here, by the high bits of the hash of the last `shortest` words
    const uint64_t* masks;   // by some of the same bits: bit n is set where a run of n + 1 words ends here
    const uint64_t* keys;
    const int64_t* buckets;  // the runs whose hash has high bits b are buckets[b] to buckets[b + 1]
    const uint32_t* codes;
    const int64_t* code_starts;
    const int32_t* code_counts;
    const int64_t* posting_starts;
    const int32_t* postings;
    int64_t shortest, longest, filter_shift, bucket_shift;  // there are as many masks as buckets
};

// A needle in a text: where its first run begins, where the unbroken stretch of runs from there ends (bytes of the
// text), and how many of its runs there are in all.
struct MsnowHit {
    int64_t text, start, end;
    int32_t needle, runs;
};

// The words of valid UTF-8: hash, first byte and end of each. lower[c] is code point c in lower case, 0 where it is of no word.
// The arrays have room for (size + 1) / 2. Returns the number of words.
MSNOW_API int64_t msnow_lower_words(const uint8_t* text, int64_t size, const uint32_t* lower, uint64_t* hashes, int64_t* starts,
                                    int64_t* ends) {
    int64_t count = 0;
    Reader(lower).words(text, size, [&](uint64_t hash, int64_t start, int64_t end) {
        hashes[count] = hash;
        starts[count] = start;
        ends[count++] = end;
    });
    return count;
}

// Needles in texts[first:]: each once a text. `latest` has a place a needle, of any content from 0 up.
// Stops before a text whose hits might not fit; returns the text to go on with and adds to *count.
// `room` must be at least the number of needles.
MSNOW_API int64_t msnow_find(const MsnowIndex* index, const uint32_t* lower, const uint8_t* data, const int64_t* offsets,
                             int32_t* latest, MsnowHit* hits, int64_t first, int64_t texts, int64_t needles, int64_t room,
                             int64_t* count) {
    const Reader reader(lower);
    const int64_t shortest = index->shortest, longest = index->longest;
    int64_t ring = 1;
    while (ring <= longest) ring *= 2;
    std::vector<uint64_t> hashes(ring);
    std::vector<int64_t> starts(ring);
    uint64_t power = 1;  // kBase ^ shortest: the weight of the word that leaves the window
    for (int64_t k = 0; k < shortest; ++k) power *= kBase;
    int64_t found = 0, t = first;
    for (; t < texts && found + needles <= room; ++t) {
        const uint8_t* text = data + offsets[t];
        int64_t seen = 0;
        uint64_t window = 0;
        for (auto& hash : hashes) hash = 0;
        reader.words(text, offsets[t + 1] - offsets[t], [&](uint64_t hash, int64_t start, int64_t end) {
            window = window * kBase + hash - hashes[(seen - shortest) & (ring - 1)] * power;
            hashes[seen & (ring - 1)] = hash;
            starts[seen & (ring - 1)] = start;
            ++seen;
            const uint64_t suffix = mix(window), bit = suffix >> index->filter_shift;
            if (!(index->filter[bit >> 6] >> (bit & 63) & 1)) return;
            const uint64_t mask = index->masks[suffix >> index->bucket_shift];
            uint64_t sum = 0, weight = 1;
            for (int64_t length = 1; length <= seen && length <= longest && mask >> (length - 1); ++length) {
                sum += hashes[(seen - length) & (ring - 1)] * weight;
                weight *= kBase;
                if (!(mask >> (length - 1) & 1)) continue;
                const uint64_t key = mix(sum);
                const int64_t from = starts[(seen - length) & (ring - 1)];
                const int64_t bucket = static_cast<int64_t>(key >> index->bucket_shift);
                for (int64_t run = index->buckets[bucket]; run < index->buckets[bucket + 1]; ++run) {
                    const uint32_t* codes = index->codes + index->code_starts[run];
                    if (index->keys[run] != key || !reader.same(text + from, text + end, codes, codes + index->code_counts[run])) continue;
                    for (int64_t i = index->posting_starts[run]; i < index->posting_starts[run + 1]; ++i) {
                        const int32_t needle = index->postings[i];
                        const int32_t last = latest[needle];
                        if (last < found && hits[last].text == t && hits[last].needle == needle) {
                            ++hits[last].runs;
                            if (from <= hits[last].end) hits[last].end = end;
                        } else {
                            latest[needle] = static_cast<int32_t>(found);
                            hits[found++] = {t, from, end, needle, 1};
                        }
                    }
                }
            }
        });
    }
    *count = found;
    return t;
}
