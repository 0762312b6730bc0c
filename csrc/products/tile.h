// SPDX-License-Identifier: Apache-2.0
// The register tile: M rows times P panels of G vectors, the one inner loop of the engine.
//
// Every product of a cell, forward and backward, is this loop. Each output element has one accumulator, to which k is added in rising
// order: the same bits come out whatever M and P are, and so whatever rows share a tile.
#pragma once

#include "simd/interface.h"

namespace gatewise {
namespace {

// rows[m] = row first + m of a plane whose rows are `stride` floats apart.
template <int M>
GATEWISE_INLINE void rows_of(const float* plane, int64_t stride, int64_t first, const float* (&rows)[M]) {
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) rows[m] = plane + (first + m) * stride;
}

// A part [begin, end) of what a product sums over.
struct Depth {
  int64_t begin, end;

  // What of it lies below `n`, and from `n` on, counted from there.
  GATEWISE_INLINE Depth below(int64_t n) const { return {begin < n ? begin : n, end < n ? end : n}; }
  GATEWISE_INLINE Depth from(int64_t n) const { return {begin > n ? begin - n : 0, end > n ? end - n : 0}; }
};

// acc[m][n] += sum over k < depth of rows[m][k * kRowStep] * w[n], where weights(w) finds the w of one k after the other.
template <int kRowStep, class V, int M, int N, class Weights>
GATEWISE_INLINE void multiply_add(V (&acc)[M][N], const float* const (&rows)[M], int64_t depth, Weights&& weights) {
  const float* row[M];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    row[m] = rows[m];
    asm("" : "+r"(row[m]));  // a pointer a row: GCC 12 would go from one row to the next in every step (5 % of a small layer's time)
  }
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    V w[N];
    weights(w);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const V a = broadcast<V>(row[m][k * kRowStep]);
#pragma GCC unroll 24
      for (int n = 0; n < N; ++n) acc[m][n] = fma(a, w[n], acc[m][n]);
    }
  }
}

// The weights of G vectors of each of P panels: those of a k are kStep floats after those of the one before. Meanwhile it brings a vector
// for each k into cache, `ahead` floats further on: of weights that will be needed soon.
template <int kStep, class V, int M, int P, int G>
GATEWISE_INLINE auto weights_from(const float* weights, int64_t panel_stride, int64_t ahead = 0) {
  return [=](V(&w)[P* G]) mutable {
    if constexpr (M > 1 && kAsksAhead) prefetch(weights + ahead);  // one row waits for loads already
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) w[n] = load<V>(weights + (n / G) * panel_stride + (n % G) * kLanes);
    weights += kStep;
  };
}

}  // namespace
}  // namespace gatewise
