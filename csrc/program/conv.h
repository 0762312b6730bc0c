// SPDX-License-Identifier: Apache-2.0
// Convolutions over time: y[t] = bias + sum over k and then channels, rising, of x[t * strides + k * dilation - before] kernel[k].
#pragma once

#include "program/product.h"
#include "program/window.h"

namespace gatewise {
namespace {

void conv(const Work& work, int64_t begin, int64_t end, float* scratch) {
  const Parameters& p = *work.parameters;
  const int64_t width = work.in[0].width, filters = work.out[0].width, channels = width / p.groups;
  const ProductLayout layout{kLanes, p.groups, p.inputs, p.outputs};
  const bool whole = p.groups == 1 && p.dilation == 1;  // a window is one stretch of numbers
  for_windows(work, begin, end, scratch, [&](int64_t frame, int64_t, int64_t count, const float* x, int64_t) {
    float* const y = static_cast<float*>(work.out[0].data) + frame * filters;
    for (int64_t g = 0; g < p.groups; ++g) {
      const Windows windows{x + g * channels, p.strides * width, whole ? 1 : p.size, p.dilation * width,
                            whole ? p.size * channels : channels};
      multiply(windows, count, layout, work.packed + g * layout.group_floats(), y + g * p.outputs, filters);
    }
  });
}

// Of each channel alone, with one filter: vectors are channels. `packed`: the bias, and then the kernel, (1 + size, channels).
void depthwise(const Work& work, int64_t begin, int64_t end, float* scratch) {
  const Parameters& p = *work.parameters;
  const int64_t width = work.in[0].width;
  for_windows(work, begin, end, scratch, [&](int64_t frame, int64_t, int64_t count, const float* x, int64_t) {
    float* const y = static_cast<float*>(work.out[0].data) + frame * width;
    for (int64_t t = 0; t < count; ++t) {
      for_vectors(width, [&](int64_t i, int64_t n) {
        Vec sum = load_first(work.packed + i, n);
        for (int64_t k = 0; k < p.size; ++k) {
          sum = fma(load_first(x + (t * p.strides + k * p.dilation) * width + i, n), load_first(work.packed + (1 + k) * width + i, n), sum);
        }
        store_first(y + t * width + i, sum, n);
      });
    }
  });
}

}  // namespace
}  // namespace gatewise
