// SPDX-License-Identifier: Apache-2.0
// The sums of a tile: bias, input product and recurrent product of a few rows and panels, added up in registers.
#pragma once

#include "cells/cell.h"
#include "passes/problem.h"
#include "products/tiling.h"

namespace gatewise {
namespace {

// What the rows of a step are multiplied with: planes by gate, which differ under dropout only, and the floats from a row to the next.
struct Operands {
  const float* x[kMaxGates];
  const float* h[kMaxGates];
  const float* input_projection;  // (rows, P, gates, W): bias and input product, where they were found for many steps; or null
  int64_t x_stride, h_stride, input_projection_stride;
};

// The sums of a round, of some panels for all rows of a step: (panels, rows, count, W).
struct Sums {
  float* data;
  int64_t rows, count;

  int64_t row_stride() const { return count * kLanes; }
  int64_t panel_stride() const { return rows * row_stride(); }
  float* at(int64_t panel, int64_t row) const { return data + panel * panel_stride() + row * row_stride(); }
};

// The gates that one product finds: a round or, where that is too wide for a tile, half of one; or one gate alone. The last `kApart` of its
// kGates have a second sum for the states. kSums: how many sums the round has where the group is all of it, so that they stand at places
// known when a kernel is compiled; else 0. Its weights begin at place kPlace of the kBeside gates that stand side by side.
template <int kGates_, int kApart_, int kSums_, int kBeside_, int kPlace_>
struct Group {
  static constexpr int kGates = kGates_, kApart = kApart_, kSums = kSums_, kBeside = kBeside_, kPlace = kPlace_;
  static constexpr bool apart(int n) { return n % kGates >= kGates - kApart; }

  int64_t gate, of;             // the number of the first in the cell, and how many gates that has
  int64_t sum, second;          // where their sums begin in those of the round, and the second ones
  int64_t biases, second_bias;  // how many biases a panel has, and where those of the second sums begin
};

// The group of kGates gates of a round from number kFirst of it on.
template <class Cell, int kRound, int kFirst, int kGates, bool kAlone>
constexpr auto group_of() {
  constexpr Round kOf = Cell::kInfo.round[kRound].found();
  constexpr int kWhole = kOf.gates - kOf.apart, kLast = kFirst + kGates;  // kWhole: of one sum
  constexpr int kApart = kLast <= kWhole ? 0 : kLast - (kFirst > kWhole ? kFirst : kWhole);
  constexpr int kSecond = kLast - kApart;  // the first that has a second sum
  return Group<kGates, kApart, kGates == kOf.gates ? kOf.sums() : 0, kAlone ? 1 : kOf.gates, kAlone ? 0 : kFirst>{
      kOf.first + kFirst,           Cell::kInfo.gates,  kFirst,
      kOf.gates + kSecond - kWhole, Cell::kInfo.sums(), kApart > 0 ? Cell::kInfo.recurrent_sum(kOf.first + kSecond) : 0};
}

// How many gates of a round one product finds: all, unless a tile of so many would have too few rows to be fast.
constexpr int gates_per_product(int gates) { return rows_per_tile(gates) < 4 && gates % 2 == 0 ? gates / 2 : gates; }

// Calls f(Group) for the groups of a round: for as many of its gates as a product finds, or for each alone.
template <class Cell, int kRound, bool kAlone, class F>
GATEWISE_INLINE void for_groups_of(F&& f) {
  constexpr int kGates = Cell::kInfo.round[kRound].gates, kOf = kAlone ? 1 : gates_per_product(kGates);
  if constexpr (kGates > 0) f(group_of<Cell, kRound, 0, kOf, kAlone>());
  if constexpr (kOf < kGates) f(group_of<Cell, kRound, kOf, kOf, kAlone>());
  if constexpr (2 * kOf < kGates) f(group_of<Cell, kRound, 2 * kOf, kOf, kAlone>());
  if constexpr (3 * kOf < kGates) f(group_of<Cell, kRound, 3 * kOf, kOf, kAlone>());
}

// Calls f(Group) for the groups of all rounds.
template <class Cell, bool kAlone, class F>
GATEWISE_INLINE void for_groups(F&& f) {
  for_groups_of<Cell, 0, kAlone>(f);
  if constexpr (Cell::kInfo.rounds > 1) for_groups_of<Cell, 1, kAlone>(f);
}

// Where the vectors of a tile stand, in floats: those of its gates side by side, but for the last ones, which may stand `apart`.
template <class Of>
struct Vectors {
  float* begin;
  int64_t row, panel, apart;

  GATEWISE_INLINE float* at(int m, int n) const {
    constexpr int kWhole = Of::kGates - Of::kApart;
    const int gate = n % Of::kGates;
    return begin + m * row + n / Of::kGates * panel + (gate < kWhole ? gate * kLanes : apart + (gate - kWhole) * kLanes);
  }

  template <class V, int M, int N>
  GATEWISE_INLINE void load_into(V (&acc)[M][N]) const {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 32
      for (int n = 0; n < N; ++n) acc[m][n] = load<V>(at(m, n));
    }
  }
  template <class V, int M, int N>
  GATEWISE_INLINE void store_from(const V (&acc)[M][N]) const {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 32
      for (int n = 0; n < N; ++n) store(at(m, n), acc[m][n]);
    }
  }
};

// The biases of the input parts, the same for all rows. Not written to.
template <class Of>
GATEWISE_INLINE Vectors<Of> biases_of(const Of& group, const Weights& weights, int64_t panel) {
  float* const begin = const_cast<float*>(weights.bias) + (panel * group.biases + group.gate) * kLanes;
  return {begin, 0, group.biases * kLanes, (Of::kGates - Of::kApart) * kLanes};
}

// Bias and the whole input product of a group, written to (M rows, P, gates, W) `stride` floats apart.
template <class Format, int M, int P, class Of>
__attribute__((noinline)) void project_inputs(const Problem& problem, const Weights& weights, const Of& group, const float* inputs,
                                              int64_t inputs_stride, int64_t panel, Ahead ahead, float* to, int64_t stride) {
  const float* x[M];
  Vec acc[M][P * Of::kGates];
  rows_of(inputs, inputs_stride, 0, x);
  biases_of(group, weights, panel).load_into(acc);
  const int64_t features = problem.layer.features;
  Format::template multiply<P>(weights.kernel, features, group, panel, x, {0, features}, ahead, acc);
  Vectors<Of>{to + (panel * group.of + group.gate) * kLanes, stride, group.of * kLanes, (Of::kGates - Of::kApart) * kLanes}.store_from(acc);
}

// The sums of a group, for M rows from `row` on and P panels from `panel` on, which are number `place` of `found`. `depth` is a part of
// features and units, counted through; parts come in rising order, and all but the first go on with what the one before left.
template <class Format, class V, int M, int P, class Of>
__attribute__((noinline)) void add_up(const Problem& problem, const Weights& weights, const Operands& operands, const Of& group,
                                      int64_t row, int64_t panel, Depth depth, Ahead ahead, const Sums& found, int64_t place) {
  constexpr int64_t kApart = (Of::kGates - Of::kApart) * kLanes;
  const int64_t features = problem.layer.features;
  const Depth of_inputs = depth.below(features), of_states = depth.from(features);
  const float *x[M], *h[M];
  V acc[M][P * Of::kGates];
  rows_of(operands.x[group.gate], operands.x_stride, row, x);
  rows_of(operands.h[group.gate], operands.h_stride, row, h);
  const int64_t count = Of::kSums > 0 ? Of::kSums : found.count, second = Of::kSums > 0 ? Of::kGates : group.second - group.sum;
  float* const begin = found.data + (place * found.rows + row) * count * kLanes + (Of::kSums > 0 ? 0 : group.sum * kLanes);
  const Vectors<Of> sums{begin, count * kLanes, found.rows * count * kLanes, kApart};
  const Vectors<Of> recurrent{begin, sums.row, sums.panel, second * kLanes};
  Vectors<Of> from = of_states.begin > 0 ? recurrent : sums;
  if (depth.begin == (operands.input_projection ? features : 0)) {
    from = biases_of(group, weights, panel);
    if (operands.input_projection) {
      from.begin =
          const_cast<float*>(operands.input_projection) + row * operands.input_projection_stride + (panel * group.of + group.gate) * kLanes;
      from.row = operands.input_projection_stride;
      from.panel = group.of * kLanes;
    }
  }
  from.load_into(acc);
  if (of_inputs.end > of_inputs.begin) {
    Format::template multiply<P>(weights.kernel, features, group, panel, x, of_inputs, ahead, acc);
  }
  const bool reaches_states = of_states.end > 0;
  if constexpr (Of::kApart > 0) {
    if (reaches_states && of_states.begin == 0) {
      const float* bias = weights.bias + (panel * group.biases + group.second_bias) * kLanes - kApart;
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
#pragma GCC unroll 32
        for (int n = 0; n < P * Of::kGates; ++n) {
          if (!Of::apart(n)) continue;
          store(sums.at(m, n), acc[m][n]);
          acc[m][n] = load<V>(bias + (n / Of::kGates * group.biases + n % Of::kGates) * kLanes);
        }
      }
    }
  }
  if (reaches_states) {
    Format::template multiply<P>(weights.recurrent_kernel, problem.layer.units, group, panel, h, of_states, ahead, acc);
  }
  if (Of::kApart > 0 && !reaches_states) return sums.store_from(acc);
  recurrent.store_from(acc);
}

}  // namespace
}  // namespace gatewise
