// SPDX-License-Identifier: Apache-2.0
// Pools over time: the largest, and the average, of the steps of a window that are there.
#pragma once

#include "program/window.h"

namespace gatewise {
namespace {

// Calls f(sum of what is there, combined in rising order; how many).
template <class Combine, class Finish>
GATEWISE_INLINE void pool(const Work& work, int64_t begin, int64_t end, float* scratch, Combine&& combine, Finish&& finish) {
  const Parameters& p = *work.parameters;
  const int64_t width = work.in[0].width, steps = work.in[0].steps;
  for_windows(work, begin, end, scratch, [&](int64_t frame, int64_t row, int64_t count, const float* x, int64_t first) {
    const int64_t seen =
        work.states ? static_cast<int64_t>(work.states[1].row(row)[0]) : 0;  // steps before this chunk, as far as they matter
    float* const y = static_cast<float*>(work.out[0].data) + frame * width;
    for (int64_t t = 0; t < count; ++t) {
      const int64_t window = first + t * p.strides;  // its first step
      const int64_t from = window < -seen ? -seen - window : 0, to = window + p.size > steps ? steps - window : p.size;
      const float* const frames = x + t * p.strides * width;
      for_vectors(width, [&](int64_t i, int64_t n) {
        Vec found = load_first(frames + from * width + i, n);
        for (int64_t k = from + 1; k < to; ++k) found = combine(found, load_first(frames + k * width + i, n));
        store_first(y + t * width + i, finish(found, to - from), n);
      });
    }
  });
}

void max_pool(const Work& work, int64_t begin, int64_t end, float* scratch) {
  pool(work, begin, end, scratch, [](Vec a, Vec b) { return larger(a, b); }, [](Vec v, int64_t) { return v; });
}

void average_pool(const Work& work, int64_t begin, int64_t end, float* scratch) {
  pool(
      work, begin, end, scratch, [](Vec a, Vec b) { return a + b; },
      [](Vec v, int64_t count) { return v / broadcast(static_cast<float>(count)); });
}

}  // namespace
}  // namespace gatewise
