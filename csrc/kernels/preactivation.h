// SPDX-License-Identifier: Apache-2.0
// Pre-activations of a tile: bias, input product and recurrent product of a few rows and panels, summed in registers.
#pragma once

#include "cells/gru.h"
#include "problem.h"
#include "tile.h"

namespace gatewise {
namespace {

// Pre-activations of one tile's panels: (panels, rows, 4, W), indexed by Gate.
constexpr int kPreFloats = 4 * kRowTile * 4 * kLanes;

GATEWISE_INLINE int64_t pre_at(int64_t rows, int64_t panel, int64_t row) { return (panel * rows + row) * 4 * kLanes; }

// The rows of one tile at one step.
template <int M>
struct Block {
  static constexpr int kRows = M;
  const float* x[3][M];  // what the gates' input weights are multiplied with; gates differ under dropout only
  const float* h[3][M];  // and the recurrent weights
  const float* h_prev[M];
  float* h_next[M];
  float* reset[M];          // r * h_prev, with reset_after=False
  float* update[M];         // z between the two rounds, with reset_after=False
  const float* factors[M];  // dropout of the candidate's state, or null
  float* outputs[M];        // or null
  const float* started[M];  // (P, 3, W): bias and input product, where they were found beforehand; or null
  float* saved;             // of the first row and panel 0, or null
  Ahead ahead;

  template <class Forward>
  Block(const Forward& slab, int64_t s, int64_t begin, Ahead a);
};

// acc = bias + x times the input weights, for gates kFirst .. kFirst + G of P panels from `panel` on.
template <int M, int P, int kFirst, int G>
GATEWISE_INLINE void multiply_inputs(const Problem& problem, const float* const (&x)[M], int64_t panel, Ahead ahead, Vec (&acc)[M][P * G]) {
  const int64_t features = problem.spec.features;
  const float* bias = problem.bias + panel * 4 * kLanes;
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) acc[m][n] = load(bias + (n / G * 4 + kFirst + n % G) * kLanes);
  }
  multiply_add<1, 3 * kLanes, M, P, G>(acc, x, problem.kernel + (panel * features * 3 + kFirst) * kLanes, features * 3 * kLanes, features,
                                       ahead.floats(features * 3 * kLanes, G, kLanes));
}

// The same for all gates, written to (M rows, P, 3, W) `stride` floats apart.
template <int M, int P>
__attribute__((noinline)) void start_rows(const Problem& problem, const float* const (&x)[M], int64_t panel, Ahead ahead, float* to,
                                          int64_t stride) {
  Vec acc[M][P * 3];
  multiply_inputs<M, P, kUpdate, 3>(problem, x, panel, ahead, acc);
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 24
    for (int n = 0; n < P * 3; ++n) store(to + m * stride + (panel * 3 + n) * kLanes, acc[m][n]);
  }
}

// Pre-activations of gates kFirst .. kFirst + G of P panels from `panel` on. kApart: the recurrent part of the candidate stays apart (q).
template <int M, int P, int kFirst, int G, bool kApart>
__attribute__((noinline)) void preactivate(const Problem& problem, const Block<M>& block, int64_t panel, float* pre) {
  const int64_t units = problem.spec.units;
  const float* bias = problem.bias + panel * 4 * kLanes;
  constexpr int kLast = kFirst + G - 1;
  const float *x[M], *h[M];
  Vec acc[M][P * G];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    x[m] = block.x[kFirst][m];
    h[m] = (kFirst == kCandidate && !kApart ? block.reset : block.h[kFirst])[m];
  }
  if (block.started[0]) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 24
      for (int n = 0; n < P * G; ++n) acc[m][n] = load(block.started[m] + ((panel + n / G) * 3 + kFirst + n % G) * kLanes);
    }
  } else {
    multiply_inputs<M, P, kFirst, G>(problem, x, panel, block.ahead, acc);
  }
  if constexpr (kApart) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        store(pre + pre_at(M, p, m) + kCandidate * kLanes, acc[m][p * G + G - 1]);
        acc[m][p * G + G - 1] = load(bias + (p * 4 + kRecurrent) * kLanes);
      }
    }
  }
  multiply_add<1, 3 * kLanes, M, P, G>(acc, h, problem.recurrent_kernel + (panel * units * 3 + kFirst) * kLanes, units * 3 * kLanes, units,
                                       block.ahead.floats(units * 3 * kLanes, G, kLanes));
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) {
      const int gate = kFirst + n % G;
      store(pre + pre_at(M, n / G, m) + (kApart && gate == kLast ? kRecurrent : gate) * kLanes, acc[m][n]);
    }
  }
}

}  // namespace
}  // namespace gatewise
