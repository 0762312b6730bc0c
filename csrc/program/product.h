// SPDX-License-Identifier: Apache-2.0
// Products of rows and weights in the engine's register tiles: bias, and then one product after the other in rising order.
#pragma once

#include "products/tiling.h"
#include "program/operation.h"

namespace gatewise {
namespace {

// Rows of a product that are taken together: what they are read from stays in cache while one panel after the other uses it.
constexpr int64_t kProductRows = 64;

// The rows that a product multiplies: row m is `parts` stretches of `depth` numbers, `part_stride` apart, from data + m * stride on.
struct Windows {
  const float* data;
  int64_t stride, parts, part_stride, depth;
};

// y[m][j] = bias[j] + sum over p and then k, rising, of x[m][p][k] * W[p * depth + k][j] for `rows` rows; of one group.
__attribute__((noinline)) void multiply(const Windows& x, int64_t rows, const ProductLayout& layout, const float* packed, float* y,
                                        int64_t y_stride) {
  const int64_t panel_floats = layout.panel_floats(), width = layout.outputs;
  const Product product{0, layout.panels(), width, rows, {0, layout.inputs}, 1, false};
  const auto tile = [&](auto panels, auto M, int64_t panel, int64_t row, Depth, Ahead, int64_t) {
    using V = typename decltype(panels)::Vector;
    constexpr int kRows = decltype(M)::value, kPanels = decltype(panels)::value;
    const float* const weights = packed + panel * panel_floats;
    V sum[kRows][kPanels];
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) sum[m][p] = load<V>(weights + p * panel_floats);
    }
    for (int64_t part = 0; part < x.parts; ++part) {
      const float* from[kRows];
      rows_of(x.data + part * x.part_stride, x.stride, row, from);
      multiply_add<1>(sum, from, x.depth,
                      weights_from<kLanes, V, kRows, kPanels, 1>(weights + (1 + part * x.depth) * kLanes, panel_floats));
    }
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) {
        const int64_t first = (panel + p) * kLanes, left = width - first;
        float* const to = y + (row + m) * y_stride + first;
        if constexpr (sizeof(V) == sizeof(Vec)) {
          store_first(to, sum[m][p], left < kLanes ? left : kLanes);
        } else {
          alignas(64) float whole[kLanes];
          store(whole, sum[m][p]);
          for (int64_t i = 0; i < left; ++i) to[i] = whole[i];
        }
      }
    }
  };
  for_tiles<1>(product, tile, [](int64_t, int64_t) {});
}

}  // namespace
}  // namespace gatewise
