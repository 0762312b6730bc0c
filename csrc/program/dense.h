// SPDX-License-Identifier: Apache-2.0
// y = x kernel + bias, frame by frame; and the product of two values.
#pragma once

#include "program/product.h"
#include "program/rows.h"

namespace gatewise {
namespace {

void dense(const Work& work, int64_t begin, int64_t end, float*) {
  const Parameters& p = *work.parameters;
  const ProductLayout layout{kLanes, 1, p.inputs, p.outputs};
  float* const y = static_cast<float*>(work.out[0].data);
  for (int64_t first = begin; first < end; first += kProductRows) {
    const int64_t rows = end - first < kProductRows ? end - first : kProductRows;
    multiply({work.in[0].floats() + first * p.inputs, p.inputs, 1, 0, p.inputs}, rows, layout, work.packed, y + first * p.outputs,
             p.outputs);
  }
}

// y[b, t] = sum over k, rising, of a[b, t, k] * c[b, k].
void matmul(const Work& work, int64_t begin, int64_t end, float*) {
  const Frames &a = work.in[0], &c = work.in[1], &out = work.out[0];
  for_frames(begin, end, out.steps, [&](int64_t frame, int64_t row, int64_t step) {
    const float *const left = a.floats() + a.frame(row, step) * a.width, *const right = c.floats() + (c.same ? 0 : row) * c.steps * c.width;
    float* const y = static_cast<float*>(out.data) + frame * out.width;
    for_vectors(out.width, [&](int64_t i, int64_t n) {
      Vec sum{};
      for (int64_t k = 0; k < a.width; ++k) sum = fma(broadcast(left[k]), load_first(right + k * c.width + i, n), sum);
      store_first(y + i, sum, n);
    });
  });
}

}  // namespace
}  // namespace gatewise
