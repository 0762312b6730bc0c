// SPDX-License-Identifier: Apache-2.0
#include "pack.h"

#include <string.h>

namespace gatewise {
namespace {

int64_t panels_of(int64_t units, int64_t lanes) { return (units + lanes - 1) / lanes; }

int64_t lanes_of(int64_t panel, int64_t units, int64_t lanes) {
  const int64_t left = units - panel * lanes;
  return left < lanes ? left : lanes;
}

void copy_padded(const float* from, int64_t n, int64_t lanes, float* to) {
  memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
  for (int64_t i = n; i < lanes; ++i) to[i] = 0.0f;
}

}  // namespace

int64_t panel_floats(int64_t rows, int64_t units, int64_t lanes) { return panels_of(units, lanes) * rows * 3 * lanes; }

void pack_kernel_panel(const float* kernel, int64_t panel, int64_t rows, int64_t units, int64_t lanes, float* to) {
  const int64_t width = lanes_of(panel, units, lanes);
  to += panel * rows * 3 * lanes;
  for (int64_t k = 0; k < rows; ++k) {
    for (int64_t gate = 0; gate < 3; ++gate, to += lanes) copy_padded(kernel + (k * 3 + gate) * units + panel * lanes, width, lanes, to);
  }
}

void pack_bias(const float* bias, bool reset_after, int64_t units, int64_t lanes, float* to) {
  const int64_t panels = panels_of(units, lanes);
  memset(to, 0, static_cast<size_t>(panels * 4 * lanes) * sizeof(float));
  if (!bias) return;
  for (int64_t u = 0; u < units; ++u) {
    float* lane = to + u / lanes * 4 * lanes + u % lanes;
    for (int64_t gate = 0; gate < 3; ++gate) lane[gate * lanes] = bias[gate * units + u];
    if (!reset_after) continue;
    const float* recurrent = bias + 3 * units;
    for (int64_t gate = 0; gate < 2; ++gate) lane[gate * lanes] += recurrent[gate * units + u];
    lane[3 * lanes] = recurrent[2 * units + u];
  }
}

int64_t transposed_floats(int64_t rows, int64_t units, int64_t lanes) { return panels_of(rows, lanes) * 3 * units * lanes; }

void pack_transposed_panel(const float* kernel, int64_t panel, int64_t rows, int64_t units, int64_t lanes, const int gate_order[3],
                           float* to) {
  const int64_t first = panel * lanes, n = lanes_of(panel, rows, lanes);
  to += panel * 3 * units * lanes;
  for (int64_t p = 0; p < panels_of(units, lanes); ++p) {
    const int64_t width = lanes_of(p, units, lanes);
    for (int g = 0; g < 3; ++g, to += width * lanes) {
      const float* from = kernel + first * 3 * units + gate_order[g] * units + p * lanes;
      for (int64_t j = 0; j < width; ++j) {
        for (int64_t i = 0; i < n; ++i) to[j * lanes + i] = from[i * 3 * units + j];
        for (int64_t i = n; i < lanes; ++i) to[j * lanes + i] = 0.0f;
      }
    }
  }
}

void unpack_kernel_panel(const float* partial, int64_t copies, int64_t stride, int64_t panel, int64_t rows, int64_t units, int64_t lanes,
                         const int gate_order[3], float* kernel) {
  const int64_t width = lanes_of(panel, units, lanes);
  const float* from = partial + panel * round_up(rows, kPartialRows) * 3 * lanes;
  for (int64_t k = 0; k < rows; ++k) {
    for (int g = 0; g < 3; ++g, from += lanes) {
      float* to = kernel + (k * 3 + gate_order[g]) * units + panel * lanes;
      memcpy(to, from, static_cast<size_t>(width) * sizeof(float));
      for (int64_t copy = 1; copy < copies; ++copy) {
        for (int64_t i = 0; i < width; ++i) to[i] += from[copy * stride + i];
      }
    }
  }
}

void unpack_bias_panel(const float* partial, int64_t copies, int64_t stride, int64_t panel, bool reset_after, int64_t units, int64_t lanes,
                       float* bias) {
  const float* from = partial + panel * 4 * lanes;
  for (int64_t i = 0; i < lanes_of(panel, units, lanes); ++i) {
    float sum[4];
    for (int64_t g = 0; g < 4; ++g) {
      sum[g] = from[g * lanes + i];
      for (int64_t copy = 1; copy < copies; ++copy) sum[g] += from[copy * stride + g * lanes + i];
    }
    const int64_t u = panel * lanes + i;
    const float dq = sum[0], dz = sum[1], dr = sum[2], dh = sum[3];
    bias[u] = dz;
    bias[units + u] = dr;
    bias[2 * units + u] = dh;
    if (!reset_after) continue;
    bias[3 * units + u] = dz;
    bias[4 * units + u] = dr;
    bias[5 * units + u] = dq;
  }
}

}  // namespace gatewise
