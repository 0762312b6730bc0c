// SPDX-License-Identifier: Apache-2.0
// Windows over the steps of a row: the frames that some outputs look at, side by side, with what came before the chunk and what lies
// outside.
#pragma once

#include "program/gather.h"

namespace gatewise {
namespace {

// Outputs that are made of one stretch of frames.
constexpr int64_t kWindowSteps = 64;

// Where the windows of an operation begin. Before the first step of a stream lie zeros.
struct Placement {
  int64_t before;  // frames that are missing in front

  Placement(const Parameters& p, int64_t steps_in) : before(0) {
    if (p.padding == Padding::kCausal) before = p.reach();
    if (p.padding == Padding::kSame) {
      const int64_t count = (steps_in + p.strides - 1) / p.strides, last = count > 0 ? (count - 1) * p.strides : 0;
      const int64_t missing = last + p.reach() + 1 - steps_in;
      before = missing > 0 ? missing / 2 : 0;
    }
  }

  static int64_t scratch_floats(const Parameters& p, int64_t width) { return ((kWindowSteps - 1) * p.strides + p.reach() + 1) * width; }
};

// Calls f(frame, row, count, frames, first, steps) for stretches of outputs: `count` of them from `frame` on, whose windows lie in
// `frames`, which begin with the step `first` of the row, negative ones being before it.
template <class F>
GATEWISE_INLINE void for_windows(const Work& work, int64_t begin, int64_t end, float* scratch, F&& f) {
  const Parameters& p = *work.parameters;
  const Frames &in = work.in[0], &out = work.out[0];
  const Placement place(p, in.steps);
  const int64_t width = in.width;
  for (int64_t frame = begin; frame < end;) {
    const int64_t row = frame / out.steps, step = frame - row * out.steps;
    int64_t count = end - frame;
    if (count > out.steps - step) count = out.steps - step;
    if (count > kWindowSteps) count = kWindowSteps;
    const int64_t first = step * p.strides - place.before, frames = (count - 1) * p.strides + p.reach() + 1;
    const float* const x = in.floats() + row * in.steps * width;
    if (first >= 0 && first + frames <= in.steps) {
      f(frame, row, count, x + first * width, first);
    } else {
      const float* const tail = work.states ? work.states[0].row(row) + p.reach() * width : nullptr;  // its end
      for (int64_t i = 0; i < frames; ++i) {
        const int64_t at = first + i;
        const bool inside = at >= 0 && at < in.steps;
        const float* const from = inside ? x + at * width : at < 0 && tail ? tail + at * width : nullptr;
        for_vectors(width, [&](int64_t k, int64_t n) { store_first(scratch + i * width + k, from ? load_first(from + k, n) : Vec{}, n); });
      }
      f(frame, row, count, scratch, first);
    }
    frame += count;
  }
}

}  // namespace
}  // namespace gatewise
