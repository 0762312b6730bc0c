// SPDX-License-Identifier: Apache-2.0
// A slab: the rows of a batch that one thread carries through time together, from the first step to the last, without synchronisation.
//
// A mask is a list of steps. Each row visits its own valid steps only and never looks at the others, so masked steps cost nothing, their
// NaNs reach nothing, and any mask is a matter of rows of different length. Rows stand in order of falling length: at step s of the slab
// the live rows are the first live(s).
#pragma once

#include "problem.h"
#include "simd.h"

namespace gatewise {
namespace {

// A section of steps: what a team carries through together before it looks around for more members; see team.h.
constexpr int64_t kSectionSteps = 32;

struct Slab {
  const Problem& problem;
  int64_t first;  // index of the first row in the plan
  int64_t rows;

  Slab(const Problem& p, int64_t slab) : problem(p), first(p.slab_begin[slab]), rows(p.slab_begin[slab + 1] - p.slab_begin[slab]) {}

  int64_t batch_index(int64_t m) const { return problem.row[first + m]; }
  int64_t length(int64_t m) const { return problem.length[first + m]; }
  int64_t steps() const { return length(0); }

  // How many rows have a step s; `from` is a number of rows that is not too small, such as the answer for an earlier step.
  int64_t live(int64_t s, int64_t from) const {
    while (from > 0 && length(from - 1) <= s) --from;
    return from;
  }

  // The place of row m's valid step s in the order of processing. With s = its length, T: the end.
  int64_t position(int64_t m, int64_t s) const {
    if (s >= length(m)) return problem.spec.timesteps;
    return problem.step ? problem.step[batch_index(m) * problem.spec.timesteps + s] : s;
  }

  // The place of a processing position in x and in its gradient.
  int64_t input_offset(int64_t m, int64_t position) const {
    const int64_t t = problem.spec.go_backwards ? problem.spec.timesteps - 1 - position : position;
    return (batch_index(m) * problem.spec.timesteps + t) * problem.spec.features;
  }

  // The place of a processing position in the outputs; without return_sequences there is one.
  int64_t output_offset(int64_t m, int64_t position) const {
    if (!problem.spec.return_sequences) return batch_index(m) * problem.output_stride;
    const int64_t t = problem.outputs_reversed ? problem.spec.timesteps - 1 - position : position;
    return (batch_index(m) * problem.spec.timesteps + t) * problem.output_stride;
  }

  int64_t state_offset(int64_t m) const { return batch_index(m) * problem.spec.units; }

  // Dropout factors of row m for a gate: on its inputs and on its state; null where there are none.
  const float* input_factors(int64_t m, int gate) const {
    if (!problem.in.input_dropout) return nullptr;
    const int64_t plane = problem.in.input_dropout_masks == 3 ? gate : 0;
    return problem.in.input_dropout + (plane * problem.spec.batch + batch_index(m)) * problem.spec.features;
  }
  const float* state_factors(int64_t m, int gate) const {
    if (!problem.in.recurrent_dropout) return nullptr;
    return problem.in.recurrent_dropout + (gate * problem.spec.batch + batch_index(m)) * problem.spec.units;
  }
};

// How many lanes of a panel hold units.
GATEWISE_INLINE int64_t lanes_of(const Problem& p, int64_t panel) {
  const int64_t left = p.spec.units - panel * kLanes;
  return left < kLanes ? left : kLanes;
}

// With spec.recompute: how many steps the way back finds again at once, about the square root of all, so that neither the states saved
// before each such segment nor the gates within one are many.
GATEWISE_INLINE int64_t segment_steps(const gatewise_gru_spec& spec, int64_t chunk_steps) {
  int64_t steps = chunk_steps;
  while (steps * steps < spec.timesteps) steps += chunk_steps;
  return steps;
}

// What is kept of one slab for the way back: the gates of every step, and the state before every chunk of steps, from which the way back
// finds h_prev again by the blend alone. With spec.recompute the way forward keeps the states before every segment and no gates.
//   gates (steps, P, rows, values, W): z, r, h_tilde and, with reset_after, q        states (chunks, rows, P, W)
struct SavedSlab {
  int64_t slab_rows, values;  // values: floats a unit and step
  int64_t step_stride;
  int64_t state_stride, chunk_stride;
  int64_t gates_offset, states_offset;  // from the start of all that is saved

  // All that the way forward keeps, of the slab with `rows` rows from row `first` on.
  static SavedSlab of(const gatewise_gru_spec& spec, int64_t chunk_steps, int64_t first, int64_t rows) {
    if (spec.recompute) return SavedSlab(spec, 0, spec.timesteps, segment_steps(spec, chunk_steps), first, rows);
    return whole(spec, spec.timesteps, chunk_steps, first, rows);
  }

  // What the way back keeps of one segment of a slab.
  static SavedSlab of_segment(const gatewise_gru_spec& spec, int64_t chunk_steps, int64_t rows) {
    return whole(spec, segment_steps(spec, chunk_steps), chunk_steps, 0, rows);
  }

  // From a row of a panel to the next.
  int64_t row_stride() const { return values * kLanes; }
  // Where a row of a panel stands in a step.
  int64_t place(int64_t panel, int64_t row) const { return (panel * slab_rows + row) * row_stride(); }
  int64_t gates(int64_t step, int64_t panel, int64_t row) const { return gates_offset + step * step_stride + place(panel, row); }
  int64_t state(int64_t chunk, int64_t row) const { return states_offset + chunk * chunk_stride + row * state_stride; }

  static int64_t all_floats(const gatewise_gru_spec& spec, int64_t chunk_steps) {
    return of(spec, chunk_steps, spec.batch, 0).gates_offset;
  }
  static int64_t segment_floats(const gatewise_gru_spec& spec, int64_t chunk_steps, int64_t rows) {
    return whole(spec, segment_steps(spec, chunk_steps), chunk_steps, rows, 0).gates_offset;
  }

 private:
  static SavedSlab whole(const gatewise_gru_spec& spec, int64_t timesteps, int64_t chunk_steps, int64_t first, int64_t rows) {
    return SavedSlab(spec, spec.reset_after ? 4 : 3, timesteps, chunk_steps, first, rows);
  }

  SavedSlab(const gatewise_gru_spec& spec, int64_t of_each, int64_t timesteps, int64_t chunk_steps, int64_t first, int64_t rows)
      : slab_rows(rows), values(of_each) {
    const int64_t padded = round_up(spec.units, kLanes), chunks = (timesteps + chunk_steps - 1) / chunk_steps;
    step_stride = rows * values * padded;
    state_stride = padded;
    chunk_stride = rows * padded;
    gates_offset = first * (timesteps * values + chunks) * padded;
    states_offset = gates_offset + timesteps * step_stride;
  }
};

}  // namespace
}  // namespace gatewise
