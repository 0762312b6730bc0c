// SPDX-License-Identifier: Apache-2.0
#include "threads/pages.h"

#include <sys/mman.h>

namespace gatewise {

void use_large_pages(const float* data, int64_t floats) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kPage = uintptr_t{2} << 20, kMinBytes = uintptr_t{4} << 20;
  const uintptr_t bytes = static_cast<uintptr_t>(floats) * sizeof(float), at = reinterpret_cast<uintptr_t>(data);
  if (!data || bytes < kMinBytes) return;
  const uintptr_t begin = (at + kPage - 1) / kPage * kPage, end = (at + bytes) / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish: that it is not granted changes no number
#else
  (void)data, (void)floats;
#endif
}

}  // namespace gatewise
