// SPDX-License-Identifier: Apache-2.0
// Masks: how they are made and joined, and frames that are zeros where they say so. A byte a number, 0 or 1.
#pragma once

#include "program/gather.h"

namespace gatewise {
namespace {

GATEWISE_INLINE const uint8_t* bytes(const Frames& frames) { return static_cast<const uint8_t*>(frames.data); }

// Of ids for each; of numbers for each frame: whether any differs.
void not_equal(const Work& work, int64_t begin, int64_t end, float*) {
  const Frames &x = work.in[0], &out = work.out[0];
  uint8_t* const y = static_cast<uint8_t*>(out.data);
  if (work.parameters->over_time) {  // ids
    const int64_t* const ids = static_cast<const int64_t*>(x.data);
    const double value = work.parameters->value;
    for (int64_t i = begin * x.width; i < end * x.width; ++i) y[i] = static_cast<double>(ids[i]) != value;
    return;
  }
  const float value = static_cast<float>(work.parameters->value);
  for (int64_t frame = begin; frame < end; ++frame) {
    uint8_t any = 0;
    for (int64_t i = 0; i < x.width; ++i) any |= x.floats()[frame * x.width + i] != value;
    y[frame] = any;
  }
}

void zero_masked(const Work& work, int64_t begin, int64_t end, float*) {
  const Frames &x = work.in[0], &mask = work.in[1], &out = work.out[0];
  for_frames(begin, end, out.steps, [&](int64_t frame, int64_t row, int64_t step) {
    float* const y = static_cast<float*>(out.data) + frame * out.width;
    if (bytes(mask)[mask.frame(row, step)]) return copy(x.floats() + x.frame(row, step) * x.width, y, out.width);
    for_vectors(out.width, [&](int64_t i, int64_t n) { store_first(y + i, Vec{}, n); });
  });
}

template <bool kAll>
GATEWISE_INLINE void join(const Work& work, int64_t begin, int64_t end) {
  const Frames& out = work.out[0];
  for_frames(begin, end, out.steps, [&](int64_t frame, int64_t row, int64_t step) {
    for (int64_t i = 0; i < out.width; ++i) {
      bool found = kAll;
      for (int32_t k = 0; k < work.inputs; ++k) {
        const Frames& in = work.in[k];
        const bool here = bytes(in)[in.frame(row, step) * in.width + (in.width == 1 ? 0 : i)] != 0;
        found = kAll ? found && here : found || here;
      }
      static_cast<uint8_t*>(out.data)[frame * out.width + i] = found;
    }
  });
}

void all_of(const Work& work, int64_t begin, int64_t end, float*) { join<true>(work, begin, end); }
void any_of(const Work& work, int64_t begin, int64_t end, float*) { join<false>(work, begin, end); }

}  // namespace
}  // namespace gatewise
