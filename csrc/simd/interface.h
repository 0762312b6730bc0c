// SPDX-License-Identifier: Apache-2.0
// A vector of floats and its dozen operations: the only intrinsics of the engine.
//
// An isa/*.cpp file defines GATEWISE_LANES before it includes this. Everything lies in an anonymous namespace, so that no function compiled
// for one CPU can be taken for another's by the linker. Contraction is off: a product is fused with a sum where `fma` says so and nowhere
// else, which is what makes every tile shape give the same bits.
#pragma once

#include <stddef.h>
#include <stdint.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define GATEWISE_INLINE inline __attribute__((always_inline))

namespace gatewise {
namespace {

constexpr int kLanes = GATEWISE_LANES;

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef float UnalignedVec __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(4 * kLanes)));

// Half a vector. Where kHalves, products of a last panel that needs no more are added up in it: a Zen 4 works on 512 bits in two halves,
// and one takes it half the time. Of narrower vectors a half takes as long as the whole.
typedef float HalfVec __attribute__((vector_size(2 * kLanes)));
constexpr bool kHalves = kLanes == 16;

// Registers set the tile: accumulators + one row of weights + one broadcast value fit into 32 (AVX-512, NEON) or 16 (AVX2, SSE2).
#if GATEWISE_LANES == 16 || defined(__aarch64__)
constexpr int kRowTile = 8, kAccumulators = 24;
#else
constexpr int kRowTile = 4, kAccumulators = 12;
#endif

// What the way through a product goes by (see products/tiling.h):
//   kCacheBytes  the second-level cache that is reckoned with: weights beyond it come from further away
//   kPartBytes   what part of such weights all rows use before the next; 0: all of a tile's
//   kAsksAhead   whether multiply-adds ask for weights that come next
//   kRunRows     of how many rows, times panels, the sums are complete before gates, or gradients, are made of them
// AVX-512 on a Xeon with 2 MB asks ahead (large: 0.88 of the time). AVX2 on a Zen 3 with 512 KB takes them by parts (inference:
// speech and large 0.8 of the time; training: 0.87), to ask ahead costs it 5 %, and gates of more rows at once gain 2 %.
#if GATEWISE_LANES == 16
constexpr int64_t kCacheBytes = int64_t{2} << 20, kPartBytes = 0, kRunRows = 8;
constexpr bool kAsksAhead = true;
#else
constexpr int64_t kCacheBytes = int64_t{512} << 10, kPartBytes = 12 << 10, kRunRows = 64;
constexpr bool kAsksAhead = false;
#endif

// x - 0 is x for every x, so this is a broadcast and nothing else.
template <class V = Vec>
GATEWISE_INLINE V broadcast(float x) {
  return x - V{};
}

template <class V = Vec>
GATEWISE_INLINE V load(const float* p) {
  return *reinterpret_cast<const V*>(p);
}
GATEWISE_INLINE void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
GATEWISE_INLINE Vec load_unaligned(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
GATEWISE_INLINE void store_unaligned(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }

// Asks for a vector to be brought into cache; of any address, also where there is nothing. Into all levels: the hint for the second alone
// costs 2 % where the weights are near anyway (sensor).
GATEWISE_INLINE void prefetch(const float* p) { __builtin_prefetch(p); }

// The first `n` lanes, 1 <= n <= kLanes; the others are zero, or not written.
GATEWISE_INLINE Vec load_first(const float* p, int64_t n) {
  if (n == kLanes) return load_unaligned(p);
#if GATEWISE_LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  Vec v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}
GATEWISE_INLINE void store_first(float* p, Vec v, int64_t n) {
  if (n == kLanes) return store_unaligned(p, v);
#if GATEWISE_LANES == 16 && defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#else
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
}

// a * b + c: rounded once where the CPU can (AVX2, AVX-512, NEON), twice in the generic build for x86.
GATEWISE_INLINE Vec fma(Vec a, Vec b, Vec c) {
#if GATEWISE_LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif GATEWISE_LANES == 8 && defined(__FMA__)
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

#if GATEWISE_LANES == 16
GATEWISE_INLINE HalfVec fma(HalfVec a, HalfVec b, HalfVec c) {
#if defined(__AVX512F__)
  return (HalfVec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  return a * b + c;
#endif
}

// Writes a whole vector: a half, and zeros.
GATEWISE_INLINE void store(float* p, HalfVec v) {
  store(p, __builtin_shufflevector(v, HalfVec{}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}
#endif

// The smaller and the larger of a limit and x; NaN in x stays NaN (the second operand wins). The 512-bit forms take a mask of all ones
// because GCC 12 warns about its own header's plain ones.
GATEWISE_INLINE Vec at_most(Vec limit, Vec x) {
#if GATEWISE_LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_maskz_min_ps((__mmask16)-1, (__m512)limit, (__m512)x);
#elif GATEWISE_LANES == 8 && defined(__AVX__)
  return (Vec)_mm256_min_ps((__m256)limit, (__m256)x);
#elif GATEWISE_LANES == 4 && defined(__SSE2__)
  return (Vec)_mm_min_ps((__m128)limit, (__m128)x);
#else
  return limit < x ? limit : x;
#endif
}
GATEWISE_INLINE Vec at_least(Vec limit, Vec x) {
#if GATEWISE_LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_maskz_max_ps((__mmask16)-1, (__m512)limit, (__m512)x);
#elif GATEWISE_LANES == 8 && defined(__AVX__)
  return (Vec)_mm256_max_ps((__m256)limit, (__m256)x);
#elif GATEWISE_LANES == 4 && defined(__SSE2__)
  return (Vec)_mm_max_ps((__m128)limit, (__m128)x);
#else
  return limit > x ? limit : x;
#endif
}

// The two steps of an exponential. AVX-512 has instructions for them, which take any number: kAnyExponent.
//   split: t = whole + rest, whole the nearest integer; of an infinity the rest is 0. Without kAnyExponent: |t| <= 2^21
//   times_power_of_two: a * 2^whole. Without kAnyExponent: |whole| <= 126, and what stands for it is its sum with kRounding
struct Split {
  Vec whole, rest;
};
#if GATEWISE_LANES == 16 && defined(__AVX512DQ__)
constexpr bool kAnyExponent = true;
GATEWISE_INLINE Split split(Vec t) {
  const Vec rest = (Vec)_mm512_maskz_reduce_ps((__mmask16)-1, (__m512)t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return {t - rest, rest};
}
GATEWISE_INLINE Vec times_power_of_two(Vec a, Vec whole) { return (Vec)_mm512_maskz_scalef_ps((__mmask16)-1, (__m512)a, (__m512)whole); }
#else
constexpr bool kAnyExponent = false;
constexpr float kRounding = 12582912.0f;  // 1.5 * 2^23: a sum with it has no fraction, and the integer in its lowest bits
GATEWISE_INLINE Split split(Vec t) {
  const Vec rounded = t + broadcast(kRounding);
  return {rounded, t - (rounded - broadcast(kRounding))};
}
GATEWISE_INLINE Vec times_power_of_two(Vec a, Vec whole) { return a * (Vec)(((IntVec)whole << 23) + 0x3f800000); }
#endif

// The square root, rounded as IEEE 754 has it.
GATEWISE_INLINE Vec root(Vec v) {
#if GATEWISE_LANES == 16 && defined(__AVX512F__)
  return (Vec)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)v);
#elif GATEWISE_LANES == 8 && defined(__AVX__)
  return (Vec)_mm256_sqrt_ps((__m256)v);
#elif GATEWISE_LANES == 4 && defined(__SSE2__)
  return (Vec)_mm_sqrt_ps((__m128)v);
#else
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}
GATEWISE_INLINE float root(float x) { return root(broadcast(x))[0]; }

// The sum of all lanes, halves onto halves.
typedef float FourLanes __attribute__((vector_size(16)));
GATEWISE_INLINE float sum_of_four(FourLanes v) { return (v[0] + v[2]) + (v[1] + v[3]); }
GATEWISE_INLINE float sum_of(Vec v) {
#if GATEWISE_LANES == 16
  const HalfVec half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  return sum_of_four(__builtin_shufflevector(half, half, 0, 1, 2, 3) + __builtin_shufflevector(half, half, 4, 5, 6, 7));
#elif GATEWISE_LANES == 8
  return sum_of_four(__builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7));
#else
  return sum_of_four(v);
#endif
}

// The first `n` lanes, 1 <= n <= kLanes, and zeros.
GATEWISE_INLINE Vec first_lanes(Vec v, int64_t n) {
  alignas(64) float lanes[kLanes];
  store(lanes, v);
  return load_first(lanes, n);
}

// `v` where the comparison holds, else zero. A comparison of Vecs gives an IntVec of all ones or zeros.
GATEWISE_INLINE Vec where(IntVec holds, Vec v) { return (Vec)(holds & (IntVec)v); }
GATEWISE_INLINE Vec select(IntVec holds, Vec a, Vec b) { return (Vec)((holds & (IntVec)a) | (~holds & (IntVec)b)); }

}  // namespace
}  // namespace gatewise
