// SPDX-License-Identifier: Apache-2.0
// Embedding: rows of a table by their ids, which have been checked.
#pragma once

#include "program/rows.h"

namespace gatewise {
namespace {

GATEWISE_INLINE void copy(const float* from, float* to, int64_t count) {
  for_vectors(count, [&](int64_t i, int64_t n) { store_first(to + i, load_first(from + i, n), n); });
}

void embedding(const Work& work, int64_t begin, int64_t end, float*) {
  const int64_t* const ids = static_cast<const int64_t*>(work.in[0].data);
  const int64_t count = work.in[0].width, width = work.parameters->outputs;
  float* const y = static_cast<float*>(work.out[0].data);
  for (int64_t i = begin * count; i < end * count; ++i) copy(work.parameters->kernel.data + ids[i] * width, y + i * width, width);
}

}  // namespace
}  // namespace gatewise
