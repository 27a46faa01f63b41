// Which sequence stands where in a dataset's order of training: megatron_snow/datasets/order.py, SequenceOrder.
#pragma once
#include "permutation.h"

// The arrays of an .idx stand where its header of 34 bytes ends.
typedef int32_t Length __attribute__((aligned(1)));
typedef int64_t Pointer __attribute__((aligned(1)));

struct SequenceOrder {
    Permutation places;  // of all passes
    Permutation chosen;  // of the dataset's sequences, where only the first `sequences` of it are read
    uint64_t sequences;  // that are read
    int64_t subset;      // whether `chosen` holds
};

// The sequences at `lanes` places from `first` on, at most kLanes.
MSNOW_INLINE void sequences_at(const SequenceOrder& order, uint64_t first, int lanes, uint64_t* sequences) {
    for (int i = 0; i < lanes; ++i) sequences[i] = first + static_cast<uint64_t>(i);
    permute<false>(order.places, sequences, lanes);
    if (order.places.count != order.sequences)
        for (int i = 0; i < lanes; ++i) sequences[i] %= order.sequences;
    if (order.subset) permute<false>(order.chosen, sequences, lanes);
}

// The lengths of a dataset in the order of training, a block of places after another: those of the next block are asked for
// while the caller works on this one, so that the memory's latency is hidden.
class LengthsInOrder {
  public:
    LengthsInOrder(const SequenceOrder& order, const Length* lengths, uint64_t first) : order_(order), all_(lengths), next_(first) {
        count_ = ask();
    }

    // Sequences and lengths of the next places; how many.
    MSNOW_INLINE int read(uint64_t* sequences, int64_t* lengths) {
        const int count = count_;
        for (int i = 0; i < count; ++i) {
            sequences[i] = asked_[i];
            lengths[i] = all_[asked_[i]];
        }
        count_ = ask();
        return count;
    }

  private:
    MSNOW_INLINE int ask() {
        const uint64_t left = order_.places.count - next_;
        const int count = static_cast<int>(left < kLanes ? left : kLanes);
        sequences_at(order_, next_, count, asked_);
        for (int i = 0; i < count; ++i) __builtin_prefetch(all_ + asked_[i]);
        next_ += static_cast<uint64_t>(count);
        return count;
    }

    const SequenceOrder& order_;
    const Length* all_;
    uint64_t next_;
    int count_;
    uint64_t asked_[kLanes];
};
