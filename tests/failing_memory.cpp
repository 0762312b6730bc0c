// SPDX-License-Identifier: Apache-2.0
// Preloaded into a process, fails one allocation that gatewise's libraries ask for: fail_allocation(n) the n-th from then on, of any
// thread; allocations_left() says how many were still to come, so 0 says that it has failed.
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <atomic>
#include <new>

namespace {

std::atomic<long> left{0};

// Where the code of gatewise's libraries lies.
struct Range {
  uintptr_t begin, end;
} ranges[16];
std::atomic<int> count{0};

int note(dl_phdr_info* info, size_t, void*) {
  if (!strstr(info->dlpi_name, "libgatewise") && !strstr(info->dlpi_name, "gatewise/_native")) return 0;
  for (int i = 0; i < info->dlpi_phnum && count < 16; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || !(part.p_flags & PF_X)) continue;
    const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    ranges[count] = {begin, begin + part.p_memsz};
    ++count;
  }
  return 0;
}

bool is_gatewise(const void* caller) {
  const auto at = reinterpret_cast<uintptr_t>(caller);
  for (int i = 0; i < count; ++i) {
    if (at >= ranges[i].begin && at < ranges[i].end) return true;
  }
  return false;
}

// Whether this allocation is the one that fails.
bool fails(const void* caller) { return left.load() > 0 && is_gatewise(caller) && left.fetch_sub(1) == 1; }

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

void fail_allocation(long n) {
  count = 0;
  dl_iterate_phdr(note, nullptr);
  left.store(n);
}
long allocations_left() { return left.load(); }

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t size) { return fails(__builtin_return_address(0)) ? nullptr : __libc_malloc(size); }
void* calloc(size_t n, size_t size) { return fails(__builtin_return_address(0)) ? nullptr : __libc_calloc(n, size); }
void* aligned_alloc(size_t alignment, size_t size) {
  return fails(__builtin_return_address(0)) ? nullptr : __libc_memalign(alignment, size);
}

// A thread needs memory for its stack.
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
  if (fails(__builtin_return_address(0))) return EAGAIN;
  static const auto create = next<decltype(&pthread_create)>("pthread_create");
  return create(thread, attributes, start, argument);
}
}

void* operator new(size_t size) {
  void* const memory = fails(__builtin_return_address(0)) ? nullptr : __libc_malloc(size ? size : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
void* operator new[](size_t size) {
  void* const memory = fails(__builtin_return_address(0)) ? nullptr : __libc_malloc(size ? size : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return fails(__builtin_return_address(0)) ? nullptr : __libc_malloc(size ? size : 1);
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return fails(__builtin_return_address(0)) ? nullptr : __libc_malloc(size ? size : 1);
}
void* operator new(size_t size, std::align_val_t alignment) {
  void* const memory = fails(__builtin_return_address(0)) ? nullptr : __libc_memalign(static_cast<size_t>(alignment), size ? size : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
void* operator new[](size_t size, std::align_val_t alignment) {
  void* const memory = fails(__builtin_return_address(0)) ? nullptr : __libc_memalign(static_cast<size_t>(alignment), size ? size : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}
