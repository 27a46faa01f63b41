// Samples of concatenated sequences: where each begins, and the tokens of each (megatron_snow/datasets/sample_index.py).
#include "samples.h"

#include <algorithm>

namespace {

// How far the stream of sequences was gone through.
struct Walk {
    uint64_t place;    // of the sequence at hand
    int64_t position;  // tokens before it
    int64_t start;     // of the next sample, in tokens of the stream
};

template <class Number>
MSNOW_INLINE int64_t concatenate(const SequenceOrder& order, const Length* lengths, int64_t seq_length, int64_t end, Walk& walk, Number* rows,
                                 int64_t capacity) {
    LengthsInOrder stream(order, lengths, walk.place);
    uint64_t sequences[kLanes];
    int64_t counts[kLanes], written = 0;
    while (walk.start < end) {
        const int block = stream.read(sequences, counts);
        if (!block) break;
        for (int i = 0; i < block; ++i) {
            for (; walk.start < std::min(end, walk.position + counts[i]); walk.start += seq_length) {
                if (written == capacity) return written;
                rows[2 * written] = static_cast<Number>(walk.place);
                rows[2 * written + 1] = static_cast<Number>(walk.start - walk.position);
                ++written;
            }
            walk.position += counts[i];
            ++walk.place;
        }
    }
    return written;
}

}  // namespace

// Rows (place of a sequence, offset in it) at which samples begin, every seq_length tokens from walk->start until `end`;
// at most `capacity`, then called again. Returns how many.
MSNOW_API MSNOW_CLONES int64_t msnow_concatenate(const SequenceOrder* order, const Length* lengths, int64_t seq_length, int64_t end,
                                                 Walk* walk, void* rows, int64_t wide, int64_t capacity) {
    if (wide) return concatenate(*order, lengths, seq_length, end, *walk, static_cast<uint64_t*>(rows), capacity);
    return concatenate(*order, lengths, seq_length, end, *walk, static_cast<uint32_t*>(rows), capacity);
}
