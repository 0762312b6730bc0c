// SPDX-License-Identifier: Apache-2.0
#include "formats/pack.h"

#include <string.h>

#include "threads/cpus.h"
#include "threads/pool.h"

namespace gatewise {
namespace {

int64_t panels_of(int64_t units, int64_t lanes) { return (units + lanes - 1) / lanes; }

int64_t lanes_of(int64_t panel, int64_t units, int64_t lanes) {
  const int64_t left = units - panel * lanes;
  return left < lanes ? left : lanes;
}

// Where the weights of a kernel with so many rows stand; with one row, those of a bias.
struct Layout {
  int64_t gate[kMaxGates];  // floats to each gate
  int64_t row, unit;        // floats from one to the next

  Layout(const CellInfo& cell, const gatewise_layer& layer, int64_t rows)
      : row(layer.torch_layout ? 1 : cell.gates * layer.units), unit(layer.torch_layout ? rows : 1) {
    for (int g = 0; g < cell.gates; ++g) gate[g] = (layer.torch_layout ? cell.torch_place[g] * rows : g) * layer.units;
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

// One panel of a kernel; see format.h. Padding lanes are zero.
void pack_kernel_panel(const CellInfo& cell, const gatewise_layer& layer, const float* kernel, int64_t panel, int64_t rows, int64_t lanes,
                       bool gates_apart, float* to) {
  const Layout layout(cell, layer, rows);
  const int64_t width = lanes_of(panel, layer.units, lanes);
  kernel += panel * lanes * layout.unit;
  to += panel * rows * cell.gates * lanes;
  for (int g = 0; g < cell.gates; ++g) {
    const Round& round = cell.round[cell.round_of(g)];
    const int first = gates_apart ? g : round.first, gates = gates_apart ? 1 : round.gates;
    pack_rows(rows, width, kernel + layout.gate[g], {layout.row, layout.unit}, lanes, to + (first * rows + g - first) * lanes,
              gates * lanes);
  }
}

// The biases -> (P, sums, W).
void pack_bias(const CellInfo& cell, const gatewise_layer& layer, const gatewise_inputs& in, int64_t lanes, float* to) {
  memset(to, 0, static_cast<size_t>(panels_of(layer.units, lanes) * cell.sums() * lanes) * sizeof(float));
  if (!in.bias || cell.normals > 0) return;
  const Layout layout(cell, layer, 1);
  const float* const both = cell.recurrent_bias ? in.bias + cell.gates * layer.units : nullptr;
  const float* const recurrent = layer.torch_layout ? in.recurrent_bias : both;
  for (int64_t u = 0; u < layer.units; ++u) {
    float* lane = to + u / lanes * cell.sums() * lanes + u % lanes;
    for (int g = 0; g < cell.gates; ++g) lane[g * lanes] = in.bias[layout.gate[g] + u];
    if (!recurrent) continue;
    for (int g = 0; g < cell.gates; ++g) {
      const float gate = recurrent[layout.gate[g] + u];
      const int sum = cell.recurrent_sum(g);
      lane[sum * lanes] = sum == g ? lane[g * lanes] + gate : gate;
    }
  }
}

// The parameters of a cell that normalises, in runs: where a run stands among them, how many, and where it is among the caller's arrays.
template <class Arrays, class Each>
void for_parameters(const CellInfo& cell, const Arrays& of, Each&& each) {
  each(0, cell.gates, of.gain);
  each(cell.gates, cell.gates, of.recurrent_gain);
  each(cell.normals, cell.gates, of.bias);
  if (!cell.normalises_state()) return;
  each(cell.normals - 1, 1, of.state_gain);
  each(cell.parameters() - 1, 1, of.state_bias);
}

// (P, parameters, W), and epsilon. Gains that are not given are ones, and biases zeros; what pads a panel is zero.
void pack_parameters(const CellInfo& cell, const gatewise_layer& layer, const gatewise_inputs& in, int64_t lanes, float* to) {
  if (cell.normals == 0) return;
  const int64_t panels = panels_of(layer.units, lanes), panel_floats = cell.parameters() * lanes;
  memset(to, 0, static_cast<size_t>(panels * panel_floats) * sizeof(float));
  const Layout layout(cell, layer, 1);
  for_parameters(cell, in, [&](int64_t place, int count, const float* from) {
    for (int64_t u = 0; u < layer.units; ++u) {
      float* const lane = to + u / lanes * panel_floats + place * lanes + u % lanes;
      for (int g = 0; g < count; ++g)
        lane[g * lanes] = from ? from[(count > 1 ? layout.gate[g] : 0) + u] : place < cell.normals ? 1.0f : 0.0f;
    }
  });
  to[panels * panel_floats] = in.epsilon ? *in.epsilon : 1e-3f;
}

int64_t parameter_floats(const CellInfo& cell, int64_t padded_units) {
  return cell.normals > 0 ? padded_units * cell.parameters() + 16 : 0;
}

// One panel of a kernel -> (ceil(rows / W), gates * U, W): transposed, its rows in the order run, panel, gate, lane, gates in the order
// given; run(i) is the run that the i-th is in.
template <class RunOf>
void pack_transposed_panel(const CellInfo& cell, const gatewise_layer& layer, const float* kernel, int64_t panel, int64_t rows,
                           int64_t lanes, const int order[], RunOf&& run_of_place, float* to) {
  const Layout layout(cell, layer, rows);
  const int64_t width = lanes_of(panel, rows, lanes);
  kernel += panel * lanes * layout.row;
  to += panel * cell.gates * layer.units * lanes;
  for (int begin = 0; begin < cell.gates;) {
    const Run run = run_of_place(begin);
    for (int64_t p = 0; p < panels_of(layer.units, lanes); ++p) {
      const int64_t units = lanes_of(p, layer.units, lanes);
      for (int g = run.begin; g < run.end; ++g, to += units * lanes) {
        const float* from = kernel + layout.gate[order[g]] + p * lanes * layout.unit;
        pack_rows(units, width, from, {layout.unit, layout.row}, lanes, to, lanes);
      }
    }
    begin = run.end;
  }
}

}  // namespace

int threads_for_weights(int64_t floats) {
  constexpr int64_t kMany = 1 << 17;  // 15 us
  return floats < kMany ? 1 : threads();
}

PackedWeights::PackedWeights(const CellInfo& cell, const gatewise_layer& layer, int64_t lanes) {
  const int64_t units = round_up(layer.units, lanes);
  recurrent = units * cell.gates * layer.features;
  bias = recurrent + units * cell.gates * layer.units;
  parameters = bias + units * cell.sums();
  floats = parameters + parameter_floats(cell, units);
}

void pack_weights(const CellInfo& cell, const gatewise_layer& layer, const gatewise_inputs& in, int64_t lanes, bool gates_apart,
                  float* to) {
  const PackedWeights packed(cell, layer, lanes);
  parallel_for(panels_of(layer.units, lanes), threads_for_weights(packed.floats), [&](int64_t panel) {
    pack_kernel_panel(cell, layer, in.kernel, panel, layer.features, lanes, gates_apart, to);
    pack_kernel_panel(cell, layer, in.recurrent_kernel, panel, layer.units, lanes, gates_apart, to + packed.recurrent);
  });
  pack_bias(cell, layer, in, lanes, to + packed.bias);
  pack_parameters(cell, layer, in, lanes, to + packed.parameters);
}

TransposedWeights::TransposedWeights(const CellInfo& cell, const gatewise_layer& layer, int64_t lanes)
    : recurrent(round_up(layer.features, lanes) * cell.gates * layer.units),
      parameters(recurrent + round_up(layer.units, lanes) * cell.gates * layer.units),
      floats(parameters + parameter_floats(cell, round_up(layer.units, lanes))) {}

void pack_transposed(const CellInfo& cell, const gatewise_layer& layer, const gatewise_inputs& in, int64_t lanes, float* to) {
  const TransposedWeights packed(cell, layer, lanes);
  const int64_t panels = panels_of(layer.units, lanes);
  const auto one_run = [&](int) { return Run{0, cell.gates}; };
  const auto run = [&](int place) { return run_of(cell, in.recurrent_dropout, place); };
  parallel_for(panels + panels_of(layer.features, lanes), threads_for_weights(packed.floats), [&](int64_t i) {
    if (i < panels) {
      pack_transposed_panel(cell, layer, in.recurrent_kernel, i, layer.units, lanes, cell.recurrent_order, run, to + packed.recurrent);
    } else {
      pack_transposed_panel(cell, layer, in.kernel, i - panels, layer.features, lanes, cell.input_order, one_run, to);
    }
  });
  pack_parameters(cell, layer, in, lanes, to + packed.parameters);
}

void add_kernel_panel(const CellInfo& cell, const gatewise_layer& layer, const float* copy, int64_t panel, int64_t rows, int64_t lanes,
                      const int order[], bool first, float* kernel) {
  const Layout layout(cell, layer, rows);
  const int64_t width = lanes_of(panel, layer.units, lanes);
  const float* from = copy + panel * round_up(rows, kPartialRows) * cell.gates * lanes;
  kernel += panel * lanes * layout.unit;
  const Strides of{cell.gates * lanes, 1}, at{layout.row, layout.unit};
  for (int g = 0; g < cell.gates; ++g, from += lanes) {
    float* const to = kernel + layout.gate[order[g]];
    if (first) {
      move_table(rows, width, from, of, to, at, Write());
    } else {
      move_table(rows, width, from, of, to, at, Add());
    }
  }
}

void add_bias_panel(const CellInfo& cell, const gatewise_layer& layer, const float* copy, int64_t panel, int64_t lanes, bool first,
                    const gatewise_gradients& out) {
  const Layout layout(cell, layer, 1);
  if (cell.normals > 0) {
    for_parameters(cell, out, [&](int64_t place, int count, float* to) {
      for (int g = 0; to && g < count; ++g) {
        float* const of_gate = to + (count > 1 ? layout.gate[g] : 0) + panel * lanes;
        const float* const gradients = copy + (panel * cell.parameters() + place + g) * lanes;
        for (int64_t i = 0; i < lanes_of(panel, layer.units, lanes); ++i) of_gate[i] = first ? gradients[i] : of_gate[i] + gradients[i];
      }
    });
    return;
  }
  const float* const from = copy + panel * cell.gradients * lanes;
  float* const both = cell.recurrent_bias ? out.bias + cell.gates * layer.units : nullptr;
  float* const recurrent = layer.torch_layout ? out.recurrent_bias : both;
  const auto add = [&](int begin, const int order[], float* to) {
    for (int g = 0; g < cell.gates; ++g) {
      float* const of_gate = to + layout.gate[order[g]] + panel * lanes;
      const float* const gradients = from + (begin + g) * lanes;
      for (int64_t i = 0; i < lanes_of(panel, layer.units, lanes); ++i) of_gate[i] = first ? gradients[i] : of_gate[i] + gradients[i];
    }
  };
  add(cell.input_gradients, cell.input_order, out.bias);
  if (recurrent) add(cell.recurrent_gradients, cell.recurrent_order, recurrent);
}

}  // namespace gatewise
