// SPDX-License-Identifier: Apache-2.0
// The products that weight gradients are the sums of: transposed rows times gradients of sums.
#pragma once

#include "products/tiling.h"

namespace gatewise {
namespace {

// Rows of an outer product are neighbouring lanes of one panel.
constexpr int kOuterRows = kRowTile < kLanes ? kRowTile : kLanes;

// What an outer product adds up: rows transposed times G columns of gradients, from the first panel and column on. Strides in floats.
struct OuterProduct {
  const float* gradients;  // (panels, entries, gradients, W)
  int64_t panel_stride, entry_stride, entries;
  float* sums;  // (panels, rows, columns, W)
  int64_t sums_panel_stride, sums_row_stride;
};

// For kOuterRows rows from number `row` on: those of `lanes_of_rows`, (entries, W), from a lane on.
template <class V, int P, int G>
__attribute__((noinline)) void outer_product(const OuterProduct& of, const float* lanes_of_rows, int64_t row) {
  float* const sums = of.sums + row * of.sums_row_stride;
  const float* rows[kOuterRows];
  V acc[kOuterRows][P * G];
#pragma GCC unroll 8
  for (int m = 0; m < kOuterRows; ++m) {
    rows[m] = lanes_of_rows + m;
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) {
      const float* sum = sums + n / G * of.sums_panel_stride + m * of.sums_row_stride + n % G * kLanes;
      acc[m][n] = load<V>(sum);
      prefetch(sum + kOuterRows * of.sums_row_stride);  // for the next rows (U = 1024: a tenth of a training step)
    }
  }
  auto gradients = [from = of.gradients, panel = of.panel_stride, entry = of.entry_stride](V(&w)[P* G]) mutable {
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) w[n] = load<V>(from + n / G * panel + n % G * kLanes);
    from += entry;
  };
  multiply_add<kLanes>(acc, rows, of.entries, gradients);
#pragma GCC unroll 8
  for (int m = 0; m < kOuterRows; ++m) {
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) store(sums + n / G * of.sums_panel_stride + m * of.sums_row_stride + n % G * kLanes, acc[m][n]);
  }
}

}  // namespace
}  // namespace gatewise
