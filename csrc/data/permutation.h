// A keyed bijection of [0, count): a Feistel network over pairs (left, right) of [0, left_size) x [0, right_size), both below
// 2^32; what falls outside of [0, count) is sent through again (cycle walking; Black and Rogaway 2002). The rounds' hash is
// Wellons' lowbias32: 32 bits, so that eight or sixteen lanes go at once. The same as megatron_snow/datasets/order.py.
#pragma once
#include "abi.h"

constexpr int kRounds = 8;
constexpr int kLanes = 128;  // positions at once: 1 KB of halves

struct Permutation {
    uint64_t count, left_size, right_size;
    uint32_t keys[kRounds];
};

// In [0, size).
MSNOW_INLINE uint32_t permutation_hash(uint32_t half, uint32_t key, uint64_t size) {
    uint32_t x = half + key;
    x = (x ^ (x >> 16)) * 0x7feb352dU;
    x = (x ^ (x >> 15)) * 0x846ca68bU;
    return static_cast<uint32_t>((x ^ (x >> 16)) * size >> 32);
}

// (a + b) mod size of a, b < size; their sum may pass 2^32.
MSNOW_INLINE uint32_t add_modulo(uint32_t a, uint32_t b, uint32_t size) {
    const uint32_t gap = size - b;
    return a >= gap ? a - gap : a + b;
}

MSNOW_INLINE uint32_t subtract_modulo(uint32_t a, uint32_t b, uint32_t size) { return a >= b ? a - b : a + (size - b); }

MSNOW_INLINE void feistel(const Permutation& order, uint32_t* left, uint32_t* right, int lanes) {
    const uint32_t left_size = static_cast<uint32_t>(order.left_size), right_size = static_cast<uint32_t>(order.right_size);
    for (int round = 0; round < kRounds; round += 2) {
        const uint32_t first = order.keys[round], second = order.keys[round + 1];
        for (int i = 0; i < lanes; ++i) left[i] = add_modulo(left[i], permutation_hash(right[i], first, left_size), left_size);
        for (int i = 0; i < lanes; ++i) right[i] = add_modulo(right[i], permutation_hash(left[i], second, right_size), right_size);
    }
}

MSNOW_INLINE void feistel_back(const Permutation& order, uint32_t* left, uint32_t* right, int lanes) {
    const uint32_t left_size = static_cast<uint32_t>(order.left_size), right_size = static_cast<uint32_t>(order.right_size);
    for (int round = kRounds - 2; round >= 0; round -= 2) {
        const uint32_t first = order.keys[round], second = order.keys[round + 1];
        for (int i = 0; i < lanes; ++i) right[i] = subtract_modulo(right[i], permutation_hash(left[i], second, right_size), right_size);
        for (int i = 0; i < lanes; ++i) left[i] = subtract_modulo(left[i], permutation_hash(right[i], first, left_size), left_size);
    }
}

// x[i] = what stands at position x[i], or with `back` where x[i] stands; at most kLanes of them, each below count.
template <bool back>
MSNOW_INLINE void permute(const Permutation& order, uint64_t* x, int lanes) {
    uint32_t left[kLanes], right[kLanes];
    for (int i = 0; i < lanes; ++i) {
        left[i] = static_cast<uint32_t>(x[i] / order.right_size);
        right[i] = static_cast<uint32_t>(x[i] - left[i] * order.right_size);
    }
    if (back) feistel_back(order, left, right, lanes);
    else feistel(order, left, right, lanes);
    for (int i = 0; i < lanes; ++i) {
        x[i] = left[i] * order.right_size + right[i];
        while (x[i] >= order.count) {
            uint32_t one = static_cast<uint32_t>(x[i] / order.right_size), other = static_cast<uint32_t>(x[i] - one * order.right_size);
            if (back) feistel_back(order, &one, &other, 1);
            else feistel(order, &one, &other, 1);
            x[i] = one * order.right_size + other;
        }
    }
}
