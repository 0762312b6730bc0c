// SPDX-License-Identifier: Apache-2.0
// The workspace: what the forward pass keeps of a slab for the backward pass.
//
// Of every step what the cell keeps, and of every time block the states before it, from which the backward pass finds those of its steps
// again by the last operations of the cell alone. With layer.recompute the forward pass keeps checkpoints alone, the states before every
// interval of steps.
//   steps (steps, P, rows, cell.workspace, W)        states (time blocks or checkpoints, cell.states, rows, P, W)
// A step of a cell that normalises ends with (rows, kRowFloats): of each row, what its normalised numbers were multiplied with.
#pragma once

#include "passes/rows.h"

namespace gatewise {
namespace {

// With layer.recompute: how many steps the backward pass finds again at once, about the square root of all, so that neither the checkpoints
// nor what is found again are much.
GATEWISE_INLINE int64_t interval_steps(const gatewise_layer& layer, int64_t block_steps) {
  int64_t steps = block_steps;
  while (steps * steps < layer.timesteps) steps += block_steps;
  return steps;
}

struct Workspace {
  static constexpr int64_t kRowFloats = 16;

  int64_t slab_rows, values;  // values: floats a unit and step
  int64_t rows_offset;        // in a step, where what is kept of whole rows begins
  int64_t step_stride;
  int64_t state_stride, states_stride;  // from the states of a row to those of the next; from one state of all rows to the next
  int64_t block_stride;
  int64_t steps_offset, states_offset;  // from the start of all that is kept

  // All that the forward pass keeps, of the slab with `rows` rows from row `first` on.
  static Workspace of(const CellInfo& cell, const gatewise_layer& layer, int64_t block_steps, int64_t first, int64_t rows) {
    if (layer.recompute) return Workspace(cell, layer, 0, layer.timesteps, interval_steps(layer, block_steps), first, rows);
    return Workspace(cell, layer, cell.workspace, layer.timesteps, block_steps, first, rows);
  }

  // What the backward pass finds again of one interval of a slab.
  static Workspace of_interval(const CellInfo& cell, const gatewise_layer& layer, int64_t block_steps, int64_t rows) {
    return Workspace(cell, layer, cell.workspace, interval_steps(layer, block_steps), block_steps, 0, rows);
  }

  // From a row of a panel to the next.
  int64_t row_stride() const { return values * kLanes; }
  // Where a row of a panel stands in a step.
  int64_t place(int64_t panel, int64_t row) const { return (panel * slab_rows + row) * row_stride(); }
  int64_t step(int64_t step, int64_t panel, int64_t row) const { return steps_offset + step * step_stride + place(panel, row); }
  int64_t of_row(int64_t step, int64_t row) const { return steps_offset + step * step_stride + rows_offset + row * kRowFloats; }
  int64_t state(int64_t block, int64_t state, int64_t row) const {
    return states_offset + block * block_stride + state * states_stride + row * state_stride;
  }

  static int64_t all_floats(const CellInfo& cell, const gatewise_layer& layer, int64_t block_steps) {
    return of(cell, layer, block_steps, layer.batch, 0).steps_offset;
  }
  static int64_t interval_floats(const CellInfo& cell, const gatewise_layer& layer, int64_t block_steps, int64_t rows) {
    return Workspace(cell, layer, cell.workspace, interval_steps(layer, block_steps), block_steps, rows, 0).steps_offset;
  }

 private:
  Workspace(const CellInfo& cell, const gatewise_layer& layer, int64_t of_each, int64_t timesteps, int64_t block_steps, int64_t first,
            int64_t rows)
      : slab_rows(rows), values(of_each) {
    const int64_t padded = round_up(layer.units, kLanes), blocks = (timesteps + block_steps - 1) / block_steps;
    const int64_t of_rows = cell.normals > 0 && values > 0 ? kRowFloats : 0;
    rows_offset = rows * values * padded;
    step_stride = rows_offset + rows * of_rows;
    state_stride = padded;
    states_stride = rows * padded;
    block_stride = cell.states * states_stride;
    steps_offset = first * (timesteps * (values * padded + of_rows) + blocks * cell.states * padded);
    states_offset = steps_offset + timesteps * step_stride;
  }
};

}  // namespace
}  // namespace gatewise
