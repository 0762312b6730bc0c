// SPDX-License-Identifier: Apache-2.0
// The products of the way back: gate gradients times transposed weights (see flow.h, too), and transposed rows times gate gradients.
#pragma once

#include "tile.h"

namespace gatewise {
namespace {

// A chunk's gate gradients times the input weights, transposed: the sum over panels, gates [run, run + count) of the three that the weights
// hold for a panel, and lanes. Its depth is counted in panels.
struct BackProduct {
  const float* gates;    // (panels, rows, 4, W), from the first row and the first gradient of the run
  int64_t panel_stride;  // floats
  const float* weights;  // (output panels, 3U, W)
  int64_t units;
  int64_t run, count;

  int64_t output_stride() const { return units * 3 * kLanes; }
  int64_t panels() const { return (units + kLanes - 1) / kLanes; }

  // For all output panels, which hold `width` numbers.
  Product product(int64_t rows, int64_t width, bool far_weights) const {
    return {0, (width + kLanes - 1) / kLanes, width, rows, {0, panels()}, count * kLanes, far_weights};
  }

  template <class V, int M, int P>
  GATEWISE_INLINE void multiply(V (&acc)[M][P], int64_t row, int64_t panel, Depth depth, int64_t ahead) const {
    const float* rows[M];
    for (int64_t q = depth.begin; q < depth.end; ++q) {
      const int64_t first = q * kLanes, left = units - first, lanes = left < kLanes ? left : kLanes;
      rows_of(gates + q * panel_stride, 4 * kLanes, row, rows);
      const float* from = weights + panel * output_stride() + (first * 3 + run * lanes) * kLanes;
      const auto of = [&](const float* w) { return weights_from<kLanes, V, M, P, 1>(w, output_stride(), ahead); };
      if (lanes == kLanes) {  // the gates of a full panel follow each other without a gap
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

// A part of a BackProduct or FlowProduct for M rows from `row` on and P panels from `panel` on. `sum` is that of the first row and panel,
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

// Rows of an outer product are neighbouring lanes of one panel.
constexpr int kOuterRows = kRowTile < kLanes ? kRowTile : kLanes;

// sums (P panels, rows, 3, W) += transposed rows (slots, W) from a lane on, times gate gradients (P panels, slots, 4, W), for G gates.
template <class V, int P, int G>
__attribute__((noinline)) void outer_product(const float* lanes_of_rows, const float* gates, int64_t gates_stride, int64_t slots,
                                             float* sums, int64_t sums_stride) {
  const float* rows[kOuterRows];
  V acc[kOuterRows][P * G];
#pragma GCC unroll 8
  for (int m = 0; m < kOuterRows; ++m) {
    rows[m] = lanes_of_rows + m;
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) {
      const float* sum = sums + n / G * sums_stride + (m * 3 + n % G) * kLanes;
      acc[m][n] = load<V>(sum);
      prefetch(sum + kOuterRows * 3 * kLanes);  // for the next rows (U = 1024: a tenth of a training step)
    }
  }
  multiply_add<kLanes>(acc, rows, slots, weights_from<4 * kLanes, V, kOuterRows, P, G>(gates, gates_stride));
#pragma GCC unroll 8
  for (int m = 0; m < kOuterRows; ++m) {
#pragma GCC unroll 24
    for (int n = 0; n < P * G; ++n) store(sums + n / G * sums_stride + (m * 3 + n % G) * kLanes, acc[m][n]);
  }
}

}  // namespace
}  // namespace gatewise
