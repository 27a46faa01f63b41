// SentencePiece's BPE encoder (bpe_model.cc): merge the adjacent pair whose union has the best score, leftmost first.
// Beside it: pairs looked up by number instead of by text, and a cache of chunks.
//
// Why chunks may be encoded apart: a merge joins two characters only if some piece holds them side by side. Where no piece
// does, no merge crosses, and what happens left of the place has no part in what happens right of it: scores and order are
// those of each side alone. The place is told by the bytes before and behind it, so some true places are missed.
#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "abi.h"
#include "utf8.h"

namespace {

enum : uint8_t { kNormal = 1, kUser = 4, kByte = 6 };  // sentencepiece_model.proto, SentencePiece.Type
constexpr size_t kFew = 64;  // symbols
constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr int kKeyBytes = 32, kKeyWords = 4, kCachedIds = 7, kCacheBits = 17;

struct alignas(64) Cached {  // one cache line
    uint64_t key[kKeyWords];
    uint8_t size, count;  // of bytes (0: empty), of ids
    int32_t ids[kCachedIds];
};
static_assert(sizeof(Cached) == 64);

struct Pair { uint64_t key; int32_t merged; float score; };

struct Candidate {
    float score;
    int32_t left, right, merged, size;  // size: bytes of both, by which a stale one is known
    bool operator<(const Candidate& other) const { return score != other.score ? score < other.score : left > other.left; }
};

struct Symbol { int32_t number, previous, next; const uint8_t* start; int32_t size; };

inline uint64_t mix(uint64_t x) { x *= 0x9e3779b97f4a7c15ull; return x ^ x >> 32; }

struct Bpe {
    std::vector<Pair> pairs;
    uint64_t pair_mask = 0;
    int32_t ascii[128];
    std::unordered_map<uint32_t, int32_t> characters;
    std::vector<std::pair<std::string_view, int32_t>> user_pieces[256];  // by first byte, longest first
    int32_t bytes[256] = {};
    bool joined[256][256] = {};  // no cut between these
    int32_t pieces = 0;          // from here on symbols are characters without a piece
    std::vector<uint8_t> text;
    std::vector<Cached> cache;
    std::vector<Symbol> symbols;
    float scores[kFew];
    int32_t merged[kFew];
    std::vector<Candidate> agenda;

    Bpe(const uint8_t* data, const int64_t* offsets, const float* scores, const uint8_t* kinds, int64_t count)
        : pieces(static_cast<int32_t>(count)), text(data, data + offsets[count]), cache(1u << kCacheBits) {
        std::unordered_map<std::string_view, int32_t> known;
        std::fill(ascii, ascii + 128, -1);
        for (int byte = 0x80; byte < 0xc0; ++byte)
            for (auto& row : joined) row[byte] = true;
        int seen_bytes = 0;
        for (int32_t id = 0; id < count; ++id) {
            const std::string_view piece = at(offsets, id);
            if (kinds[id] == kByte) bytes[seen_bytes++ & 255] = id;
            if (kinds[id] != kNormal && kinds[id] != kUser) continue;
            if (kinds[id] == kNormal) known.emplace(piece, id);
            else user_pieces[static_cast<uint8_t>(piece[0])].emplace_back(piece, id);
            for (size_t i = 1; i < piece.size(); ++i) joined[static_cast<uint8_t>(piece[i - 1])][static_cast<uint8_t>(piece[i])] = true;
        }
        for (auto& list : user_pieces)
            std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
        number_characters(offsets, kinds, known);
        list_pairs(offsets, scores, kinds, known);
    }

    std::string_view at(const int64_t* offsets, int32_t id) const {
        return {reinterpret_cast<const char*>(text.data()) + offsets[id], static_cast<size_t>(offsets[id + 1] - offsets[id])};
    }

    // Each character of a piece is a symbol, one that is no piece itself too: it may be merged all the same.
    void number_characters(const int64_t* offsets, const uint8_t* kinds, std::unordered_map<std::string_view, int32_t>& known) {
        int32_t next = pieces;
        for (int32_t id = 0; id < pieces; ++id) {
            if (kinds[id] != kNormal) continue;
            const std::string_view piece = at(offsets, id);
            for (size_t i = 0; i < piece.size();) {
                uint32_t code;
                const int length = decode_at(reinterpret_cast<const uint8_t*>(piece.data()) + i, &code);
                const auto [found, added] = known.emplace(piece.substr(i, length), next);
                next += added;
                if (code < 128) ascii[code] = found->second;
                else characters[code] = found->second;
                i += length;
            }
        }
    }

    // Every way to make a piece of two symbols.
    void list_pairs(const int64_t* offsets, const float* scores, const uint8_t* kinds, const std::unordered_map<std::string_view, int32_t>& known) {
        std::vector<Pair> found;
        for (int32_t id = 0; id < pieces; ++id) {
            if (kinds[id] != kNormal) continue;
            const std::string_view piece = at(offsets, id);
            for (size_t i = 1; i < piece.size(); ++i) {
                if (is_continuation(static_cast<uint8_t>(piece[i]))) continue;
                const auto left = known.find(piece.substr(0, i)), right = known.find(piece.substr(i));
                if (left != known.end() && right != known.end()) found.push_back({key_of(left->second, right->second), id, scores[id]});
            }
        }
        size_t size = 16;
        while (size < 2 * found.size()) size *= 2;
        pairs.assign(size, {0, -1, 0});
        pair_mask = size - 1;
        for (const Pair& pair : found) {
            uint64_t slot = mix(pair.key) & pair_mask;
            while (pairs[slot].merged >= 0) slot = (slot + 1) & pair_mask;
            pairs[slot] = pair;
        }
    }

    static uint64_t key_of(int32_t left, int32_t right) { return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right); }

    const Pair* pair_of(int32_t left, int32_t right) const {
        const uint64_t key = key_of(left, right);
        for (uint64_t slot = mix(key) & pair_mask; pairs[slot].merged >= 0; slot = (slot + 1) & pair_mask)
            if (pairs[slot].key == key) return &pairs[slot];
        return nullptr;
    }

    // Symbol numbers: >= 0 may be merged, -1 is a character of no piece, below that a user-defined piece -2 - id.
    Symbol symbol_at(const uint8_t* p, const uint8_t* end) const {
        for (const auto& [piece, id] : user_pieces[*p])
            if (static_cast<int64_t>(piece.size()) <= end - p && !memcmp(piece.data(), p, piece.size()))
                return {-2 - id, 0, 0, p, static_cast<int32_t>(piece.size())};
        if (*p < 128) return {ascii[*p], 0, 0, p, 1};
        uint32_t code;
        const int length = decode_at(p, &code);
        const auto found = characters.find(code);
        return {found == characters.end() ? -1 : found->second, 0, 0, p, length};
    }

    void propose(int32_t left, int32_t right) {
        if (left < 0 || right < 0) return;
        const Symbol &a = symbols[left], &b = symbols[right];
        if (a.number < 0 || b.number < 0) return;
        if (const Pair* pair = pair_of(a.number, b.number)) {
            agenda.push_back({pair->score, left, right, pair->merged, a.size + b.size});
            std::push_heap(agenda.begin(), agenda.end());
        }
    }

    void merge_all() {
        agenda.clear();
        const int32_t count = static_cast<int32_t>(symbols.size());
        for (int32_t i = 0; i < count; ++i) {
            symbols[i].previous = i - 1;
            symbols[i].next = i + 1 < count ? i + 1 : -1;
            if (i) propose(i - 1, i);
        }
        while (!agenda.empty()) {
            const Candidate best = agenda.front();
            std::pop_heap(agenda.begin(), agenda.end());
            agenda.pop_back();
            Symbol &left = symbols[best.left], &right = symbols[best.right];
            if (!left.size || !right.size || left.size + right.size != best.size) continue;
            left.number = best.merged;
            left.size = best.size;
            left.next = right.next;
            if (right.next >= 0) symbols[right.next].previous = best.left;
            right.size = 0;
            propose(left.previous, best.left);
            propose(best.left, left.next);
        }
        symbols.erase(std::remove_if(symbols.begin(), symbols.end(), [](const Symbol& symbol) { return !symbol.size; }), symbols.end());
    }

    // The same for a few symbols: the best pair is looked for anew each time, which a few are faster by than a heap.
    void merge_few() {
        const auto propose_at = [this](size_t i) {
            const Symbol &a = symbols[i], &b = symbols[i + 1];
            const Pair* pair = a.number < 0 || b.number < 0 ? nullptr : pair_of(a.number, b.number);
            scores[i] = pair ? pair->score : kNone;
            merged[i] = pair ? pair->merged : -1;
        };
        size_t last = symbols.size() - 1;
        for (size_t i = 0; i < last; ++i) propose_at(i);
        while (last) {
            const size_t best = std::max_element(scores, scores + last) - scores;
            if (scores[best] == kNone) break;
            symbols[best].number = merged[best];
            symbols[best].size += symbols[best + 1].size;
            symbols.erase(symbols.begin() + best + 1);
            std::copy(scores + best + 1, scores + last, scores + best);
            std::copy(merged + best + 1, merged + last, merged + best);
            --last;
            if (best) propose_at(best - 1);
            if (best < last) propose_at(best);
        }
    }

    int32_t* encode_chunk(const uint8_t* p, const uint8_t* end, int32_t* out) {
        symbols.clear();
        while (p < end) {
            symbols.push_back(symbol_at(p, end));
            p += symbols.back().size;
        }
        if (symbols.size() <= kFew) merge_few();
        else merge_all();
        for (const Symbol& symbol : symbols) {
            if (symbol.number <= -2) *out++ = -2 - symbol.number;
            else if (symbol.number >= 0 && symbol.number < pieces) *out++ = symbol.number;
            else for (int32_t k = 0; k < symbol.size; ++k) *out++ = bytes[symbol.start[k]];
        }
        return out;
    }

    // `readable`: bytes from p that may be read, of which `size` are the chunk.
    int32_t* encode_cached(const uint8_t* p, int64_t size, int64_t readable, int32_t* out) {
        if (size > kKeyBytes) return encode_chunk(p, p + size, out);
        uint64_t key[kKeyWords] = {};
        if (readable >= kKeyBytes) {
            memcpy(key, p, kKeyBytes);
            for (int word = 0; word < kKeyWords; ++word) {
                const int64_t left = size - 8 * word;
                key[word] &= left >= 8 ? ~0ull : left <= 0 ? 0 : (1ull << 8 * left) - 1;
            }
        } else memcpy(key, p, size);
        const uint64_t hash = mix(mix(mix(mix(key[0] + size) ^ key[1]) ^ key[2]) ^ key[3]);
        Cached& cached = cache[hash >> 7 & ((1u << kCacheBits) - 1)];
        if (cached.size == size && !memcmp(cached.key, key, kKeyBytes)) {
            memcpy(out, cached.ids, sizeof cached.ids);
            return out + cached.count;
        }
        int32_t* end = encode_chunk(p, p + size, out);
        if (end - out <= kCachedIds) {
            memcpy(cached.key, key, kKeyBytes);
            memcpy(cached.ids, out, (end - out) * sizeof *out);
            cached.size = static_cast<uint8_t>(size);
            cached.count = static_cast<uint8_t>(end - out);
        }
        return end;
    }

    int32_t* encode(const uint8_t* p, const uint8_t* end, const uint8_t* readable_end, int32_t* out) {
        while (p < end) {
            const uint8_t* stop = p + 1;
            while (stop < end && joined[stop[-1]][*stop]) ++stop;
            out = encode_cached(p, stop - p, readable_end - p, out);
            p = stop;
        }
        return out;
    }
};

}  // namespace

// pieces: UTF-8 with spaces as spaces; scores and kinds of each. Not for two threads at once.
MSNOW_API void* msnow_bpe_new(const uint8_t* data, const int64_t* offsets, const float* scores, const uint8_t* kinds, int64_t count) {
    return new Bpe(data, offsets, scores, kinds, count);
}

MSNOW_API void msnow_bpe_free(void* bpe) { delete static_cast<Bpe*>(bpe); }

// Texts of valid UTF-8 -> ids, and for each text where its ids end. out: room for one id a byte, and seven.
MSNOW_API void msnow_bpe_encode(void* bpe, const uint8_t* data, const int64_t* offsets, int64_t count, int32_t* out, int64_t* ends) {
    int32_t* p = out;
    for (int64_t i = 0; i < count; ++i) {
        p = static_cast<Bpe*>(bpe)->encode(data + offsets[i], data + offsets[i + 1], data + offsets[count], p);
        ends[i] = p - out;
    }
}
