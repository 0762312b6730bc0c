// SPDX-License-Identifier: Apache-2.0
// The thread pool: items claimed from a counter by the caller and by whichever workers come in time.
//
// A caller never waits for a worker that has not started: it works through the items itself and waits, at the end, only for workers that
// are inside one. Any number of threads may call at once. Workers keep off while every CPU has a thread that does items, and a call of
// some size waits its turn while such calls, none of them larger, have all CPUs: three threads on two CPUs end later than one call after
// the other (large in both directions at once: 1.04 to 1.2 times as late; now 0.9 to 1.1). Workers wait awake for 0.4 ms after a call,
// most of it leaving the CPU to others, then sleep. After a fork the child starts with a new pool. A
// caller may have its items run on other threads instead.
#pragma once

#include <stdint.h>

#include <type_traits>

namespace gatewise {

// Calls work(context) on up to n threads at once, the caller's included, and returns when all calls have.
using Threads = void (*)(int n, void (*work)(void* context), void* context);

// Has the items of this thread's calls run on other threads than the pool's; null: on the pool's.
void use_threads(Threads threads);

// Calls body(context, item) for every item in [0, items), on at most `threads` threads, the caller's included. Returns when all are done.
// `size` says how much work that is, beside other calls; with 0 it never waits its turn.
void run_items(int64_t items, int threads, double size, void (*body)(void* context, int64_t item), void* context);

template <class Body>
void parallel_for(int64_t items, int threads, Body&& body, double size = 0) {
  using Function = std::remove_reference_t<Body>;
  run_items(items, threads, size, [](void* context, int64_t item) { (*static_cast<Function*>(context))(item); }, &body);
}

}  // namespace gatewise
