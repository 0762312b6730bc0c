// SPDX-License-Identifier: Apache-2.0
// The two products of the way back: gate gradients times transposed weights, and transposed rows times gate gradients.
#pragma once

#include "tile.h"

namespace gatewise {
namespace {

// Rows of gate gradients times transposed weights: out (P, M, W) = sum over panels q, gates [first, first + count), lanes. `first_slot` is
// where the run of gate gradients begins in a slot, `run` where its gates begin among the three that the weights hold for a panel.
struct BackProduct {
  const float* gates;    // (panels, rows, 4, W), from the first row and the first gradient of the run
  int64_t panel_stride;  // floats
  const float* weights;  // (output panels, 3U, W), from the first output panel
  int64_t units;
  int64_t run, count;  // gates [run, run + count) of the three
  int64_t ahead = 0;   // floats from the weights to those that are brought into cache meanwhile
};

// Calls f(first, last, ahead) for rounds of the panels [begin, end), `gates` of whose transposed weights are in use.
template <class F>
GATEWISE_INLINE void for_back_rounds(int64_t units, int64_t begin, int64_t end, int64_t gates, F&& f) {
  for_panel_rounds(begin, end, round_panels(units * gates, panels_per_tile(kRowTile, 1)), f);
}

// Floats to what a block of M rows brings into cache meanwhile: one of the panels of a tile.
template <int M>
GATEWISE_INLINE int64_t floats_ahead(Ahead ahead, int64_t units) {
  const int64_t panel_stride = units * 3 * kLanes;
  return ahead.floats(panel_stride, panels_per_tile(M, 1), panel_stride);
}

template <int M, int P>
GATEWISE_INLINE void back_multiply_add(Vec (&acc)[M][P], const BackProduct& b) {
  const int64_t output_stride = b.units * 3 * kLanes;
  const float* rows[M];
  for (int64_t first = 0; first < b.units; first += kLanes) {
    const int64_t left = b.units - first, lanes = left < kLanes ? left : kLanes;
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) rows[m] = b.gates + first / kLanes * b.panel_stride + m * 4 * kLanes;
    const float* weights = b.weights + (first * 3 + b.run * lanes) * kLanes;
    if (lanes == kLanes) {  // the gates of a full panel follow each other without a gap
      multiply_add<1, kLanes, M, P, 1>(acc, rows, weights, output_stride, b.count * kLanes, b.ahead);
      continue;
    }
    for (int64_t g = 0; g < b.count; ++g) {
      multiply_add<1, kLanes, M, P, 1>(acc, rows, weights + g * lanes * kLanes, output_stride, lanes, b.ahead);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) rows[m] += kLanes;
    }
  }
}

// The result of a back_product: (P, M, W).
constexpr int kTileFloats = 4 * kRowTile * kLanes;

template <int M, int P>
__attribute__((noinline)) void back_product(const BackProduct& b, float* out) {
  Vec acc[M][P];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) acc[m][p] = Vec{};
  }
  back_multiply_add<M, P>(acc, b);
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) store(out + (p * M + m) * kLanes, acc[m][p]);
  }
}

// Rows of an outer product are neighbouring lanes of one panel.
constexpr int kOuterRows = kRowTile < kLanes ? kRowTile : kLanes;

// sums (P panels, rows, 3, W) += transposed rows (slots, W) from a lane on, times gate gradients (P panels, slots, 4, W), for G gates.
template <int P, int G>
__attribute__((noinline)) void outer_product(const float* lanes_of_rows, const float* gates, int64_t gates_stride, int64_t slots,
                                             float* sums, int64_t sums_stride) {
  const float* rows[kOuterRows];
  Vec acc[kOuterRows][P * G];
#pragma GCC unroll 8
  for (int m = 0; m < kOuterRows; ++m) {
    rows[m] = lanes_of_rows + m;
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) {
      const float* sum = sums + n / G * sums_stride + (m * 3 + n % G) * kLanes;
      acc[m][n] = load(sum);
      prefetch(sum + kOuterRows * 3 * kLanes);  // for the next rows (U = 1024: a tenth of a training step)
    }
  }
  multiply_add<kLanes, 4 * kLanes, kOuterRows, P, G>(acc, rows, gates, gates_stride, slots);
#pragma GCC unroll 8
  for (int m = 0; m < kOuterRows; ++m) {
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) store(sums + n / G * sums_stride + (m * 3 + n % G) * kLanes, acc[m][n]);
  }
}

}  // namespace
}  // namespace gatewise
