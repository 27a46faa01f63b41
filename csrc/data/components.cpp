// Connected components: union-find over flat arrays, and the pairs of LSH buckets verified by true Jaccard.
#include <algorithm>
#include <memory>

#include "abi.h"

namespace {

constexpr int kRefusedBits = 16;  // 512 KB

// The root of a component is its smallest member, so the result does not depend on the order of joins.
template <class Number>
Number find(Number* parent, Number item) {
    while (parent[item] != item) item = parent[item] = parent[parent[item]];  // halve the path
    return item;
}

template <class Number>
void join(Number* parent, Number a, Number b) {
    a = find(parent, a);
    b = find(parent, b);
    parent[std::max(a, b)] = std::min(a, b);
}

// Whether two sorted sets reach the threshold, left as soon as they cannot; the last word is the quotient's, as in Python.
bool similar(const uint64_t* a, int64_t a_count, const uint64_t* b, int64_t b_count, double threshold) {
    const int64_t total = a_count + b_count;
    const int64_t least = static_cast<int64_t>(threshold / (1 + threshold) * static_cast<double>(total)) - 1;
    int64_t shared = 0;
    for (int64_t i = 0, j = 0; i < a_count && j < b_count;) {
        const int64_t steps = std::min<int64_t>(64, std::min(a_count - i, b_count - j));
        for (int64_t step = 0; step < steps; ++step) {
            const uint64_t x = a[i], y = b[j];
            shared += x == y;
            i += x <= y;
            j += y <= x;
        }
        if (shared + std::min(a_count - i, b_count - j) < least) return false;
    }
    return shared && static_cast<double>(shared) / static_cast<double>(total - shared) >= threshold;
}

}  // namespace

// Joins a[i] with b[i]; parent[i] is i at first.
MSNOW_API void msnow_join(uint64_t* parent, const uint64_t* a, const uint64_t* b, int64_t count) {
    for (int64_t i = 0; i < count; ++i) join(parent, a[i], b[i]);
}

// Makes parent[i] the root of i.
MSNOW_API void msnow_roots(uint64_t* parent, int64_t count) {
    for (int64_t i = 0; i < count; ++i) parent[i] = parent[parent[i]];  // roots come before their members
}

// Joins the pairs of buckets that reach the threshold. Bucket k is members[starts[k]:starts[k + 1]], ascending; documents
// are numbered by the size of their sets. Only pairs of blocks (first, second) are looked at: their sets are in memory.
// Each document is compared with the `window` before it in a bucket, if they are not joined yet. Returns the comparisons.
MSNOW_API int64_t msnow_verify(const uint32_t* members, const int64_t* starts, int64_t buckets, const uint32_t* block, int64_t first,
                               int64_t second, const uint64_t* hashes, const int64_t* places, const int64_t* sizes, double threshold,
                               int64_t window, uint32_t* parent) {
    const std::unique_ptr<uint64_t[]> refused(new uint64_t[1 << kRefusedBits]());  // what is forgotten is compared again
    int64_t compared = 0;
    for (int64_t bucket = 0; bucket < buckets; ++bucket) {
        for (int64_t j = starts[bucket] + 1; j < starts[bucket + 1]; ++j) {
            const uint32_t b = members[j];
            if (block[b] != second) continue;
            for (int64_t i = j - 1; i >= std::max(starts[bucket], j - window); --i) {
                const uint32_t a = members[i];
                if (static_cast<double>(sizes[a]) < threshold * static_cast<double>(sizes[b]) || block[a] < first) break;
                if (block[a] != first || find(parent, a) == find(parent, b)) continue;
                const uint64_t pair = static_cast<uint64_t>(a) << 32 | b;
                uint64_t& known = refused[pair * 0x9e3779b97f4a7c15ULL >> (64 - kRefusedBits)];
                if (known == pair) continue;
                ++compared;
                if (similar(hashes + places[a], sizes[a], hashes + places[b], sizes[b], threshold)) join(parent, a, b);
                else known = pair;
            }
        }
    }
    return compared;
}
