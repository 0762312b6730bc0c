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

#include <atomic>
#include <type_traits>

namespace gatewise {

// Calls work(context) on up to n threads at once, the caller's included, and returns when all calls have.
using Threads = void (*)(int n, void (*work)(void* context), void* context);

// Has the items of this thread's calls run on other threads than the pool's; null: on the pool's.
void use_threads(Threads threads);

// Ends the workers that are more than threads() - 1, once they have no work.
void release_workers();

struct Job;

// What one of the threads that work on a call takes its items from.
class Items {
 public:
  Items(Job& job, const std::atomic<int>* busy) : job_(job), busy_(busy) {}

  // Gives the next item, in rising order; false if none is left, or this thread is to leave its CPU to others.
  bool next(int64_t* item);

 private:
  Job& job_;
  const std::atomic<int>* busy_;  // threads, or null: this one stays to the end
};

// Calls work(context, items) on at most `threads` threads, the caller's included, for all items in [0, count). Returns when all are done.
// `size` says how much work that is, beside other calls; with 0 it never waits its turn.
void run_threads(int64_t count, int threads, double size, void (*work)(void* context, Items& items), void* context);

template <class Work>
void parallel(int64_t count, int threads, double size, Work&& work) {
  using Function = std::remove_reference_t<Work>;
  run_threads(count, threads, size, [](void* context, Items& items) { (*static_cast<Function*>(context))(items); }, &work);
}

// Calls body(item) for every item in [0, count).
template <class Body>
void parallel_for(int64_t count, int threads, Body&& body) {
  parallel(count, threads, 0, [&](Items& items) {
    for (int64_t item; items.next(&item);) body(item);
  });
}

}  // namespace gatewise
