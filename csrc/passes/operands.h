// SPDX-License-Identifier: Apache-2.0
// What the weights are multiplied with in the forward pass: the inputs of a step and the states before it, times their dropout factors.
//
// Inputs are copied side by side, for in x the rows of a batch are often a multiple of the page size apart and fall on the same cache sets
// (text: 110 GFLOP/s without the copy, 145 with it). Where that pays, the input products of some steps are found at once.
#pragma once

#include "passes/rows.h"
#include "passes/sums.h"
#include "threads/team.h"

namespace gatewise {
namespace {

// Slabs of so few rows read every weight for little work each, and so do slabs whose weights come from beyond the second-level cache. The
// input products of some steps are then found at once, for up to kProjectedRows rows (utterance on one thread, with the wider tile of one
// row: 8.4 ms instead of 10.2; large, together with the weights brought ahead: 0.88 of the time). A single step has no others to find
// together.
constexpr int64_t kFewRows = 3, kProjectedRows = 256;

// The planes of one member of a team, for a slab.
template <class Cell, class Format>
struct OperandPlanes {
  static constexpr int kGates = Cell::kInfo.gates;

  const Problem& problem;
  const Weights& weights;
  const Slab& slab;
  const int64_t projected;  // how many steps' input products are found at once; 0: each step's in its tiles
  const int64_t x_stride, h_stride;
  float *inputs, *dropped_states;     // of a step, a plane for each gate that sees its own; inputs of all steps that are projected
  float* input_projection;            // (rows, P, gates, W): bias and input product
  int64_t projected_from = 0;         // the first step in it
  int64_t projected_of[kEpochSteps];  // where the rows of each step begin there

  OperandPlanes(const Problem& p, const Weights& w, const Slab& s, float* memory)
      : problem(p),
        weights(w),
        slab(s),
        projected(projected_steps(p)),
        x_stride(p.feature_panels * kLanes),
        h_stride(p.panels * kLanes),
        inputs(memory + kGates * s.rows * h_stride),
        dropped_states(memory),
        input_projection(inputs + input_rows(p) * x_stride) {}

  static int64_t floats(const Problem& p) {
    return (kGates * p.slab_rows * p.panels + input_rows(p) * p.feature_panels + kGates * projected_steps(p) * p.slab_rows * p.panels) *
           kLanes;
  }

  // Brings step s, one of the steps [first, end) of an epoch, whose states before it are rows of `states`. The products of the panels
  // [first_panel, last_panel) alone are projected.
  void take(int64_t s, int64_t first, int64_t end, int64_t live, const float* states, int64_t first_panel, int64_t last_panel) {
    if (projected == 0) {
      take_inputs(s, live);
    } else if ((s - first) % projected == 0) {
      project(s, s + projected < end ? s + projected : end, first_panel, last_panel);
    }
    if (!problem.in.recurrent_dropout) return;
    for (int gate = 0; gate < kGates; ++gate) drop_states(states, live, gate);
  }

  // What was brought of step s; rounds whose operand a round before made see the rows of `made`.
  Operands of_step(int64_t s, const float* states, const float* made) const {
    Operands operands;
    for (int gate = 0; gate < kGates; ++gate) {
      const bool sees_made = Cell::kInfo.round[Cell::kInfo.round_of(gate)].operand == Operand::kMade;
      operands.x[gate] = inputs + (gates_see_different_inputs(problem.in) ? gate : 0) * slab.rows * x_stride;
      operands.h[gate] = sees_made ? made : problem.in.recurrent_dropout ? dropped_states + gate * slab.rows * h_stride : states;
    }
    operands.input_projection = projected > 0 ? input_projection + projected_of[s - projected_from] * kGates * h_stride : nullptr;
    operands.x_stride = x_stride;
    operands.h_stride = h_stride;
    operands.input_projection_stride = kGates * h_stride;
    return operands;
  }

 private:
  static int64_t projected_steps(const Problem& p) {
    const bool pays = p.slab_rows <= kFewRows || p.exceeds_l2;
    if (!pays || p.layer.timesteps == 1 || gates_see_different_inputs(p.in)) return 0;
    const int64_t steps = kProjectedRows / p.slab_rows;
    return steps < kEpochSteps ? steps : kEpochSteps;
  }
  static int64_t input_rows(const Problem& p) { return (projected_steps(p) > 0 ? projected_steps(p) : kGates) * p.slab_rows; }

  void take_inputs(int64_t s, int64_t live) const {
    const int64_t planes = gates_see_different_inputs(problem.in) ? kGates : 1;
    for (int gate = 0; gate < planes; ++gate) {
      for (int64_t m = 0; m < live; ++m) take_input(s, m, gate, inputs + (gate * slab.rows + m) * x_stride);
    }
  }

  // Finds bias and input product of every row at the steps [first, end).
  void project(int64_t first, int64_t end, int64_t first_panel, int64_t last_panel) {
    int64_t rows = 0, live = slab.rows;
    projected_from = first;
    for (int64_t s = first; s < end; ++s) {
      live = slab.live(s, live);
      projected_of[s - first] = rows;
      for (int64_t m = 0; m < live; ++m, ++rows) take_input(s, m, 0, inputs + rows * x_stride);
    }
    const auto project_group = [&](auto group) {
      constexpr int kOf = decltype(group)::kGates;
      for (int64_t p = first_panel; p < last_panel;) {
        p += with_constant<panels_per_tile(rows_per_tile(kOf), kOf)>(last_panel - p, [&](auto panels) {
          constexpr int P = decltype(panels)::value;
          for_row_blocks<kOf>(cut_into_blocks<kOf>(rows), [&](int64_t row, auto count, int64_t block) {
            project_inputs<Format, decltype(count)::value, P>(problem, weights, group, inputs + row * x_stride, x_stride, p,
                                                              Ahead{P, block}, input_projection + row * kGates * h_stride,
                                                              kGates * h_stride);
          });
        });
      }
    };
    if (gates_see_different_rows(problem.in)) {
      for_groups<Cell, true>(project_group);
    } else {
      for_groups<Cell, false>(project_group);
    }
  }

  // Copies the inputs of a row at step s, times a gate's dropout factors.
  void take_input(int64_t s, int64_t m, int gate, float* to) const {
    const float *x = problem.in.x + slab.input_offset(m, slab.position(m, s)), *factors = slab.input_factors(m, gate);
    const int64_t features = problem.layer.features;
    for (int64_t k = 0; k < features; k += kLanes) {
      const int64_t lanes = features - k < kLanes ? features - k : kLanes;
      const Vec v = load_first(x + k, lanes);
      store(to + k, factors ? v * load_first(factors + k, lanes) : v);
    }
  }

  // Copies the states, times a gate's dropout factors.
  void drop_states(const float* states, int64_t live, int gate) const {
    for (int64_t m = 0; m < live; ++m) {
      const float *h = states + m * h_stride, *factors = slab.state_factors(m, gate);
      float* to = dropped_states + (gate * slab.rows + m) * h_stride;
      for (int64_t p = 0; p < problem.panels; ++p) {
        store(to + p * kLanes, load(h + p * kLanes) * load_first(factors + p * kLanes, lanes_of(problem, p)));
      }
    }
  }
};

}  // namespace
}  // namespace gatewise
