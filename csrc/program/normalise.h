// SPDX-License-Identifier: Apache-2.0
// Normalisation of a frame over its features, and what is a normalisation with statistics of its own: x * gain + offset.
//
// Sums are found lane by lane and then over the lanes; statistics in two passes, so that a large mean costs no digits.
#pragma once

#include "program/rows.h"

namespace gatewise {
namespace {

// Calls f(x, y, width) for every frame.
template <class F>
GATEWISE_INLINE void each_frame(const Work& work, int64_t begin, int64_t end, F&& f) {
  const int64_t width = work.out[0].width;
  const float* const x = work.in[0].floats();
  float* const y = static_cast<float*>(work.out[0].data);
  for (int64_t i = begin; i < end; ++i) f(x + i * width, y + i * width, width);
}

// y = scaled(x) * gain + offset, of which either may be absent.
template <class Scaled>
GATEWISE_INLINE void scale_and_shift(const Parameters& p, const float* x, float* y, int64_t width, Scaled&& scaled) {
  const Spread gain(p.gain), offset(p.offset);
  const auto run = [&](auto finish) {
    for_vectors(width, [&](int64_t i, int64_t n) { store_first(y + i, finish(scaled(load_first(x + i, n)), i, n), n); });
  };
  if (gain.data && offset.data) return run([&](Vec v, int64_t i, int64_t n) { return fma(v, gain.at(i, n), offset.at(i, n)); });
  if (gain.data) return run([&](Vec v, int64_t i, int64_t n) { return v * gain.at(i, n); });
  if (offset.data) return run([&](Vec v, int64_t i, int64_t n) { return v + offset.at(i, n); });
  run([](Vec v, int64_t, int64_t) { return v; });
}

// 1 / sqrt(sum / width + epsilon)
GATEWISE_INLINE float inverse_root(float sum, int64_t width, float epsilon) {
  return 1.0f / root(sum / static_cast<float>(width) + epsilon);
}

void affine(const Work& work, int64_t begin, int64_t end, float*) {
  each_frame(work, begin, end,
             [&](const float* x, float* y, int64_t width) { scale_and_shift(*work.parameters, x, y, width, [](Vec v) { return v; }); });
}

void layer_normalization(const Work& work, int64_t begin, int64_t end, float*) {
  const Parameters& p = *work.parameters;
  each_frame(work, begin, end, [&](const float* x, float* y, int64_t width) {
    const Vec mean = broadcast(sum_over(x, width, [](Vec v) { return v; }) / static_cast<float>(width));
    const float squares = sum_over(x, width, [&](Vec v) { return (v - mean) * (v - mean); });
    const Vec factor = broadcast(inverse_root(squares, width, p.epsilon));
    scale_and_shift(p, x, y, width, [&](Vec v) { return (v - mean) * factor; });
  });
}

void rms_normalization(const Work& work, int64_t begin, int64_t end, float*) {
  const Parameters& p = *work.parameters;
  each_frame(work, begin, end, [&](const float* x, float* y, int64_t width) {
    const Vec factor = broadcast(inverse_root(sum_over(x, width, [](Vec v) { return v * v; }), width, p.epsilon));
    scale_and_shift(p, x, y, width, [&](Vec v) { return v * factor; });
  });
}

void unit_normalization(const Work& work, int64_t begin, int64_t end, float*) {
  const float epsilon = work.parameters->epsilon;
  each_frame(work, begin, end, [&](const float* x, float* y, int64_t width) {
    const float length = root(sum_over(x, width, [](Vec v) { return v * v; }));
    const Vec divisor = broadcast(length < epsilon ? epsilon : length);
    for_vectors(width, [&](int64_t i, int64_t n) { store_first(y + i, load_first(x + i, n) / divisor, n); });
  });
}

}  // namespace
}  // namespace gatewise
