// The tokens of samples, and where documents begin in them (megatron_snow/datasets/sample_index.py).
#include <algorithm>

#include "samples.h"

namespace {

struct Samples {
    Permutation order;        // of the samples
    SequenceOrder sequences;  // of concatenated samples
    const Length* lengths;    // of all sequences of the dataset
    const Pointer* pointers;  // in bytes of the .bin
    int64_t num_sequences;
    const void* tokens;  // the .bin
    int64_t num_tokens;
    int64_t token_bytes, token_code;  // of the .idx
    const void* rows;       // (place or sequence, offset)
    const int64_t* firsts;  // first row of each sample, then the number of rows; null: one row a sample, its sequences follow
    int64_t num_rows;
    int64_t wide;           // rows are uint64, else uint32
    int64_t length;         // of a sample
};

constexpr int kAhead = 8;  // sequences asked for at once

MSNOW_INLINE void row_at(const Samples& samples, int64_t i, uint64_t& number, int64_t& offset) {
    if (samples.wide) {
        number = static_cast<const uint64_t*>(samples.rows)[2 * i];
        offset = static_cast<int64_t>(static_cast<const uint64_t*>(samples.rows)[2 * i + 1]);
    } else {
        number = static_cast<const uint32_t*>(samples.rows)[2 * i];
        offset = static_cast<const uint32_t*>(samples.rows)[2 * i + 1];
    }
}

// Gives at most `missing` tokens of a sequence from `offset` on to `use`; -1 where the index does not fit the dataset.
template <class Use>
MSNOW_INLINE int64_t piece(const Samples& samples, uint64_t sequence, int64_t offset, int64_t missing, Use&& use) {
    if (sequence >= static_cast<uint64_t>(samples.num_sequences)) return -1;
    const int64_t count = std::min<int64_t>(missing, samples.lengths[sequence] - offset), first = samples.pointers[sequence] / samples.token_bytes + offset;
    if (offset < 0 || count < 0 || first < 0 || first + count > samples.num_tokens) return -1;
    if (count) use(first, count);
    return count;
}

// Gives the pieces (first token, count) of sample k in turn to `use`; false where the index does not fit the dataset.
template <class Use>
MSNOW_INLINE bool for_pieces(const Samples& samples, int64_t k, Use&& use) {
    uint64_t sample = static_cast<uint64_t>(k), number, ahead[kAhead];
    int64_t offset, missing = samples.length;
    permute<false>(samples.order, &sample, 1);
    if (samples.firsts) {
        for (int64_t i = samples.firsts[sample]; i < samples.firsts[sample + 1]; ++i) {
            if (i < 0 || i >= samples.num_rows) return false;
            row_at(samples, i, number, offset);
            const int64_t count = piece(samples, number, offset, missing, use);
            if (count < 0) return false;
            missing -= count;
        }
        return true;
    }
    row_at(samples, static_cast<int64_t>(sample), number, offset);
    for (uint64_t left = samples.sequences.places.count; missing && number < left; number += kAhead) {
        const int block = static_cast<int>(std::min<uint64_t>(kAhead, left - number));
        sequences_at(samples.sequences, number, block, ahead);
        for (int i = 0; i < block && missing; ++i, offset = 0) {
            const int64_t count = piece(samples, ahead[i], offset, missing, use);
            if (count < 0) return false;
            missing -= count;
        }
    }
    return missing == 0;
}

template <class Token>
MSNOW_INLINE int64_t read(const Samples& samples, const int64_t* numbers, int64_t count, int64_t* out, int64_t* filled) {
    const Token* tokens = static_cast<const Token*>(samples.tokens);
    for (int64_t i = 0; i < count; ++i) {
        int64_t* to = out + i * samples.length;
        const bool fits = for_pieces(samples, numbers[i], [&](int64_t first, int64_t size) {
            std::copy(tokens + first, tokens + first + size, to);
            to += size;
        });
        if (!fits) return i;
        filled[i] = to - (out + i * samples.length);
    }
    return count;
}

}  // namespace

// The pieces of sample k: where each begins in the .bin and how many tokens it has. Returns how many pieces (at most the
// sample's length), or -1 where the index does not fit the dataset.
MSNOW_API int64_t msnow_sample_spans(const Samples* samples, int64_t k, int64_t* firsts, int64_t* counts) {
    int64_t found = 0;
    const bool fits = for_pieces(*samples, k, [&](int64_t first, int64_t count) {
        firsts[found] = first;
        counts[found++] = count;
    });
    return fits ? found : -1;
}

// Samples as rows of out[count][length], of which `filled` are tokens; the rest is left as it was. Returns how many samples
// fitted the dataset.
MSNOW_API MSNOW_CLONES int64_t msnow_read_samples(const Samples* samples, const int64_t* numbers, int64_t count, int64_t* out,
                                                  int64_t* filled) {
    switch (samples->token_code) {
        case 1: return read<uint8_t>(*samples, numbers, count, out, filled);
        case 2: return read<int8_t>(*samples, numbers, count, out, filled);
        case 3: return read<int16_t>(*samples, numbers, count, out, filled);
        case 4: return read<int32_t>(*samples, numbers, count, out, filled);
        case 5: return read<int64_t>(*samples, numbers, count, out, filled);
        default: return read<uint16_t>(*samples, numbers, count, out, filled);
    }
}

// The number of each token's document within its sample, from 0, -1 where there is none: out[count][length]. A document
// begins with a piece and wherever `starts` (ascending, of `num_starts` documents) says. Returns how many fitted the dataset.
MSNOW_API int64_t msnow_sample_segments(const Samples* samples, const int64_t* numbers, int64_t count, const int64_t* starts,
                                        int64_t num_starts, int32_t* out) {
    for (int64_t i = 0; i < count; ++i) {
        int32_t *to = out + i * samples->length, *end = to + samples->length, segment = 0;
        const bool fits = for_pieces(*samples, numbers[i], [&](int64_t first, int64_t size) {
            const int64_t* next = std::upper_bound(starts, starts + num_starts, first);
            for (int64_t at = first; at < first + size; ++segment) {
                while (next < starts + num_starts && *next <= at) ++next;  // empty documents begin where others do
                const int64_t border = next < starts + num_starts ? std::min(*next, first + size) : first + size;
                to = std::fill_n(to, border - at, segment);
                at = border;
            }
        });
        if (!fits) return i;
        std::fill(to, end, -1);
    }
    return count;
}
