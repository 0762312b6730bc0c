// SPDX-License-Identifier: Apache-2.0
#include "pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "float_mode.h"
#include "spin.h"

namespace gatewise {
namespace {

struct Job {
  int64_t items;
  void (*body)(void*, int64_t);
  void* context;
  int places;  // workers that may still enter; guarded by the pool's mutex
  Job* next = nullptr;
  std::atomic<int64_t> claimed{0};
  std::atomic<int> inside{0};

  void work() {
    for (int64_t item; (item = claimed.fetch_add(1, std::memory_order_relaxed)) < items;) body(context, item);
  }
  bool exhausted() const { return claimed.load(std::memory_order_relaxed) >= items; }
};

class Pool {
 public:
  void run(Job& job) {
    post(job);
    job.work();
    withdraw(job);
    const auto alone = [&] { return job.inside.load(std::memory_order_acquire) == 0; };
    if (spin(50, alone)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    left_.wait(lock, alone);
  }

 private:
  void post(Job& job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    hire(job.places);
    job.next = jobs_;
    jobs_ = &job;
    posted_.fetch_add(1, std::memory_order_release);
    for (int i = std::min(job.places, sleeping_); i > 0; --i) wake_.notify_one();
  }

  void withdraw(Job& job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Job** link = &jobs_;
    while (*link != &job) link = &(*link)->next;
    *link = job.next;
  }

  // Fewer workers than wanted are no error: the caller does what is left.
  void hire(int wanted) {
    try {
      for (; workers_ < wanted; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
    }
  }

  void serve() {
    const FloatMode mode;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      if (Job* job = enter()) {
        lock.unlock();
        job->work();
        lock.lock();
        if (job->inside.fetch_sub(1, std::memory_order_release) == 1) left_.notify_all();
        continue;
      }
      const uint64_t seen = posted_.load(std::memory_order_relaxed);
      const auto news = [&] { return posted_.load(std::memory_order_acquire) != seen; };
      lock.unlock();
      const bool awake = spin(20, news);
      lock.lock();
      if (awake) continue;
      ++sleeping_;
      wake_.wait(lock, news);
      --sleeping_;
    }
  }

  Job* enter() {
    for (Job* job = jobs_; job; job = job->next) {
      if (job->places == 0 || job->exhausted()) continue;
      --job->places;
      job->inside.fetch_add(1, std::memory_order_relaxed);
      return job;
    }
    return nullptr;
  }

  std::mutex mutex_;
  std::condition_variable wake_, left_;
  std::atomic<uint64_t> posted_{0};
  Job* jobs_ = nullptr;
  int workers_ = 0, sleeping_ = 0;
};

// Never destroyed: workers may outlive every static object. A forked child has none of the workers and takes a new pool.
std::atomic<Pool*> the_pool{nullptr};

Pool& pool() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr); });
  (void)registered;
  Pool* existing = the_pool.load(std::memory_order_acquire);
  if (existing) return *existing;
  Pool* fresh = new Pool;
  if (the_pool.compare_exchange_strong(existing, fresh)) return *fresh;
  delete fresh;
  return *existing;
}

thread_local Threads others = nullptr;

void work_through(void* job) {
  const FloatMode mode;
  static_cast<Job*>(job)->work();
}

}  // namespace

void use_threads(Threads threads) { others = threads; }

void run_items(int64_t items, int threads, void (*body)(void*, int64_t), void* context) {
  Job job{items, body, context, static_cast<int>(std::min<int64_t>(items, threads)) - 1};
  if (job.places < 1) return job.work();
  if (others) return others(job.places + 1, work_through, &job);
  pool().run(job);
}

}  // namespace gatewise
