// SPDX-License-Identifier: Apache-2.0
// Pre-activations of a tile: bias, input product and recurrent product of a few rows and panels, summed in registers.
#pragma once

#include "cells/gru.h"
#include "problem.h"
#include "tile.h"

namespace gatewise {
namespace {

// What the rows of a step are multiplied with: planes by gate, which differ under dropout only, and the floats from a row to the next.
struct Operands {
  const float* x[3];
  const float* h[3];
  const float* started;  // (rows, P, 3, W): bias and input product, where they were found beforehand; or null
  int64_t x_stride, h_stride, started_stride;
};

// Pre-activations of some panels for all rows of a step: (panels, rows, kCount, W), indexed by Gate; one alone is the candidate's.
template <int kCount>
struct Pre {
  float* data;
  int64_t rows;

  static constexpr int kFirst = kCount == 1 ? kCandidate : kUpdate, kRow = kCount * kLanes;
  int64_t panel_stride() const { return rows * kRow; }
  float* at(int64_t panel, int64_t row) const { return data + panel * panel_stride() + row * kRow; }
};

template <class V, int M, int P, int kFirst, int G>
GATEWISE_INLINE void start_with_bias(const Problem& problem, int64_t panel, V (&acc)[M][P * G]) {
  const float* bias = problem.bias + panel * 4 * kLanes;
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) acc[m][n] = load<V>(bias + (n / G * 4 + kFirst + n % G) * kLanes);
  }
}

// The weights of gates kFirst .. kFirst + G of P panels, (P, 3K, W) as pack.h lays them out, with gates apart or not, from `first` of the K
// on. Every block of rows asks for another gate of the panels that come next.
template <class V, int M, int P, int kFirst, int G, bool kGatesApart>
GATEWISE_INLINE auto gate_weights(const float* weights, int64_t count, int64_t first, Ahead ahead) {
  if constexpr (!candidate_apart(kLanes)) {
    return weights_from<3 * kLanes, V, M, P, G>(weights + (first * 3 + kFirst) * kLanes, count * 3 * kLanes,
                                                ahead.floats(count * 3 * kLanes, G, kLanes));
  } else {
    const int64_t panel_stride = count * 3 * kLanes;
    constexpr int64_t kStep = kGatesApart ? kLanes : 2 * kLanes;
    const float *update = weights + first * kStep, *reset = update + (kGatesApart ? count : 1) * kLanes;
    const float* candidate = weights + (count * 2 + first) * kLanes;
    return [=](V(&w)[P* G]) mutable {
#pragma GCC unroll 24
      for (int n = 0; n < P * G; ++n) {
        const int gate = kFirst + n % G;
        w[n] = load<V>((gate == kCandidate ? candidate : gate == kReset ? reset : update) + n / G * panel_stride);
      }
      update += kStep;
      reset += kStep;
      candidate += kLanes;
    };
  }
}

// acc += rows times a part of the weights of gates kFirst .. kFirst + G of P panels, from `panel` on.
template <class V, int M, int P, int kFirst, int G, bool kGatesApart>
GATEWISE_INLINE void multiply_gates(const float* weights, int64_t count, int64_t panel, const float* (&rows)[M], Depth depth, Ahead ahead,
                                    V (&acc)[M][P * G]) {
  const float* from[M];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) from[m] = rows[m] + depth.begin;
  multiply_add<1>(acc, from, depth.end - depth.begin,
                  gate_weights<V, M, P, kFirst, G, kGatesApart>(weights + panel * count * 3 * kLanes, count, depth.begin, ahead));
}

// The whole input product and the bias, for all gates, written to (M rows, P, 3, W) `stride` floats apart.
template <int M, int P>
__attribute__((noinline)) void start_rows(const Problem& problem, const float* inputs, int64_t inputs_stride, int64_t panel, Ahead ahead,
                                          float* to, int64_t stride) {
  const float* x[M];
  Vec acc[M][P * 3];
  rows_of(inputs, inputs_stride, 0, x);
  start_with_bias<Vec, M, P, kUpdate, 3>(problem, panel, acc);
  const int64_t features = problem.spec.features;
  if (gates_see_different_rows(problem.in)) {
    multiply_gates<Vec, M, P, kUpdate, 3, true>(problem.kernel, features, panel, x, {0, features}, ahead, acc);
  } else {
    multiply_gates<Vec, M, P, kUpdate, 3, false>(problem.kernel, features, panel, x, {0, features}, ahead, acc);
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 24
    for (int n = 0; n < P * 3; ++n) store(to + m * stride + (panel * 3 + n) * kLanes, acc[m][n]);
  }
}

// Pre-activations of gates kFirst .. kFirst + G, for M rows from `row` on and P panels from `panel` on, which are number `place` of `pre`.
// `depth` is a part of features and units, counted through; parts come in rising order, and all but the first go on with what the one
// before left in `pre`. kApart: the recurrent part of the candidate stays apart (q).
template <class V, int M, int P, int kFirst, int G, bool kApart, int kCount>
__attribute__((noinline)) void preactivate(const Problem& problem, const Operands& operands, int64_t row, int64_t panel, Depth depth,
                                           Ahead ahead, const Pre<kCount>& pre, int64_t place) {
  const int64_t features = problem.spec.features;
  constexpr bool kGatesApart = G == 1;  // z or r alone: they see different rows; and the candidate always stands apart
  const bool begins = depth.begin == (operands.started ? features : 0);
  const Depth of_inputs = depth.below(features), of_states = depth.from(features);
  const float *x[M], *h[M];
  V acc[M][P * G];
  rows_of(operands.x[kFirst], operands.x_stride, row, x);
  rows_of(operands.h[kFirst], operands.h_stride, row, h);
  float* const sums = pre.at(place, row);
  const int64_t panel_of_sums = pre.panel_stride();
  const auto sum_at = [&](int m, int p, int gate) { return sums + p * panel_of_sums + m * pre.kRow + (gate - pre.kFirst) * kLanes; };
  // The candidate's sum while its recurrent part is added up.
  constexpr int kSum = kApart ? kRecurrent : kCandidate;
  const int64_t candidate = (of_states.begin > 0 ? kSum : kCandidate) * kLanes;
  if (!begins) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 24
      for (int n = 0; n < P * G; ++n) {
        const int gate = kFirst + n % G;
        acc[m][n] = load<V>(gate == kCandidate ? sum_at(m, n / G, 0) + candidate : sum_at(m, n / G, gate));
      }
    }
  } else if (operands.started) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const float* from = operands.started + (row + m) * operands.started_stride + (panel * 3 + kFirst) * kLanes;
#pragma GCC unroll 24
      for (int n = 0; n < P * G; ++n) acc[m][n] = load<V>(from + (n / G * 3 + n % G) * kLanes);
    }
  } else {
    start_with_bias<V, M, P, kFirst, G>(problem, panel, acc);
  }
  if (of_inputs.end > of_inputs.begin) {
    multiply_gates<V, M, P, kFirst, G, kGatesApart>(problem.kernel, features, panel, x, of_inputs, ahead, acc);
  }
  const bool reaches_states = of_states.end > 0;
  const int64_t reached = (reaches_states ? kSum : kCandidate) * kLanes;
  if constexpr (kApart) {
    if (reaches_states && of_states.begin == 0) {
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
        for (int p = 0; p < P; ++p) {
          store(sum_at(m, p, kCandidate), acc[m][p * G + G - 1]);
          acc[m][p * G + G - 1] = load<V>(problem.bias + ((panel + p) * 4 + kRecurrent) * kLanes);
        }
      }
    }
  }
  if (reaches_states) {
    multiply_gates<V, M, P, kFirst, G, kGatesApart>(problem.recurrent_kernel, problem.spec.units, panel, h, of_states, ahead, acc);
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) {
      const int gate = kFirst + n % G;
      store(gate == kCandidate ? sum_at(m, n / G, 0) + reached : sum_at(m, n / G, gate), acc[m][n]);
    }
  }
}

}  // namespace
}  // namespace gatewise
