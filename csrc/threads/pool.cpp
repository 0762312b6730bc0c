// SPDX-License-Identifier: Apache-2.0
#include "threads/pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "threads/cpus.h"
#include "threads/float_mode.h"
#include "threads/spin.h"

namespace gatewise {

struct Job {
  int64_t items;
  void (*work)(void*, Items&);
  void* context;
  double size;  // of the work, beside other calls; 0: small
  int limit;    // a thread begins while fewer are busy
  int places;   // workers that may still enter; guarded by the pool's mutex
  Job* next = nullptr;
  std::atomic<int64_t> claimed{0};
  std::atomic<int> inside{0};

  // Works on items until none is left, or, given how many threads are busy, there are too many.
  void do_items(const std::atomic<int>* busy = nullptr) {
    Items left(*this, busy);
    work(context, left);
  }
  bool exhausted() const { return claimed.load(std::memory_order_relaxed) >= items; }
};

bool Items::next(int64_t* item) {
  if (busy_ && busy_->load(std::memory_order_relaxed) > job_.limit) return false;
  *item = job_.claimed.fetch_add(1, std::memory_order_relaxed);
  return *item < job_.items;
}

namespace {

class Pool {
 public:
  // Lets workers see that fewer are wanted.
  void release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    posted_.fetch_add(1, std::memory_order_release);
    wake_.notify_all();
  }

  void run(Job& job) {
    post(job);
    job.do_items();
    withdraw(job);
    const auto alone = [&] { return job.inside.load(std::memory_order_acquire) == 0; };
    if (spin(50, alone)) return;
    std::unique_lock<std::mutex> lock(mutex_);
    left_.wait(lock, alone);
  }

 private:
  void post(Job& job) {
    std::unique_lock<std::mutex> lock(mutex_);
    wait_turn(job, lock);
    hire(job.places);
    ++busy_;
    job.next = jobs_;
    jobs_ = &job;
    call_workers(std::min(job.places, job.limit - busy_));
  }

  // Callers of some size begin one after another, in the order in which they came.
  void wait_turn(const Job& job, std::unique_lock<std::mutex>& lock) {
    const auto free = [&] { return busy_ < job.limit || !yields(job); };
    if (job.size == 0 || (turn_ == turns_ && free())) return;
    const uint64_t mine = turns_++;
    begin_.wait(lock, [&] { return turn_ == mine && free(); });
    ++turn_;
    begin_.notify_all();
  }

  // Whether a call leaves the CPUs to others: calls of some size, too, but none larger.
  bool yields(const Job& job) const {
    double largest = 0;
    for (const Job* other = jobs_; other; other = other->next) largest = std::max(largest, other->size);
    return largest > 0 && largest <= job.size;
  }

  void call_workers(int wanted) {
    posted_.fetch_add(1, std::memory_order_release);
    for (int i = std::min(wanted, sleeping_); i > 0; --i) wake_.notify_one();
  }

  // One thread less is busy: the next caller's turn has come, or there is work for a worker.
  void rest() {
    --busy_;
    begin_.notify_all();
    for (const Job* job = jobs_; job; job = job->next) {
      if (job->places > 0 && !job->exhausted()) return call_workers(1);
    }
  }

  void withdraw(Job& job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Job** link = &jobs_;
    while (*link != &job) link = &(*link)->next;
    *link = job.next;
    rest();
  }

  // Fewer workers than wanted are no error: the caller does what is left.
  void hire(int wanted) {
    try {
      for (; workers_ < wanted; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
  }

  void serve() {
    const FloatMode mode;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      if (Job* job = enter()) {
        lock.unlock();
        job->do_items(&busy_);
        lock.lock();
        ++job->places;
        rest();
        if (job->inside.fetch_sub(1, std::memory_order_release) == 1) left_.notify_all();
        continue;
      }
      if (workers_ >= threads()) {
        --workers_;
        return;
      }
      const uint64_t seen = posted_.load(std::memory_order_relaxed);
      const auto news = [&] { return posted_.load(std::memory_order_acquire) != seen; };
      lock.unlock();
      // Waking takes longer than what lies between two calls of a small layer: more than 20 us, in a framework some 100. (Quickstart,
      // training: 0.45 ms with 20 us of spinning, 0.26 to 0.36 with 100. In JAX: 0.77 with 100, 0.53 with 300 of yielding after them.)
      const bool awake = spin(100, news) || spin_yielding(300, news);
      lock.lock();
      if (awake) continue;
      ++sleeping_;
      wake_.wait(lock, news);
      --sleeping_;
    }
  }

  Job* enter() {
    for (Job* job = jobs_; job; job = job->next) {
      if (job->places == 0 || job->exhausted() || busy_ >= job->limit) continue;
      --job->places;
      ++busy_;
      job->inside.fetch_add(1, std::memory_order_relaxed);
      return job;
    }
    return nullptr;
  }

  std::mutex mutex_;
  std::condition_variable wake_, left_, begin_;
  std::atomic<uint64_t> posted_{0};
  Job* jobs_ = nullptr;
  uint64_t turns_ = 0, turn_ = 0;  // given out, and whose it is; equal if nobody waits
  int workers_ = 0, sleeping_ = 0;
  std::atomic<int> busy_{0};  // callers and workers that do items; changed under the mutex
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
  static_cast<Job*>(job)->do_items();
}

}  // namespace

void release_workers() {
  if (Pool* const existing = the_pool.load(std::memory_order_acquire)) existing->release();
}

void use_threads(Threads threads) { others = threads; }

void run_threads(int64_t count, int threads, double size, void (*work)(void*, Items&), void* context) {
  Job job{count, work, context, size, std::max(threads, cpus()), static_cast<int>(std::min<int64_t>(count, threads)) - 1};
  if (job.places < 1) return job.do_items();
  if (others) return others(job.places + 1, work_through, &job);
  pool().run(job);
}

}  // namespace gatewise
