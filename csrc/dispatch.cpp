// SPDX-License-Identifier: Apache-2.0
#include "dispatch.h"

#include <stdlib.h>
#include <string.h>

#include <atomic>

namespace gatewise {

extern const Kernels kGenericKernels;
#if defined(GATEWISE_HAVE_X86)
extern const Kernels kAvx2Kernels, kAvx512Kernels;
#endif

namespace {

struct Row {
  const Kernels* kernels;
  bool (*supported)();
};

#if defined(GATEWISE_HAVE_X86)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#if defined(GATEWISE_EMULATE)
bool has_avx512() { return has_avx2(); }
#else
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
}
#endif
#endif

// Best first.
const Row kRows[] = {
#if defined(GATEWISE_HAVE_X86)
    {&kAvx512Kernels, has_avx512},
    {&kAvx2Kernels, has_avx2},
#endif
    {&kGenericKernels, [] { return true; }},
};

// The kernels of that name, or the best for null; null if there are none.
const Kernels* find(const char* name) {
  for (const Row& row : kRows) {
    if ((!name || strcmp(name, row.kernels->name) == 0) && row.supported()) return row.kernels;
  }
  return nullptr;
}

const Kernels* first_choice() {
  const char* name = getenv("GATEWISE_ISA");
  const Kernels* named = name ? find(name) : nullptr;
  return named ? named : find(nullptr);
}

std::atomic<const Kernels*>& current() {
  static std::atomic<const Kernels*> choice{first_choice()};
  return choice;
}

}  // namespace

const Kernels& kernels() { return *current().load(std::memory_order_relaxed); }

bool set_kernels(const char* name) {
  const Kernels* named = name ? find(name) : nullptr;
  if (named) current().store(named, std::memory_order_relaxed);
  return named != nullptr;
}

}  // namespace gatewise
