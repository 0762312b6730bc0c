// SPDX-License-Identifier: Apache-2.0
// Loops over the numbers of a frame, a vector at a time, and sums over them in a fixed order.
#pragma once

#include "program/operation.h"
#include "simd/interface.h"

namespace gatewise {
namespace {

constexpr float kInfinity = __builtin_inff();

// Calls f(i, n) for the numbers [i, i + n) of `count`, n being kLanes but the last time.
template <class F>
GATEWISE_INLINE void for_vectors(int64_t count, F&& f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, int64_t{kLanes});
  if (i < count) f(i, count - i);
}

// The frames of a range, each at its row and step: calls f(frame, row, step).
template <class F>
GATEWISE_INLINE void for_frames(int64_t begin, int64_t end, int64_t steps, F&& f) {
  int64_t row = steps > 0 ? begin / steps : 0, step = begin - row * steps;
  for (int64_t i = begin; i < end; ++i) {
    f(i, row, step);
    if (++step == steps) {
      step = 0;
      ++row;
    }
  }
}

// The larger and the smaller of two; NaN where one of them is.
GATEWISE_INLINE Vec larger(Vec a, Vec b) { return select((b > a) | (b != b), b, a); }
GATEWISE_INLINE Vec smaller(Vec a, Vec b) { return select((b < a) | (b != b), b, a); }

// All lanes together, halves onto halves.
template <class Combine>
GATEWISE_INLINE float over_lanes(Vec v, Combine&& combine) {
  alignas(64) float lane[kLanes];
  store(lane, v);
  for (int n = kLanes / 2; n > 0; n /= 2) {
    for (int i = 0; i < n; ++i) lane[i] = combine(lane[i], lane[i + n]);
  }
  return lane[0];
}
GATEWISE_INLINE float largest_of(Vec v) {
  return over_lanes(v, [](float a, float b) { return b > a || b != b ? b : a; });
}

// The sum of term(x) over the numbers of a row.
template <class Term>
GATEWISE_INLINE float sum_over(const float* x, int64_t width, Term&& term) {
  Vec sum{};
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) sum += term(load_unaligned(x + i));
  if (i < width) {
    alignas(64) float last[kLanes] = {};
    store(last, term(load_first(x + i, width - i)));
    for (int64_t n = width - i; n < kLanes; ++n) last[n] = 0;  // of lanes that are not there
    sum += load(last);
  }
  return sum_of(sum);
}

// The largest number of a row; NaN if one is.
GATEWISE_INLINE float largest_in(const float* x, int64_t width) {
  if (width < kLanes) {
    float most = x[0];
    for (int64_t i = 1; i < width; ++i) most = x[i] > most || x[i] != x[i] ? x[i] : most;
    return most;
  }
  Vec most = load_unaligned(x);
  for (int64_t i = kLanes; i + kLanes <= width; i += kLanes) most = larger(most, load_unaligned(x + i));
  return largest_of(larger(most, load_unaligned(x + width - kLanes)));  // some of them twice
}

// A weight of the width's size or of one number.
struct Spread {
  const float* data;
  bool one;

  explicit Spread(const Weight& given) : data(given.data), one(given.floats == 1) {}
  GATEWISE_INLINE Vec at(int64_t i, int64_t n) const { return one ? broadcast(data[0]) : load_first(data + i, n); }
};

}  // namespace
}  // namespace gatewise
