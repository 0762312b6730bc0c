// SPDX-License-Identifier: Apache-2.0
#include "threads/cpus.h"

#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#endif

namespace gatewise {
namespace {

int cpus_of_affinity() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(getpid(), sizeof(set), &set) == 0) return CPU_COUNT(&set);  // of the main thread, whoever asks
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

// The CPUs that a quota pays for, rounded up; 0: no quota. Version 2 writes "quota period" into one file, version 1 uses two; "max" and -1
// mean none.
int cpus_of_quota() {
  double quota = 0, period = 0;
  if (FILE* file = fopen("/sys/fs/cgroup/cpu.max", "r")) {
    if (fscanf(file, "%lf %lf", &quota, &period) != 2) quota = 0;
    fclose(file);
  } else if (FILE* quota_file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r")) {
    if (fscanf(quota_file, "%lf", &quota) != 1) quota = 0;
    fclose(quota_file);
    if (FILE* period_file = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r")) {
      if (fscanf(period_file, "%lf", &period) != 1) period = 0;
      fclose(period_file);
    }
  }
  return quota > 0 && period > 0 ? static_cast<int>((quota + period - 1) / period) : 0;
}

// GATEWISE_NUM_THREADS, or 0. Python refuses what is no number in its range (src/gatewise/engine.py).
int threads_of_environment() {
  const char* const text = getenv("GATEWISE_NUM_THREADS");
  return text ? static_cast<int>(strtol(text, nullptr, 10)) : 0;
}

int64_t milliseconds() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::atomic<int> chosen{0}, allowed{0};
std::atomic<int64_t> asked_at{0};

}  // namespace

// Asking takes some 20 us, so the answer is kept for half a second.
int cpus() {
  constexpr int64_t kKeptMilliseconds = 500;
  const int64_t now = milliseconds();
  const int known = allowed.load(std::memory_order_relaxed);
  if (known > 0 && now - asked_at.load(std::memory_order_relaxed) < kKeptMilliseconds) return known;
  asked_at.store(now, std::memory_order_relaxed);
  const int affinity = std::max(cpus_of_affinity(), 1), quota = cpus_of_quota();
  const int found = quota > 0 ? std::min(affinity, quota) : affinity;
  allowed.store(found, std::memory_order_relaxed);
  return found;
}

int threads() {
  const int n = chosen.load(std::memory_order_relaxed);
  if (n > 0) return n;
  static const int of_environment = threads_of_environment();
  return of_environment > 0 ? of_environment : cpus();
}

void set_threads(int n) { chosen.store(std::max(n, 0), std::memory_order_relaxed); }

}  // namespace gatewise
