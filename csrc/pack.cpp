// SPDX-License-Identifier: Apache-2.0
#include "pack.h"

#include <string.h>

#include "cpus.h"

namespace gatewise {
namespace {

int64_t panels_of(int64_t units, int64_t lanes) { return (units + lanes - 1) / lanes; }

int64_t lanes_of(int64_t panel, int64_t units, int64_t lanes) {
  const int64_t left = units - panel * lanes;
  return left < lanes ? left : lanes;
}

// Where the weights of a kernel with so many rows stand; with one row, those of a bias.
struct Layout {
  int64_t gate[3];    // floats to the gates z r h
  int64_t row, unit;  // floats from one to the next

  Layout(const gatewise_gru_spec& spec, int64_t rows) : gate{0, spec.units, 2 * spec.units}, row(3 * spec.units), unit(1) {
    if (!spec.torch_layout) return;
    gate[0] = rows * spec.units;
    gate[1] = 0;
    gate[2] = 2 * rows * spec.units;
    row = 1;
    unit = rows;
  }
};

void copy_padded(const float* from, int64_t stride, int64_t n, int64_t lanes, float* to) {
  if (stride == 1) {
    memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
  }
  for (int64_t i = n; i < lanes; ++i) to[i] = 0.0f;
}

// Numbers that stand side by side to places `stride` apart.
void copy_apart(const float* from, int64_t n, int64_t stride, float* to) {
  if (stride == 1) {
    memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * stride] = from[i];
  }
}

void add_apart(const float* from, int64_t n, int64_t stride, float* to) {
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] += from[i];
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * stride] += from[i];
  }
}

}  // namespace

int threads_for_weights(int64_t floats) {
  constexpr int64_t kMany = 1 << 17;  // 75 us
  return floats < kMany ? 1 : threads();
}

int64_t panel_floats(int64_t rows, int64_t units, int64_t lanes) { return panels_of(units, lanes) * rows * 3 * lanes; }

void pack_kernel_panel(const gatewise_gru_spec& spec, const float* kernel, int64_t panel, int64_t rows, int64_t lanes, bool gates_apart,
                       float* to) {
  const Layout layout(spec, rows);
  const int64_t width = lanes_of(panel, spec.units, lanes);
  kernel += panel * lanes * layout.unit;
  to += panel * rows * 3 * lanes;
  for (int64_t k = 0; k < rows; ++k) {
    for (int64_t g = 0; g < 3; ++g) {
      const int64_t apart = g == 2 || gates_apart ? rows * g + k : k * 2 + g;
      float* const at = to + (candidate_apart(lanes) ? apart : k * 3 + g) * lanes;
      copy_padded(kernel + layout.gate[g] + k * layout.row, layout.unit, width, lanes, at);
    }
  }
}

void pack_bias(const gatewise_gru_spec& spec, const gatewise_gru_inputs& in, int64_t lanes, float* to) {
  memset(to, 0, static_cast<size_t>(panels_of(spec.units, lanes) * 4 * lanes) * sizeof(float));
  if (!in.bias) return;
  const Layout layout(spec, 1);
  const float* const recurrent = spec.torch_layout ? in.recurrent_bias : in.bias + 3 * spec.units;
  for (int64_t u = 0; u < spec.units; ++u) {
    float* lane = to + u / lanes * 4 * lanes + u % lanes;
    for (int64_t g = 0; g < 3; ++g) lane[g * lanes] = in.bias[layout.gate[g] + u];
    if (!spec.reset_after) continue;
    for (int64_t g = 0; g < 2; ++g) lane[g * lanes] += recurrent[layout.gate[g] + u];
    lane[3 * lanes] = recurrent[layout.gate[2] + u];
  }
}

int64_t transposed_floats(int64_t rows, int64_t units, int64_t lanes) { return panels_of(rows, lanes) * 3 * units * lanes; }

void pack_transposed_panel(const gatewise_gru_spec& spec, const float* kernel, int64_t panel, int64_t rows, int64_t lanes,
                           const int gate_order[3], const int run_end[3], float* to) {
  const Layout layout(spec, rows);
  const int64_t width = lanes_of(panel, rows, lanes);
  kernel += panel * lanes * layout.row;
  to += panel * 3 * spec.units * lanes;
  for (int run = 0; run < 3; run = run_end[run]) {
    for (int64_t p = 0; p < panels_of(spec.units, lanes); ++p) {
      for (int g = run; g < run_end[run]; ++g) {
        const float* from = kernel + layout.gate[gate_order[g]] + p * lanes * layout.unit;
        for (int64_t j = 0; j < lanes_of(p, spec.units, lanes); ++j, to += lanes) {
          copy_padded(from + j * layout.unit, layout.row, width, lanes, to);
        }
      }
    }
  }
}

void add_kernel_panel(const gatewise_gru_spec& spec, const float* copy, int64_t panel, int64_t rows, int64_t lanes, const int gate_order[3],
                      bool first, float* kernel) {
  const Layout layout(spec, rows);
  const int64_t width = lanes_of(panel, spec.units, lanes);
  const float* from = copy + panel * round_up(rows, kPartialRows) * 3 * lanes;
  kernel += panel * lanes * layout.unit;
  for (int64_t k = 0; k < rows; ++k) {
    for (int g = 0; g < 3; ++g, from += lanes) {
      float* to = kernel + layout.gate[gate_order[g]] + k * layout.row;
      if (first)
        copy_apart(from, width, layout.unit, to);
      else
        add_apart(from, width, layout.unit, to);
    }
  }
}

void add_bias_panel(const gatewise_gru_spec& spec, const float* copy, int64_t panel, int64_t lanes, bool first,
                    const gatewise_gru_gradients& out) {
  const Layout layout(spec, 1);
  const float* const from = copy + panel * 4 * lanes;
  float* const recurrent = spec.torch_layout ? out.recurrent_bias : out.bias + 3 * spec.units;
  const auto add = [first](float& to, float gradient) { to = first ? gradient : to + gradient; };
  for (int64_t i = 0; i < lanes_of(panel, spec.units, lanes); ++i) {
    const float dq = from[i], gates[3] = {from[lanes + i], from[2 * lanes + i], from[3 * lanes + i]};
    for (int g = 0; g < 3; ++g) {
      const int64_t u = layout.gate[g] + panel * lanes + i;
      add(out.bias[u], gates[g]);
      if (spec.reset_after) add(recurrent[u], g == 2 ? dq : gates[g]);
    }
  }
}

}  // namespace gatewise
