// SPDX-License-Identifier: Apache-2.0
// The five activations and their slopes, over vectors.
//
// exp2: 2^n * p(f), n the nearest integer, f in [-1/2, 1/2], p the degree-5 minimax polynomial of relative error 9.1e-8 with constant
// term 1 (a Remez fit made for this project; coefficients below). Errors are against float64 over [-30, 30], measured by
// tests/test_activations.py: sigmoid 1.2e-7 absolute, tanh 1.8e-7 absolute and 9e-7 relative down to zero.
// NaN stays NaN, infinities reach the limits.
#pragma once

#include "engine.h"
#include "simd/interface.h"

namespace gatewise {
namespace {

// 2^t = 2^whole * (1 + polynomial * rest)
struct Power {
  Vec polynomial, rest, whole;
};

GATEWISE_INLINE Vec power_polynomial(Vec rest) {
  Vec p = broadcast(0x1.5bba10p-10f);
  p = fma(p, rest, broadcast(0x1.3cea88p-7f));
  p = fma(p, rest, broadcast(0x1.c6b752p-5f));
  p = fma(p, rest, broadcast(0x1.ebf9bcp-3f));
  return fma(p, rest, broadcast(0x1.62e42ap-1f));
}

GATEWISE_INLINE Power power_of_two(Vec t) {
  const Split s = split(at_most(broadcast(80.0f), kAnyExponent ? t : at_least(broadcast(-80.0f), t)));
  return {power_polynomial(s.rest), s.rest, s.whole};
}

// 1 / (1 + e^-x)
GATEWISE_INLINE Vec sigmoid(Vec x) {
  const Power e = power_of_two(x * broadcast(-1.44269504f));
  return 1.0f / (1.0f + times_power_of_two(fma(e.polynomial, e.rest, broadcast(1.0f)), e.whole));
}

// (e^2x - 1) / (e^2x + 1), through expm1 so that the relative error stays small at zero.
GATEWISE_INLINE Vec tanh(Vec x) {
  const Power e = power_of_two(x * broadcast(2.88539008f));
  const Vec scale = times_power_of_two(broadcast(1.0f), e.whole);
  const Vec expm1 = fma(scale, e.polynomial * e.rest, scale - 1.0f);
  return expm1 / (expm1 + 2.0f);
}

GATEWISE_INLINE Vec relu(Vec x) { return at_least(Vec{}, x); }

// relu6(x + 3) / 6, as in Keras 3
GATEWISE_INLINE Vec hard_sigmoid(Vec x) { return at_most(broadcast(6.0f), at_least(Vec{}, x + 3.0f)) * broadcast(1.0f / 6.0f); }

// An activation that is only known when the call comes.
GATEWISE_INLINE Vec activate(int32_t kind, Vec x) {
  switch (kind) {
    case GATEWISE_TANH:
      return tanh(x);
    case GATEWISE_SIGMOID:
      return sigmoid(x);
    case GATEWISE_RELU:
      return relu(x);
    case GATEWISE_HARD_SIGMOID:
      return hard_sigmoid(x);
    default:
      return x;
  }
}

// The derivative of an activation, from its value y.
GATEWISE_INLINE Vec tanh_slope(Vec y) { return fma(-y, y, broadcast(1.0f)); }
GATEWISE_INLINE Vec sigmoid_slope(Vec y) { return fma(-y, y, y); }

GATEWISE_INLINE Vec slope(int32_t kind, Vec y) {
  switch (kind) {
    case GATEWISE_TANH:
      return tanh_slope(y);
    case GATEWISE_SIGMOID:
      return sigmoid_slope(y);
    case GATEWISE_RELU:
      return where(y > 0.0f, broadcast(1.0f));
    case GATEWISE_HARD_SIGMOID:
      return where((y > 0.0f) & (y < 1.0f), broadcast(1.0f / 6.0f));
    default:
      return broadcast(1.0f);
  }
}

// The pair that nearly every GRU has, known when the kernel is compiled, and any other pair.
struct DefaultActivations {
  explicit DefaultActivations(int32_t, int32_t) {}
  GATEWISE_INLINE Vec gate(Vec x) const { return sigmoid(x); }
  GATEWISE_INLINE Vec gate_slope(Vec y) const { return sigmoid_slope(y); }
  GATEWISE_INLINE Vec candidate(Vec x) const { return tanh(x); }
  GATEWISE_INLINE Vec candidate_slope(Vec y) const { return tanh_slope(y); }
};

struct AnyActivations {
  AnyActivations(int32_t candidate_kind, int32_t gate_kind) : candidate_kind_(candidate_kind), gate_kind_(gate_kind) {}
  GATEWISE_INLINE Vec gate(Vec x) const { return activate(gate_kind_, x); }
  GATEWISE_INLINE Vec gate_slope(Vec y) const { return slope(gate_kind_, y); }
  GATEWISE_INLINE Vec candidate(Vec x) const { return activate(candidate_kind_, x); }
  GATEWISE_INLINE Vec candidate_slope(Vec y) const { return slope(candidate_kind_, y); }

 private:
  int32_t candidate_kind_, gate_kind_;
};

// Calls f with the activations of a layer.
template <class F>
GATEWISE_INLINE void with_activations(const gatewise_layer& layer, F&& f) {
  if (layer.activation == GATEWISE_TANH && layer.recurrent_activation == GATEWISE_SIGMOID) {
    f(DefaultActivations(layer.activation, layer.recurrent_activation));
  } else {
    f(AnyActivations(layer.activation, layer.recurrent_activation));
  }
}

}  // namespace
}  // namespace gatewise
