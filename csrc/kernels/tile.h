// SPDX-License-Identifier: Apache-2.0
// The register tile: M rows times P panels of G vectors, the one inner loop of the engine.
//
// Every product of a GRU, forward and backward, is this loop. Each output element has one accumulator, to which k is added in rising order:
// the same bits come out whatever M and P are, and so whatever rows share a tile.
#pragma once

#include "simd.h"

namespace gatewise {
namespace {

// acc[m][p * G + g] += sum over k < depth of rows[m][k * kRowStep] * weights[p * panel_stride + k * kWeightStep + g * kLanes + lane]
//
// Meanwhile it brings a vector for each k into cache, `ahead` floats further on: of weights that will be needed soon.
template <int kRowStep, int kWeightStep, int M, int P, int G>
GATEWISE_INLINE void multiply_add(Vec (&acc)[M][P * G], const float* const (&rows)[M], const float* weights, int64_t panel_stride,
                                  int64_t depth, int64_t ahead = 0) {
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    if constexpr (M > 1) prefetch(weights + ahead);  // one row waits for loads already
    Vec w[P * G];
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) w[n] = load(weights + (n / G) * panel_stride + (n % G) * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec a = broadcast(rows[m][k * kRowStep]);
#pragma GCC unroll 24
      for (int n = 0; n < P * G; ++n) acc[m][n] = fma(a, w[n], acc[m][n]);
    }
    weights += kWeightStep;
  }
}

// How many panels a tile of `rows` rows and `gates` vectors a panel takes: as many as there are accumulators for, at most four, or eight
// for one row, whose multiply-adds would otherwise wait for each other.
constexpr int panels_per_tile(int rows, int gates) {
  const int p = kAccumulators / (rows * gates), most = rows == 1 ? 8 : 4;
  return p < 1 ? 1 : p > most ? most : p;
}

// What a block of rows brings into cache while it works: weights of the panels that come next, every block another part of them.
struct Ahead {
  int64_t panels;  // from a panel to the one that is brought
  int64_t block;   // the number of the block

  // Floats from a panel's weights to the part: one of `parts`, which are `part_stride` apart.
  GATEWISE_INLINE int64_t floats(int64_t panel_stride, int64_t parts, int64_t part_stride) const {
    return panels * panel_stride + block % parts * part_stride;
  }
};

// How many panels, each with `vectors` vectors of weights, are taken at a time: those in use and those on their way have to stay in the
// second-level cache together. A multiple of `tile`, and that at least.
GATEWISE_INLINE int64_t round_panels(int64_t vectors, int64_t tile) {
  constexpr int64_t kRoundBytes = int64_t{384} << 10;
  const int64_t panels = kRoundBytes / (vectors * kLanes * 4) / tile * tile;
  return panels < tile ? tile : panels;
}

// Calls f(first, last, ahead) for `round` of the panels [begin, end) at a time; `ahead` panels further on the next round begins, which
// after the last is the first again.
template <class F>
GATEWISE_INLINE void for_panel_rounds(int64_t begin, int64_t end, int64_t round, F&& f) {
  for (int64_t first = begin; first < end; first += round) {
    const bool last = first + round >= end;
    f(first, last ? end : first + round, last ? begin - first : round);
  }
}

template <int N>
struct Constant {
  static constexpr int value = N;
};

// Calls f(Constant<n>), 1 <= n <= kMost.
template <int kMost, class F>
GATEWISE_INLINE void call_with_constant(int64_t n, F&& f) {
  if constexpr (kMost > 1) {
    if (n < kMost) return call_with_constant<kMost - 1>(n, f);
  }
  f(Constant<kMost>{});
}

// Takes a tile's worth of what is left, at most kMost, and calls f(Constant<n>) on it; returns n. One more than a tile is taken as two
// halves, for a tile of one is slow.
template <int kMost, class F>
GATEWISE_INLINE int64_t with_constant(int64_t left, F&& f) {
  const int64_t n = left == kMost + 1 ? (left + 1) / 2 : left < kMost ? left : kMost;
  call_with_constant<kMost>(n, f);
  return n;
}

// Calls f(begin, Constant<rows>, block number) over 0 .. count in blocks of at most kRowTile rows, as even as can be: few rows make a slow
// tile.
template <class F>
GATEWISE_INLINE void for_row_blocks(int64_t count, F&& f) {
  const int64_t blocks = (count + kRowTile - 1) / kRowTile;
  for (int64_t b = 0, begin = 0; b < blocks; ++b) {
    const int64_t end = count * (b + 1) / blocks;
    with_constant<kRowTile>(end - begin, [&](auto rows) { f(begin, rows, b); });
    begin = end;
  }
}

}  // namespace
}  // namespace gatewise
