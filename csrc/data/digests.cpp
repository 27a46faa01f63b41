// BLAKE2b-128 (RFC 7693) of many texts, eight at a time: a lane of a vector register holds the state of one text.
#include <algorithm>
#include <cstring>
#include <vector>

#include "abi.h"

namespace {

constexpr int kLanes = 8, kBlock = 128, kDigest = 16;
constexpr uint64_t kIv[8] = {0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
                             0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL};
constexpr uint8_t kSigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

typedef uint64_t Lanes __attribute__((vector_size(8 * kLanes)));

#define ROTATE(x, by) (((x) >> (by)) | ((x) << (64 - (by))))
#define MIX(a, b, c, d, x, y)                          \
    a += b + (x); d = ROTATE(d ^ a, 32); c += d; b = ROTATE(b ^ c, 24); \
    a += b + (y); d = ROTATE(d ^ a, 16); c += d; b = ROTATE(b ^ c, 63)

MSNOW_INLINE void compress(Lanes* state, const Lanes* m, const Lanes& counter, const Lanes& last) {
    Lanes v[16] = {};
    for (int i = 0; i < 8; ++i) {
        v[i] = state[i];
        v[i + 8] = Lanes{} + kIv[i];
    }
    v[12] ^= counter;
    v[14] ^= last;
    for (int round = 0; round < 12; ++round) {
        const uint8_t* s = kSigma[round % 10];
        MIX(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);
        MIX(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);
        MIX(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);
        MIX(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);
        MIX(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);
        MIX(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);
        MIX(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);
        MIX(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);
    }
    for (int i = 0; i < 8; ++i) state[i] ^= v[i] ^ v[i + 8];
}

struct Text {
    const uint8_t* at = nullptr;
    int64_t left = 0, number = -1;
    uint64_t counter = 0;
};

}  // namespace

// digests[16 * i ...] is the BLAKE2b of data[offsets[i]:offsets[i + 1]] with a digest of 16 bytes and no key.
MSNOW_API MSNOW_CLONES void msnow_digests(const uint8_t* data, const int64_t* offsets, int64_t count, uint8_t* digests) {
    Lanes state[8] = {}, message[16] = {}, counter = {}, last = {};
    Text texts[kLanes];
    int64_t next = 0, running = 0;
    while (next < count || running) {
        for (int lane = 0; lane < kLanes; ++lane) {
            Text& text = texts[lane];
            if (text.number < 0 && next < count) {
                text = {data + offsets[next], offsets[next + 1] - offsets[next], next, 0};
                for (int i = 0; i < 8; ++i) state[i][lane] = kIv[i];
                state[0][lane] ^= 0x01010000ULL ^ kDigest;
                ++next;
                ++running;
            }
            if (text.number < 0) continue;
            uint64_t block[kBlock / 8] = {};
            const int64_t bytes = std::min<int64_t>(text.left, kBlock);
            std::memcpy(block, text.at, bytes);
            for (int i = 0; i < kBlock / 8; ++i) message[i][lane] = block[i];
            text.at += bytes;
            text.left -= bytes;
            counter[lane] = text.counter += bytes;
            last[lane] = text.left ? 0 : ~0ULL;
        }
        compress(state, message, counter, last);
        for (int lane = 0; lane < kLanes; ++lane) {
            if (texts[lane].number < 0 || texts[lane].left) continue;
            for (int i = 0; i < kDigest / 8; ++i) {
                const uint64_t word = state[i][lane];
                std::memcpy(digests + kDigest * texts[lane].number + 8 * i, &word, 8);
            }
            texts[lane].number = -1;
            --running;
        }
    }
}
