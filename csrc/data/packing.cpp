// Best-fit-decreasing packing of pieces of sequences into samples of one capacity (megatron_snow/datasets/packing.py).
#include <cstddef>
#include <type_traits>
#include <vector>

#include "samples.h"

namespace {

// Numbers below `size`, of which some are in: the least from a given one on, in log64(size) steps.
class SortedNumbers {
  public:
    explicit SortedNumbers(int64_t size) {
        do levels_.emplace_back((size = (size + 63) / 64), 0);
        while (size > 1);
    }

    void insert(int64_t number) {
        for (auto& level : levels_) {
            level[number >> 6] |= 1ULL << (number & 63);
            number >>= 6;
        }
    }

    void erase(int64_t number) {
        for (auto& level : levels_) {
            if (level[number >> 6] &= ~(1ULL << (number & 63))) return;
            number >>= 6;
        }
    }

    // The least that is not below `number`, or -1.
    int64_t at_least(int64_t number) const {
        for (std::size_t up = 0; up < levels_.size(); ++up) {
            const auto& level = levels_[up];
            const std::size_t word = static_cast<std::size_t>(number >> 6);
            if (word >= level.size()) return -1;
            if (const uint64_t above = level[word] >> (number & 63)) {
                number += __builtin_ctzll(above);
                for (std::size_t down = up; down-- > 0;) number = number << 6 | __builtin_ctzll(levels_[down][number]);
                return number;
            }
            number = (number >> 6) + 1;
        }
        return -1;
    }

  private:
    std::vector<std::vector<uint64_t>> levels_;
};

// Calls use(sequence, length) for each place of the order.
template <class Use>
MSNOW_INLINE void for_sequences(const SequenceOrder& order, const Length* lengths, Use&& use) {
    LengthsInOrder stream(order, lengths, 0);
    uint64_t sequences[kLanes];
    int64_t counts[kLanes];
    while (const int block = stream.read(sequences, counts))
        for (int i = 0; i < block; ++i) use(sequences[i], counts[i]);
}

template <class Number>
int64_t fit(const int64_t* counts, int64_t capacity, Number* next, Number* last, Number* below, uint32_t* pieces) {
    constexpr Number kNone = ~Number{0};
    std::vector<Number> top(capacity + 1, kNone);  // of the stack of samples with so much room
    SortedNumbers rooms(capacity + 1);
    int64_t samples = 0;
    Number piece = 0;
    for (int64_t length = capacity - 1; length > 0; --length) {
        for (int64_t left = counts[length]; left > 0; --left, ++piece) {
            int64_t room = rooms.at_least(length);
            Number sample;
            if (room < 0) {
                sample = static_cast<Number>(samples++);
                room = capacity;
                last[sample] = kNone;
                pieces[sample] = 0;
            } else {
                sample = top[room];
                if ((top[room] = below[sample]) == kNone) rooms.erase(room);
            }
            next[piece] = last[sample];
            last[sample] = piece;
            ++pieces[sample];
            if (const int64_t rest = room - length) {
                if (top[rest] == kNone) rooms.insert(rest);
                below[sample] = top[rest];
                top[rest] = sample;
            }
        }
    }
    return samples;
}

template <class Number>
void write_rows(const Number* sorted, const Number* next, const Number* last, int64_t samples, const Length* lengths, int64_t capacity,
                Number* rows) {
    for (int64_t sample = 0; sample < samples; ++sample) {
        for (Number piece = last[sample]; piece != ~Number{0}; piece = next[piece]) {
            const int64_t length = lengths[sorted[piece]];
            *rows++ = sorted[piece];
            *rows++ = static_cast<Number>(length - length % capacity);
        }
    }
}

}  // namespace

// counts[length] of the rests of that length below capacity (counts[0]: sequences without one); returns the full pieces.
MSNOW_API MSNOW_CLONES int64_t msnow_pack_count(const SequenceOrder* order, const Length* lengths, int64_t capacity, int64_t* counts) {
    int64_t full = 0;
    const auto count = [&](int64_t length, int64_t times) {
        full += times * (length / capacity);
        counts[length % capacity] += times;
    };
    if (order->subset) {
        for_sequences(*order, lengths, [&](uint64_t, int64_t length) { count(length, 1); });
    } else if (order->sequences) {  // of all sequences the order does not matter
        const int64_t passes = static_cast<int64_t>(order->places.count / order->sequences);
        for (uint64_t i = 0; i < order->sequences; ++i) count(lengths[i], passes);
    }
    return full;
}

// The full pieces as rows (sequence, offset), and the sequences that have a rest, by falling length of it and then by place:
// cursors[length] is where the first of a length goes.
MSNOW_API MSNOW_CLONES void msnow_pack_sort(const SequenceOrder* order, const Length* lengths, int64_t capacity, int64_t* cursors, void* full,
                                            void* sorted, int64_t wide) {
    const auto sort = [&](auto* rows, auto* rests) {
        using Number = std::remove_reference_t<decltype(*rests)>;
        for_sequences(*order, lengths, [&](uint64_t sequence, int64_t length) {
            int64_t offset = 0;
            for (; length - offset >= capacity; offset += capacity) {
                *rows++ = static_cast<Number>(sequence);
                *rows++ = static_cast<Number>(offset);
            }
            if (length > offset) rests[cursors[length - offset]++] = static_cast<Number>(sequence);
        });
    };
    if (wide) sort(static_cast<uint64_t*>(full), static_cast<uint64_t*>(sorted));
    else sort(static_cast<uint32_t*>(full), static_cast<uint32_t*>(sorted));
}

// Puts the sorted rests into samples: each where it leaves the least room, of several the one that was touched last, a new
// one where there is none. A sample's pieces: last[sample], then next[piece], to the largest number. Returns how many samples.
MSNOW_API int64_t msnow_pack_fit(const int64_t* counts, int64_t capacity, void* next, void* last, void* below, uint32_t* pieces, int64_t wide) {
    const auto as = [&](auto zero) {
        using Number = decltype(zero);
        return fit(counts, capacity, static_cast<Number*>(next), static_cast<Number*>(last), static_cast<Number*>(below), pieces);
    };
    return wide ? as(uint64_t{0}) : as(uint32_t{0});
}

// The rows (sequence, offset) of samples `first` to `first + count`.
MSNOW_API void msnow_pack_rows(const void* sorted, const void* next, const void* last, int64_t first, int64_t count, const Length* lengths,
                               int64_t capacity, void* rows, int64_t wide) {
    const auto as = [&](auto zero) {
        using Number = decltype(zero);
        write_rows(static_cast<const Number*>(sorted), static_cast<const Number*>(next), static_cast<const Number*>(last) + first, count,
                   lengths, capacity, static_cast<Number*>(rows));
    };
    wide ? as(uint64_t{0}) : as(uint32_t{0});
}
