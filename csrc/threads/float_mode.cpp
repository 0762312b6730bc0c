// SPDX-License-Identifier: Apache-2.0
#include "threads/float_mode.h"

namespace gatewise {
namespace {

#if defined(__x86_64__)

constexpr uint64_t kMode = 0x1f80 | 0x8000 | 0x0040;  // all exceptions masked; flush to zero; denormals are zeros

uint64_t current() { return __builtin_ia32_stmxcsr(); }
void set(uint64_t mode) { __builtin_ia32_ldmxcsr(static_cast<unsigned>(mode)); }

#elif defined(__aarch64__)

constexpr uint64_t kMode = uint64_t{1} << 24;  // FZ

uint64_t current() {
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void set(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }

#else

constexpr uint64_t kMode = 0;

uint64_t current() { return 0; }
void set(uint64_t) {}

#endif

}  // namespace

FloatMode::FloatMode() : before_(current()) { set(kMode); }
FloatMode::~FloatMode() { set(before_); }

}  // namespace gatewise
