// SPDX-License-Identifier: Apache-2.0
// The products of the backward pass with the weights: gradients of sums times transposed weights.
#pragma once

#include "products/tiling.h"

namespace gatewise {
namespace {

// Gradients that stand in panels, times transposed weights: the sum over panels, columns [run, run + count) of all that the weights hold
// for a panel, and lanes. Its depth is counted in panels.
struct PanelProduct {
  const float* gradients;            // (panels, rows, gradients, W), from the first row and the first gradient of the run
  int64_t panel_stride, row_stride;  // floats
  const float* weights;              // (output panels, columns * U, W)
  int64_t units;
  int64_t columns, run, count;  // blocks of columns: of the weights; of the product, the first and how many

  int64_t output_stride() const { return units * columns * kLanes; }
  int64_t panels() const { return (units + kLanes - 1) / kLanes; }

  // For all output panels, which hold `width` numbers.
  Product product(int64_t rows, int64_t width, bool exceeds_l2) const {
    return {0, (width + kLanes - 1) / kLanes, width, rows, {0, panels()}, count * kLanes, exceeds_l2};
  }

  template <class V, int M, int P>
  GATEWISE_INLINE void multiply(V (&acc)[M][P], int64_t row, int64_t panel, Depth depth, int64_t ahead) const {
    const float* rows[M];
    for (int64_t q = depth.begin; q < depth.end; ++q) {
      const int64_t first = q * kLanes, left = units - first, lanes = left < kLanes ? left : kLanes;
      rows_of(gradients + q * panel_stride, row_stride, row, rows);
      const float* from = weights + panel * output_stride() + (first * columns + run * lanes) * kLanes;
      const auto of = [&](const float* w) { return weights_from<kLanes, V, M, P, 1>(w, output_stride(), ahead); };
      if (lanes == kLanes) {  // the columns of a full panel follow each other without a gap
        multiply_add<1>(acc, rows, count * kLanes, of(from));
        continue;
      }
      for (int64_t g = 0; g < count; ++g) {
        multiply_add<1>(acc, rows, lanes, of(from + g * lanes * kLanes));
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) rows[m] += kLanes;
      }
    }
  }
};

// Gradients that stand side by side in rows, times transposed weights: those of some blocks of columns.
struct RowProduct {
  const float* gradients;  // (rows, ...), from the first of the run
  int64_t stride;          // floats between rows
  const float* weights;    // (P, columns * U, W), from the first of the run
  int64_t units;
  int64_t columns, count;  // blocks of columns: of the weights; of the product

  int64_t output_stride() const { return units * columns * kLanes; }

  // For the output panels [first, last).
  Product product(int64_t rows, int64_t first, int64_t last, bool exceeds_l2) const {
    return {first, last, units, rows, {0, count * units}, 1, exceeds_l2};
  }

  template <class V, int M, int P>
  GATEWISE_INLINE void multiply(V (&acc)[M][P], int64_t row, int64_t panel, Depth depth, int64_t ahead) const {
    const float* rows[M];
    rows_of(gradients + depth.begin, stride, row, rows);
    multiply_add<1>(acc, rows, depth.end - depth.begin,
                    weights_from<kLanes, V, M, P, 1>(weights + panel * output_stride() + depth.begin * kLanes, output_stride(), ahead));
  }
};

// A part of a PanelProduct or RowProduct for M rows from `row` on and P panels from `panel` on. `sum` is that of the first row and panel,
// panels `sum_stride` floats apart.
template <class V, int M, int P, class Back>
__attribute__((noinline)) void back_product(const Back& b, int64_t row, int64_t panel, Depth depth, Ahead ahead, float* sum,
                                            int64_t sum_stride) {
  V acc[M][P];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) acc[m][p] = depth.begin == 0 ? V{} : load<V>(sum + p * sum_stride + m * kLanes);
  }
  b.multiply(acc, row, panel, depth, ahead.floats(b.output_stride(), panels_per_tile(M, 1), b.output_stride()));
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) store(sum + p * sum_stride + m * kLanes, acc[m][p]);
  }
}

// Calls done(first panel, end) for a run of panels whose sums, (panels, rows, W), are complete.
template <class Back, class Done>
GATEWISE_INLINE void for_back_product_runs(const Back& b, const Product& product, float* sums, Done&& done) {
  const int64_t stride = product.rows * kLanes;
  for_tiles<1>(
      product,
      [&](auto P, auto M, int64_t panel, int64_t row, Depth depth, Ahead ahead, int64_t place) {
        back_product<typename decltype(P)::Vector, M.value, P.value>(b, row, panel, depth, ahead, sums + place * stride + row * kLanes,
                                                                     stride);
      },
      done);
}

// Calls each(panel, row, sum) for every sum of a product.
template <class Back, class Each>
GATEWISE_INLINE void for_back_product(const Back& b, const Product& product, float* sums, Each&& each) {
  for_back_product_runs(b, product, sums, [&](int64_t first, int64_t end) {
    const float* sum = sums;
    for (int64_t p = first; p < end; ++p) {
      for (int64_t m = 0; m < product.rows; ++m, sum += kLanes) each(p, m, load(sum));
    }
  });
}

}  // namespace
}  // namespace gatewise
