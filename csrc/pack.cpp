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

// Four numbers at once, on every CPU.
typedef float Four __attribute__((vector_size(16)));
typedef float UnalignedFour __attribute__((vector_size(16), aligned(4), may_alias));

Four load_four(const float* p) { return *reinterpret_cast<const UnalignedFour*>(p); }

// The columns of the square whose four rows are `stride` floats apart.
void load_columns(const float* p, int64_t stride, Four (&columns)[4]) {
  const Four a = load_four(p), b = load_four(p + stride), c = load_four(p + 2 * stride), d = load_four(p + 3 * stride);
  const Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Four ab_last = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd_last = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  columns[0] = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
  columns[1] = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
  columns[2] = __builtin_shufflevector(ab_last, cd_last, 0, 1, 4, 5);
  columns[3] = __builtin_shufflevector(ab_last, cd_last, 2, 3, 6, 7);
}

struct Write {
  void operator()(float* to, float x) const { *to = x; }
  void operator()(float* to, Four x) const { *reinterpret_cast<UnalignedFour*>(to) = x; }
};
struct Add {
  void operator()(float* to, float x) const { *to += x; }
  void operator()(float* to, Four x) const { *reinterpret_cast<UnalignedFour*>(to) += x; }
};

// From a number to the one below it, and to the one beside it, in floats. One of the two is 1.
struct Strides {
  int64_t down, along;
};

// Puts a table of numbers where they stand in another way: four at once or, where rows become columns, four times four; numbers stand side
// by side along the rows before or after. (Packing on one thread: 0.3 to 0.65 of the time of number after number, in PyTorch's layout 0.15
// to 0.4.)
template <class Put>
void move_table(int64_t rows, int64_t columns, const float* from, Strides of, float* to, Strides at, Put put) {
  const auto move_rest = [&](int64_t row, int64_t end, int64_t column) {
    for (; row < end; ++row) {
      for (int64_t i = column; i < columns; ++i) put(to + row * at.down + i * at.along, from[row * of.down + i * of.along]);
    }
  };
  const int64_t whole = columns / 4 * 4;
  if (of.along == 1 && at.along == 1) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < whole; i += 4) put(to + row * at.down + i, load_four(from + row * of.down + i));
    }
    return move_rest(0, rows, whole);
  }
  const int64_t from_next = of.along == 1 ? of.down : of.along, to_next = at.along == 1 ? at.down : at.along;
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    for (int64_t i = 0; i < whole; i += 4) {
      Four turned[4];
      load_columns(from + row * of.down + i * of.along, from_next, turned);
      for (int n = 0; n < 4; ++n) put(to + row * at.down + i * at.along + n * to_next, turned[n]);
    }
    move_rest(row, row + 4, whole);
  }
  move_rest(row, rows, 0);
}

// Writes rows of `lanes` numbers, `stride` floats apart: `width` from a table, and zeros.
void pack_rows(int64_t rows, int64_t width, const float* from, Strides of, int64_t lanes, float* to, int64_t stride) {
  move_table(rows, width, from, of, to, {stride, 1}, Write());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = width; i < lanes; ++i) to[row * stride + i] = 0.0f;
  }
}

}  // namespace

int threads_for_weights(int64_t floats) {
  constexpr int64_t kMany = 1 << 17;  // 15 us
  return floats < kMany ? 1 : threads();
}

int64_t panel_floats(int64_t rows, int64_t units, int64_t lanes) { return panels_of(units, lanes) * rows * 3 * lanes; }

void pack_kernel_panel(const gatewise_gru_spec& spec, const float* kernel, int64_t panel, int64_t rows, int64_t lanes, bool gates_apart,
                       float* to) {
  const Layout layout(spec, rows);
  const int64_t width = lanes_of(panel, spec.units, lanes);
  kernel += panel * lanes * layout.unit;
  to += panel * rows * 3 * lanes;
  for (int64_t g = 0; g < 3; ++g) {
    const bool apart = candidate_apart(lanes) && (g == 2 || gates_apart);
    const int64_t stride = apart ? lanes : candidate_apart(lanes) ? 2 * lanes : 3 * lanes;
    const Strides of{layout.row, layout.unit};
    pack_rows(rows, width, kernel + layout.gate[g], of, lanes, to + (apart ? rows : 1) * g * lanes, stride);
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
      const int64_t units = lanes_of(p, spec.units, lanes);
      for (int g = run; g < run_end[run]; ++g, to += units * lanes) {
        const float* from = kernel + layout.gate[gate_order[g]] + p * lanes * layout.unit;
        pack_rows(units, width, from, {layout.unit, layout.row}, lanes, to, lanes);
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
  const Strides of{3 * lanes, 1}, at{layout.row, layout.unit};
  for (int g = 0; g < 3; ++g, from += lanes) {
    float* const to = kernel + layout.gate[gate_order[g]];
    if (first) {
      move_table(rows, width, from, of, to, at, Write());
    } else {
      move_table(rows, width, from, of, to, at, Add());
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
