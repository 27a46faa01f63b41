// Which source gives each sample of a blend (megatron_snow/datasets/blends.py, which has the same loop in Python).
#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "abi.h"

namespace {

using Moment = std::pair<double, int64_t>;  // (slot, source); whole numbers, exact below 2^53
using Queue = std::priority_queue<Moment, std::vector<Moment>, std::greater<Moment>>;

}  // namespace

// Slots first to first + count, before which source k gave given[k] samples; given is kept up to date. order[i] is the
// source of slot first + i and numbers[i] how many it gave before; either may be null.
MSNOW_API void msnow_blend(const double* shares, int64_t sources, int64_t* given, int64_t first, int64_t count, uint16_t* order,
                           int64_t* numbers) {
    Queue closed, open;  // by the slot at which a source's window opens, and by the slot before which it must have given
    const auto deadline = [&](int64_t k) { return std::ceil(static_cast<double>(given[k] + 1) / shares[k]); };
    const auto opening = [&](int64_t k) { return std::floor(static_cast<double>(given[k]) / shares[k]); };
    for (int64_t k = 0; k < sources; ++k) closed.emplace(opening(k), k);
    for (int64_t i = 0; i < count; ++i) {
        const double slot = static_cast<double>(first + i);
        while (!closed.empty() && closed.top().first <= slot) {
            open.emplace(deadline(closed.top().second), closed.top().second);
            closed.pop();
        }
        Queue& from = open.empty() ? closed : open;  // never empty but for the rounding of shares
        const int64_t source = from.top().second;
        from.pop();
        if (order) order[i] = static_cast<uint16_t>(source);
        if (numbers) numbers[i] = given[source];
        ++given[source];
        closed.emplace(std::max(slot + 1, opening(source)), source);
    }
}
