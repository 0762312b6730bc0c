// SPDX-License-Identifier: Apache-2.0
#include "cpus.h"

#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <thread>
#if defined(__linux__)
#include <sched.h>
#endif

namespace gatewise {
namespace {

int cpus_of_affinity() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
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

int default_threads() {
  if (const char* text = getenv("GATEWISE_NUM_THREADS")) {
    char* end = nullptr;
    const long n = strtol(text, &end, 10);
    if (end != text && *end == '\0' && n >= 1 && n <= 4096) return static_cast<int>(n);
  }
  return cpus();
}

std::atomic<int> chosen{0};

}  // namespace

int cpus() {
  static const int allowed = [] {
    const int affinity = std::max(cpus_of_affinity(), 1), quota = cpus_of_quota();
    return quota > 0 ? std::min(affinity, quota) : affinity;
  }();
  return allowed;
}

int threads() {
  const int n = chosen.load(std::memory_order_relaxed);
  if (n > 0) return n;
  static const int automatic = default_threads();
  return automatic;
}

void set_threads(int n) { chosen.store(std::max(n, 0), std::memory_order_relaxed); }

}  // namespace gatewise
