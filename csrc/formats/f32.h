// SPDX-License-Identifier: Apache-2.0
// Weights in float32, as the caller has them.
#pragma once

#include "formats/format.h"

namespace gatewise {
namespace {

struct F32 {
  template <int P, class Of, class V, int M, int N>
  static GATEWISE_INLINE void multiply(const float* weights, int64_t count, const Of& group, int64_t panel, const float* const (&rows)[M],
                                       Depth depth, Ahead ahead, V (&acc)[M][N]) {
    constexpr int G = N / P, kBeside = Of::kBeside;
    const int64_t panel_stride = count * group.of * kLanes, first = group.gate - Of::kPlace;
    const float* from[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) from[m] = rows[m] + depth.begin;
    multiply_add<1>(acc, from, depth.end - depth.begin,
                    weights_from<kBeside * kLanes, V, M, P, G>(
                        weights + panel * panel_stride + (first * count + depth.begin * kBeside + Of::kPlace) * kLanes, panel_stride,
                        ahead.floats(panel_stride, kBeside, kLanes)));
  }
};

}  // namespace
}  // namespace gatewise
