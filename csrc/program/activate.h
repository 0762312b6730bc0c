// SPDX-License-Identifier: Apache-2.0
// Functions of each number alone, and softmax of a frame. The formulas are those of gatewise.reference.operations.
#pragma once

#include "program/rows.h"
#include "simd/functions.h"

namespace gatewise {
namespace {

GATEWISE_INLINE Vec clip(Vec x, float least, float most) { return at_most(broadcast(most), at_least(broadcast(least), x)); }

GATEWISE_INLINE Vec gelu(Vec x) {
  const Vec above = half_erfc(magnitude(x));
  return x * select(x < 0.0f, above, 1.0f - above);
}

// 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
GATEWISE_INLINE Vec gelu_by_tanh(Vec x) {
  return x * sigmoid(x * fma(x * x, broadcast(1.5957691216f * 0.044715f), broadcast(1.5957691216f)));
}

// x tanh(softplus(x)): with e = e^x, the tangent is e (e + 2) / (e (e + 2) + 2)
GATEWISE_INLINE Vec mish(Vec x) {
  const Vec e = exp(at_most(broadcast(30.0f), x)), n = e * (e + 2.0f);
  return x * (n / (n + 2.0f));
}

GATEWISE_INLINE Vec soft_shrink(Vec x, float threshold) {
  const Vec beyond = at_least(Vec{}, magnitude(x) - threshold);
  return select(x > 0.0f, beyond, select(x < 0.0f, -beyond, x));
}

// Calls run(f) with the function that the options name.
template <class Run>
GATEWISE_INLINE void with_function(const Parameters& p, Run&& run) {
  const float slope = p.slope, alpha = p.alpha, threshold = p.threshold, most = p.most, least = p.least;
  constexpr float kSeluScale = 1.05070099f, kSeluAlpha = 1.67326324f;
  const Vec zero{};
  switch (p.function) {
    case Function::kLinear:
      return run([](Vec x) { return x; });
    case Function::kTanh:
      return run([](Vec x) { return tanh(x); });
    case Function::kSigmoid:
      return run([](Vec x) { return sigmoid(x); });
    case Function::kRelu:
      return run([=](Vec x) { return select(x >= threshold, at_most(broadcast(most), x), slope * (x - threshold)); });
    case Function::kHardSigmoid:
      return run([](Vec x) { return hard_sigmoid(x); });
    case Function::kRelu6:
      return run([](Vec x) { return clip(x, 0.0f, 6.0f); });
    case Function::kLeakyRelu:
      return run([=](Vec x) { return select(x >= 0.0f, x, slope * x); });
    case Function::kElu:
      return run([=](Vec x) { return select(x > 0.0f, x, alpha * expm1(at_most(zero, x))); });
    case Function::kSelu:
      return run([=](Vec x) { return kSeluScale * select(x > 0.0f, x, kSeluAlpha * expm1(at_most(zero, x))); });
    case Function::kCelu:
      return run([=](Vec x) {
        const Vec inner = at_most(zero, x) / broadcast(alpha);
        return at_least(zero, x) + at_most(zero, alpha * (alpha > 0 ? expm1(inner) : exp(inner) - 1.0f));
      });
    case Function::kGelu:
      if (p.approximate) return run([](Vec x) { return gelu_by_tanh(x); });
      return run([](Vec x) { return gelu(x); });
    case Function::kSilu:
      return run([](Vec x) { return x * sigmoid(x); });
    case Function::kHardSilu:
      return run([](Vec x) { return x * hard_sigmoid(x); });
    case Function::kHardTanh:
      return run([](Vec x) { return clip(x, -1.0f, 1.0f); });
    case Function::kSoftplus:
      return run([](Vec x) { return softplus(x); });
    case Function::kSoftsign:
      return run([](Vec x) { return x / (1.0f + magnitude(x)); });
    case Function::kExponential:
      return run([](Vec x) { return exp(x); });
    case Function::kMish:
      return run([](Vec x) { return mish(x); });
    case Function::kLogSigmoid:
      return run([](Vec x) { return -softplus(-x); });
    case Function::kTanhShrink:
      return run([](Vec x) { return x - tanh(x); });
    case Function::kSoftShrink:
      return run([=](Vec x) { return soft_shrink(x, threshold); });
    case Function::kHardShrink:
      return run([=](Vec x) { return where(magnitude(x) > threshold, x); });
    case Function::kThreshold:
      return run([=](Vec x) { return select(x > threshold, x, broadcast(least)); });
    case Function::kSquareplus:
      return run([=](Vec x) { return (x + root(x * x + alpha)) * 0.5f; });
    case Function::kSparsePlus:
      return run([=](Vec x) { return select(x <= -1.0f, zero, select(x < 1.0f, (x + 1.0f) * (x + 1.0f) * 0.25f, x)); });
    case Function::kSparseSigmoid:
      return run([](Vec x) { return clip((x + 1.0f) * 0.5f, 0.0f, 1.0f); });
    case Function::kSqrt:
      return run([](Vec x) { return root(x); });
    case Function::kAbsolute:
      return run([](Vec x) { return magnitude(x); });
  }
}

void activation(const Work& work, int64_t begin, int64_t end, float*) {
  const int64_t width = work.out[0].width;
  const float* const x = work.in[0].floats() + begin * width;
  float* const y = static_cast<float*>(work.out[0].data) + begin * width;
  with_function(*work.parameters, [&](auto f) {
    for_vectors((end - begin) * width, [&](int64_t i, int64_t n) { store_first(y + i, f(load_first(x + i, n)), n); });
  });
}

void prelu(const Work& work, int64_t begin, int64_t end, float*) {
  const int64_t width = work.out[0].width;
  const Spread slope(work.parameters->gain);
  for (int64_t frame = begin; frame < end; ++frame) {
    const float* const x = work.in[0].floats() + frame * width;
    float* const y = static_cast<float*>(work.out[0].data) + frame * width;
    for_vectors(width, [&](int64_t i, int64_t n) {
      const Vec v = load_first(x + i, n);
      store_first(y + i, select(v > 0.0f, v, v * slope.at(i, n)), n);
    });
  }
}

// y = e^(x - most), where `most` is the largest x; returns the sum of them.
GATEWISE_INLINE float exponentials(const float* x, float* y, int64_t width) {
  const Vec most = broadcast(largest_in(x, width));
  for_vectors(width, [&](int64_t i, int64_t n) { store_first(y + i, exp(load_first(x + i, n) - most), n); });
  return sum_over(y, width, [](Vec v) { return v; });
}

// x -> e^(x - most) / sum of these; x and y may be the same.
GATEWISE_INLINE void softmax_of(const float* x, float* y, int64_t width) {
  const Vec sum = broadcast(exponentials(x, y, width));
  for_vectors(width, [&](int64_t i, int64_t n) { store_first(y + i, load_first(y + i, n) / sum, n); });
}

void softmax(const Work& work, int64_t begin, int64_t end, float*) {
  const int64_t width = work.out[0].width;
  for (int64_t frame = begin; frame < end; ++frame) {
    softmax_of(work.in[0].floats() + frame * width, static_cast<float*>(work.out[0].data) + frame * width, width);
  }
}

void log_softmax(const Work& work, int64_t begin, int64_t end, float*) {
  const int64_t width = work.out[0].width;
  for (int64_t frame = begin; frame < end; ++frame) {
    const float* const x = work.in[0].floats() + frame * width;
    float* const y = static_cast<float*>(work.out[0].data) + frame * width;
    const Vec most = broadcast(largest_in(x, width)), sum = log(broadcast(exponentials(x, y, width)));
    for_vectors(width, [&](int64_t i, int64_t n) { store_first(y + i, (load_first(x + i, n) - most) - sum, n); });
  }
}

}  // namespace
}  // namespace gatewise
