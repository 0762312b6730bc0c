// SPDX-License-Identifier: Apache-2.0
// What the weights are multiplied with on the way forward: the inputs of a step and the states before it, times their dropout factors.
//
// Inputs are copied side by side, for in x the rows of a batch are often a multiple of the page size apart and fall on the same cache sets
// (text: 110 GFLOP/s without the copy, 145 with it). Where that pays, the input products of some steps are found beforehand.
#pragma once

#include "preactivation.h"
#include "slab.h"
#include "team.h"
#include "tile.h"

namespace gatewise {
namespace {

// Slabs of so few rows read every weight for little work each, and so do slabs whose weights come from beyond the second-level cache. The
// input products of some steps are then found beforehand, for up to kBeforehandRows rows at once (utterance on one thread, with the wider
// tile of one row: 8.4 ms instead of 10.2; large, together with the weights brought ahead: 0.88 of the time). A single step has no others
// to find together.
constexpr int64_t kFewRows = 3, kBeforehandRows = 256;

// The planes of one member of a team, for a slab.
struct OperandPlanes {
  const Problem& problem;
  const Slab& slab;
  const int64_t beforehand;  // how many steps' input products are found at once; 0: each step's in its tiles
  const int64_t x_stride, h_stride;
  float *inputs, *dropped_states;     // of a step, a plane for each gate that sees its own; inputs of all steps that are found beforehand
  float* started;                     // (rows, P, 3, W): bias and input product
  int64_t started_from = 0;           // the first step in `started`
  int64_t started_of[kSectionSteps];  // where the rows of each step begin there

  OperandPlanes(const Problem& p, const Slab& s, float* memory)
      : problem(p),
        slab(s),
        beforehand(steps_beforehand(p)),
        x_stride(p.feature_panels * kLanes),
        h_stride(p.panels * kLanes),
        inputs(memory + 3 * s.rows * h_stride),
        dropped_states(memory),
        started(inputs + input_rows(p) * x_stride) {}

  static int64_t floats(const Problem& p) {
    return (3 * p.slab_rows * p.panels + input_rows(p) * p.feature_panels + 3 * steps_beforehand(p) * p.slab_rows * p.panels) * kLanes;
  }

  // Brings step s, one of the steps [first, end) of a section, whose states before it are rows of `states`. The products of the panels
  // [first_panel, last_panel) alone are found beforehand.
  void take(int64_t s, int64_t first, int64_t end, int64_t live, const float* states, int64_t first_panel, int64_t last_panel) {
    if (beforehand == 0) {
      take_inputs(s, live);
    } else if ((s - first) % beforehand == 0) {
      start_inputs(s, s + beforehand < end ? s + beforehand : end, first_panel, last_panel);
    }
    if (problem.in.recurrent_dropout) drop_states(states, live);
  }

  // What was brought of step s; with reset_after=False the candidate sees `reset_states`, r * h_prev.
  Operands of_step(int64_t s, const float* states, const float* reset_states) const {
    Operands operands;
    for (int gate = 0; gate < 3; ++gate) {
      const int64_t plane = problem.in.input_dropout_masks == 3 ? gate : 0;
      operands.x[gate] = inputs + plane * slab.rows * x_stride;
      operands.h[gate] = problem.in.recurrent_dropout ? dropped_states + gate * slab.rows * h_stride : states;
    }
    if (!problem.spec.reset_after) operands.h[kCandidate] = reset_states;
    operands.started = beforehand > 0 ? started + started_of[s - started_from] * 3 * h_stride : nullptr;
    operands.x_stride = x_stride;
    operands.h_stride = h_stride;
    operands.started_stride = 3 * h_stride;
    return operands;
  }

 private:
  static int64_t steps_beforehand(const Problem& p) {
    const bool pays = p.slab_rows <= kFewRows || p.far_weights;
    if (!pays || p.spec.timesteps == 1 || gates_see_different_inputs(p.in)) return 0;
    const int64_t steps = kBeforehandRows / p.slab_rows;
    return steps < kSectionSteps ? steps : kSectionSteps;
  }
  static int64_t input_rows(const Problem& p) { return (steps_beforehand(p) > 0 ? steps_beforehand(p) : 3) * p.slab_rows; }

  void take_inputs(int64_t s, int64_t live) const {
    const int64_t planes = gates_see_different_inputs(problem.in) ? 3 : 1;
    for (int gate = 0; gate < planes; ++gate) {
      for (int64_t m = 0; m < live; ++m) take_input(s, m, gate, inputs + (gate * slab.rows + m) * x_stride);
    }
  }

  // Finds bias and input product of every row at the steps [first, end).
  void start_inputs(int64_t first, int64_t end, int64_t first_panel, int64_t last_panel) {
    int64_t rows = 0, live = slab.rows;
    started_from = first;
    for (int64_t s = first; s < end; ++s) {
      live = slab.live(s, live);
      started_of[s - first] = rows;
      for (int64_t m = 0; m < live; ++m, ++rows) take_input(s, m, 0, inputs + rows * x_stride);
    }
    for (int64_t p = first_panel; p < last_panel;) {
      p += with_constant<panels_per_tile(kRowTile, 3)>(last_panel - p, [&](auto panels) {
        constexpr int P = decltype(panels)::value;
        for_row_blocks(cut_into_blocks(rows), [&](int64_t row, auto count, int64_t block) {
          start_rows<decltype(count)::value, P>(problem, inputs + row * x_stride, x_stride, p, Ahead{P, block},
                                                started + row * 3 * h_stride, 3 * h_stride);
        });
      });
    }
  }

  // Copies the inputs of a row at step s, times a gate's dropout factors.
  void take_input(int64_t s, int64_t m, int gate, float* to) const {
    const float *x = problem.in.x + slab.input_offset(m, slab.position(m, s)), *factors = slab.input_factors(m, gate);
    const int64_t features = problem.spec.features;
    for (int64_t k = 0; k < features; k += kLanes) {
      const int64_t lanes = features - k < kLanes ? features - k : kLanes;
      const Vec v = load_first(x + k, lanes);
      store(to + k, factors ? v * load_first(factors + k, lanes) : v);
    }
  }

  // Copies the states, times the dropout factors of all gates at once (a training step on one thread: quickstart 0.96, sensor 0.97 of the
  // time of one gate after the other).
  void drop_states(const float* states, int64_t live) const {
    const int64_t units = problem.spec.units, plane = slab.rows * h_stride;
    for (int64_t m = 0; m < live; ++m) {
      const float *z = slab.state_factors(m, kUpdate), *r = slab.state_factors(m, kReset), *c = slab.state_factors(m, kCandidate);
      const float* h = states + m * h_stride;
      float* to = dropped_states + m * h_stride;
      for (int64_t k = 0; k < units; k += kLanes) {
        const int64_t lanes = units - k < kLanes ? units - k : kLanes;
        const Vec v = load(h + k);
        store(to + k, v * load_first(z + k, lanes));
        store(to + plane + k, v * load_first(r + k, lanes));
        store(to + 2 * plane + k, v * load_first(c + k, lanes));
      }
    }
  }
};

}  // namespace
}  // namespace gatewise
