// SPDX-License-Identifier: Apache-2.0
// The thread pool: items claimed from a counter by the caller and by whichever workers come in time.
//
// A caller never waits for a worker that has not started: it works through the items itself and waits, at the end, only for workers that
// are inside one. Any number of threads may call at once. Workers spin for about 20 microseconds after a call, then sleep. After a fork the
// child starts with a new pool. A caller may have its items run on other threads instead.
#pragma once

#include <stdint.h>

#include <type_traits>

namespace gatewise {

// Calls work(context) on up to n threads at once, the caller's included, and returns when all calls have.
using Threads = void (*)(int n, void (*work)(void* context), void* context);

// Has the items of this thread's calls run on other threads than the pool's; null: on the pool's.
void use_threads(Threads threads);

// Calls body(context, item) for every item in [0, items), on at most `threads` threads, the caller's included. Returns when all are done.
void run_items(int64_t items, int threads, void (*body)(void* context, int64_t item), void* context);

template <class Body>
void parallel_for(int64_t items, int threads, Body&& body) {
  using Function = std::remove_reference_t<Body>;
  run_items(items, threads, [](void* context, int64_t item) { (*static_cast<Function*>(context))(item); }, &body);
}

}  // namespace gatewise
