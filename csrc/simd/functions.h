// SPDX-License-Identifier: Apache-2.0
// Exponentials, logarithms and the error function over vectors: what programs need and cells do not.
//
// Errors against float64, measured by tests/test_runtime_program.py: exp 3e-7 relative over [-87, 88.7], 0 below and infinity above; expm1
// of x <= 0, log and log1p 3e-7 relative; half_erfc 1.5e-7 absolute. NaN stays NaN.
#pragma once

#include "simd/math.h"

namespace gatewise {
namespace {

GATEWISE_INLINE Vec magnitude(Vec x) { return (Vec)((IntVec)x & 0x7fffffff); }

// e^x, x being taken apart into whole * log(2), which has two parts, and a rest: x * log2(e) alone would cost digits where x is large.
GATEWISE_INLINE Vec exp(Vec x) {
  const Vec within = at_most(broadcast(89.0f), at_least(broadcast(kAnyExponent ? -104.0f : -87.6f), x));
  const Split s = split(within * broadcast(1.44269504f));
#if defined(__AVX512DQ__) && GATEWISE_LANES == 16
  const Vec whole = s.whole;
#else
  const Vec whole = s.whole - broadcast(kRounding);
#endif
  const Vec rest = fma(whole, broadcast(2.12194440e-4f), fma(whole, broadcast(-0.693359375f), within)) * broadcast(1.44269504f);
  const Vec mantissa = fma(power_polynomial(rest), rest, broadcast(1.0f));
  return kAnyExponent ? times_power_of_two(mantissa, s.whole) : times_power_of_two(mantissa, s.whole - 1.0f) * 2.0f;
}

// e^x - 1 for x <= 0
GATEWISE_INLINE Vec expm1(Vec x) {
  const Power e = power_of_two(x * broadcast(1.44269504f));
  const Vec scale = times_power_of_two(broadcast(1.0f), e.whole);
  return fma(scale, e.polynomial * e.rest, scale - 1.0f);
}

// log((1 + s) / (1 - s)) = 2 (s + s^3 / 3 + s^5 / 5 ...), |s| <= 1/3: its Taylor series up to s^17, which leaves 2e-10
GATEWISE_INLINE Vec log_ratio(Vec s) {
  const Vec q = s * s;
  Vec p = broadcast(1.0f / 17);
  p = fma(p, q, broadcast(1.0f / 15));
  p = fma(p, q, broadcast(1.0f / 13));
  p = fma(p, q, broadcast(1.0f / 11));
  p = fma(p, q, broadcast(1.0f / 9));
  p = fma(p, q, broadcast(1.0f / 7));
  p = fma(p, q, broadcast(1.0f / 5));
  p = fma(p, q, broadcast(1.0f / 3));
  return 2.0f * fma(p * q, s, s);
}

// log(1 + u) for 0 <= u <= 1
GATEWISE_INLINE Vec log1p(Vec u) { return log_ratio(u / (u + 2.0f)); }

// The natural logarithm of normal positive numbers: x = 2^n * m, m between sqrt(1/2) and sqrt(2)
GATEWISE_INLINE Vec log(Vec x) {
  const IntVec n = ((IntVec)x - 0x3f3504f3) >> 23;
  const Vec m = (Vec)((IntVec)x - (n << 23)), whole = __builtin_convertvector(n, Vec);
  const Vec found = fma(whole, broadcast(-2.12194440e-4f), log_ratio((m - 1.0f) / (m + 1.0f))) + whole * broadcast(0.693359375f);
  return select(x != x, x, found);
}

// log(1 + e^x)
GATEWISE_INLINE Vec softplus(Vec x) { return at_least(Vec{}, x) + log1p(exp(-magnitude(x))); }

// 1 - Phi(z), Phi being the standard normal distribution, for z >= 0: erfc(z / sqrt(2)) / 2. erfc(y) = e^(-y * y) t P(t), t = 1 / (1 + y /
// 2), P the polynomial of degree 8 whose relative error over [0, 6.5] is at most 3.2e-8 (a fit made for this project).
GATEWISE_INLINE Vec half_erfc(Vec z) {
  const Vec y = z * broadcast(0.70710678f), t = 1.0f / fma(y, broadcast(0.5f), broadcast(1.0f));
  Vec p = broadcast(-0x1.c5226ep-5f);
  p = fma(p, t, broadcast(0x1.10325cp-2f));
  p = fma(p, t, broadcast(-0x1.ca0296p-2f));
  p = fma(p, t, broadcast(0x1.d8df14p-3f));
  p = fma(p, t, broadcast(0x1.d36bfcp-8f));
  p = fma(p, t, broadcast(0x1.807f20p-3f));
  p = fma(p, t, broadcast(0x1.fa0a98p-3f));
  p = fma(p, t, broadcast(0x1.208dbap-2f));
  p = fma(p, t, broadcast(0x1.20e4b4p-2f));
  return 0.5f * p * t * exp(-y * y);
}

}  // namespace
}  // namespace gatewise
