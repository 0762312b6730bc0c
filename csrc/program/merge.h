// SPDX-License-Identifier: Apache-2.0
// One value of several: number by number, or side by side; and parts of one. What has one step, or one number, has it everywhere.
#pragma once

#include "program/gather.h"

namespace gatewise {
namespace {

// Whether each number of each input stands where that of the output does.
GATEWISE_INLINE bool alike(const Work& work) {
  for (int32_t k = 0; k < work.inputs; ++k) {
    const Frames& in = work.in[k];
    if (in.same || in.steps != work.out[0].steps || in.width != work.out[0].width) return false;
  }
  return true;
}

template <class Combine, class Finish>
GATEWISE_INLINE void merge(const Work& work, int64_t begin, int64_t end, Combine&& combine, Finish&& finish) {
  const Frames& out = work.out[0];
  float* const y = static_cast<float*>(out.data);
  if (alike(work)) {
    const int64_t first = begin * out.width;
    return for_vectors(end * out.width - first, [&](int64_t i, int64_t n) {
      Vec v = load_first(work.in[0].floats() + first + i, n);
      for (int32_t k = 1; k < work.inputs; ++k) v = combine(v, load_first(work.in[k].floats() + first + i, n));
      store_first(y + first + i, finish(v), n);
    });
  }
  for_frames(begin, end, out.steps, [&](int64_t frame, int64_t row, int64_t step) {
    for_vectors(out.width, [&](int64_t i, int64_t n) {
      const auto part = [&](int32_t k) {
        const Frames& in = work.in[k];
        const float* const x = in.floats() + in.frame(row, step) * in.width;
        return in.width == 1 ? broadcast(x[0]) : load_first(x + i, n);
      };
      Vec v = part(0);
      for (int32_t k = 1; k < work.inputs; ++k) v = combine(v, part(k));
      store_first(y + frame * out.width + i, finish(v), n);
    });
  });
}

template <class Combine>
GATEWISE_INLINE void merge(const Work& work, int64_t begin, int64_t end, Combine&& combine) {
  merge(work, begin, end, combine, [](Vec v) { return v; });
}

void add(const Work& work, int64_t begin, int64_t end, float*) {
  merge(work, begin, end, [](Vec a, Vec b) { return a + b; });
}
void subtract(const Work& work, int64_t begin, int64_t end, float*) {
  merge(work, begin, end, [](Vec a, Vec b) { return a - b; });
}
void product_of(const Work& work, int64_t begin, int64_t end, float*) {
  merge(work, begin, end, [](Vec a, Vec b) { return a * b; });
}
void divide(const Work& work, int64_t begin, int64_t end, float*) {
  merge(work, begin, end, [](Vec a, Vec b) { return a / b; });
}
void maximum(const Work& work, int64_t begin, int64_t end, float*) {
  merge(work, begin, end, [](Vec a, Vec b) { return larger(a, b); });
}
void minimum(const Work& work, int64_t begin, int64_t end, float*) {
  merge(work, begin, end, [](Vec a, Vec b) { return smaller(a, b); });
}
void average(const Work& work, int64_t begin, int64_t end, float*) {
  const Vec count = broadcast(static_cast<float>(work.inputs));
  merge(work, begin, end, [](Vec a, Vec b) { return a + b; }, [=](Vec v) { return v / count; });
}

template <class T>
GATEWISE_INLINE void copy_numbers(const void* from, int64_t at, void* to, int64_t place, int64_t count) {
  const T* const source = static_cast<const T*>(from) + at;
  T* const target = static_cast<T*>(to) + place;
  for (int64_t i = 0; i < count; ++i) target[i] = source[i];
}

// Copies numbers of `size` bytes, or of four.
GATEWISE_INLINE void copy_any(int64_t size, const void* from, int64_t at, void* to, int64_t place, int64_t count) {
  if (size == 4) return copy(static_cast<const float*>(from) + at, static_cast<float*>(to) + place, count);
  size == 8 ? copy_numbers<int64_t>(from, at, to, place, count) : copy_numbers<uint8_t>(from, at, to, place, count);
}

// Side by side; `size` says how many bytes a number has.
void concatenate(const Work& work, int64_t begin, int64_t end, float*) {
  const Frames& out = work.out[0];
  for_frames(begin, end, out.steps, [&](int64_t frame, int64_t row, int64_t step) {
    int64_t place = frame * out.width;
    for (int32_t k = 0; k < work.inputs; ++k) {
      const Frames& in = work.in[k];
      copy_any(work.parameters->size, in.data, in.frame(row, step) * in.width, out.data, place, in.width);
      place += in.width;
    }
  });
}

// Some of the features, or of the steps: from `start` on, `step` apart.
void slice(const Work& work, int64_t begin, int64_t end, float*) {
  const Parameters& p = *work.parameters;
  const Frames &in = work.in[0], &out = work.out[0];
  const int64_t back = in.steps + p.start, start = !p.over_time || p.start >= 0 ? p.start : back < 0 ? 0 : back;
  for_frames(begin, end, out.steps, [&](int64_t frame, int64_t row, int64_t step) {
    const int64_t from = (row * in.steps + (p.over_time ? start + step * p.step : step)) * in.width;
    if (p.over_time || p.step == 1) {
      return copy_any(p.size, in.data, from + (p.over_time ? 0 : start), out.data, frame * out.width, out.width);
    }
    for (int64_t i = 0; i < out.width; ++i) copy_any(p.size, in.data, from + start + i * p.step, out.data, frame * out.width + i, 1);
  });
}

// Each step `size` times.
void upsample(const Work& work, int64_t begin, int64_t end, float*) {
  const Frames &in = work.in[0], &out = work.out[0];
  for_frames(begin, end, out.steps, [&](int64_t frame, int64_t row, int64_t step) {
    copy(in.floats() + (row * in.steps + step / work.parameters->size) * in.width, static_cast<float*>(out.data) + frame * out.width,
         out.width);
  });
}

}  // namespace
}  // namespace gatewise
