// SPDX-License-Identifier: Apache-2.0
// The thread pool: items claimed from a counter by the caller and by whichever workers come in time.
//
// A caller never waits for a worker that has not started: it works through the items itself and waits, at the end, only for workers that
// are inside one. Any number of threads may call at once. Workers spin for about 20 microseconds after a call, then sleep. After a fork the
// child starts with a new pool.
#pragma once

#include <stdint.h>

#include <type_traits>

namespace gatewise {

// Calls body(context, item) for every item in [0, items), on at most `threads` threads, the caller's included. Returns when all are done.
void run_items(int64_t items, int threads, void (*body)(void* context, int64_t item), void* context);

template <class Body>
void parallel_for(int64_t items, int threads, Body&& body) {
  using Function = std::remove_reference_t<Body>;
  run_items(items, threads, [](void* context, int64_t item) { (*static_cast<Function*>(context))(item); }, &body);
}

}  // namespace gatewise
