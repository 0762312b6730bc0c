// SPDX-License-Identifier: Apache-2.0
// Mean, sum, largest and smallest over the steps of a row, those that a mask allows, or over the features of a frame.
#pragma once

#include "program/mask.h"

namespace gatewise {
namespace {

template <class Combine>
GATEWISE_INLINE void over_time(const Work& work, int64_t row, float start, bool mean, Combine&& combine) {
  const Frames &x = work.in[0], &out = work.out[0];
  const uint8_t* const mask = work.inputs > 1 && work.in[1].given() ? bytes(work.in[1]) + row * x.steps : nullptr;
  const float* const from = x.floats() + row * x.steps * x.width;
  int64_t valid = 0;
  for (int64_t t = 0; t < x.steps; ++t) valid += !mask || mask[t];
  for_vectors(x.width, [&](int64_t i, int64_t n) {
    Vec found = broadcast(start);
    for (int64_t t = 0; t < x.steps; ++t) {
      if (!mask || mask[t]) found = combine(found, load_first(from + t * x.width + i, n));
    }
    if (mean) found = found / broadcast(static_cast<float>(valid));
    store_first(static_cast<float*>(out.data) + row * out.width + i, found, n);
  });
}

GATEWISE_INLINE float over_features(const float* x, int64_t width, Reduction reduction) {
  const auto same = [](Vec v) { return v; };
  switch (reduction) {
    case Reduction::kMean:
      return sum_over(x, width, same) / static_cast<float>(width);
    case Reduction::kSum:
      return sum_over(x, width, same);
    case Reduction::kMax:
      return largest_in(x, width);
    default: {
      float least = x[0];
      for (int64_t i = 1; i < width; ++i) least = x[i] < least || x[i] != x[i] ? x[i] : least;
      return least;
    }
  }
}

void reduce(const Work& work, int64_t begin, int64_t end, float*) {
  const Parameters& p = *work.parameters;
  const Frames& x = work.in[0];
  for (int64_t i = begin; i < end; ++i) {
    if (!p.over_time) {
      static_cast<float*>(work.out[0].data)[i] = over_features(x.floats() + i * x.width, x.width, p.reduction);
    } else if (p.reduction == Reduction::kMax) {
      over_time(work, i, -kInfinity, false, [](Vec a, Vec b) { return larger(a, b); });
    } else if (p.reduction == Reduction::kMin) {
      over_time(work, i, kInfinity, false, [](Vec a, Vec b) { return smaller(a, b); });
    } else {
      over_time(work, i, 0.0f, p.reduction == Reduction::kMean, [](Vec a, Vec b) { return a + b; });
    }
  }
}

}  // namespace
}  // namespace gatewise
