// SPDX-License-Identifier: Apache-2.0
// A slab: the rows of a batch that one thread carries through time together, from the first step to the last, without synchronisation.
//
// A mask is a list of steps. Each row visits its own valid steps only and never looks at the others, so masked steps cost nothing, their
// NaNs reach nothing, and any mask is a matter of rows of different length. Rows stand in order of falling length: at step s of the slab
// the live rows are the first live(s). Where a row's *segment* ends, at a boundary that `starts` sets, it goes on from its initial state.
#pragma once

#include "passes/problem.h"
#include "simd/interface.h"

namespace gatewise {
namespace {

// An epoch of steps: what a team carries through together before it looks around for more members; see team.h.
constexpr int64_t kEpochSteps = 32;

// How many lanes of a panel hold units.
GATEWISE_INLINE int64_t lanes_of(const Problem& p, int64_t panel) {
  const int64_t left = p.layer.units - panel * kLanes;
  return left < kLanes ? left : kLanes;
}

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
    if (s >= length(m)) return problem.layer.timesteps;
    return problem.step ? problem.step[batch_index(m) * problem.layer.timesteps + s] : s;
  }

  // Whether a segment ends before a processing position. None does at the first, nor at the end of all.
  bool ends_before(int64_t m, int64_t position) const {
    const int64_t timesteps = problem.layer.timesteps;
    if (!problem.in.starts || position == 0 || position == timesteps) return false;
    return problem.in.starts[batch_index(m) * timesteps + (problem.layer.go_backwards ? timesteps - position : position)] != 0;
  }

  // Where the outputs end that repeat that of row m's valid step s: at the next one, or at the end of the segment.
  int64_t repeats_end(int64_t m, int64_t s) const {
    const int64_t next = position(m, s + 1);
    if (!problem.in.starts) return next;
    int64_t end = position(m, s) + 1;
    while (end < next && !ends_before(m, end)) ++end;
    return end;
  }

  // Whether row m takes its valid step s from its initial state, though it is not its first.
  bool restarts(int64_t m, int64_t s) const {
    if (!problem.in.starts || s == 0) return false;
    const int64_t end = repeats_end(m, s - 1);
    return end < position(m, s) || ends_before(m, end);
  }

  // The step in time of a processing position, and its place in x and in the gradient of that.
  int64_t time_of(int64_t position) const { return problem.layer.go_backwards ? problem.layer.timesteps - 1 - position : position; }
  int64_t input_offset(int64_t m, int64_t position) const {
    return batch_index(m) * problem.x_stride + time_of(position) * problem.layer.features;
  }

  // The place of a processing position in the outputs; without return_sequences there is one.
  int64_t output_offset(int64_t m, int64_t position) const {
    if (!problem.layer.return_sequences) return batch_index(m) * problem.output_stride;
    const int64_t t = problem.outputs_reversed ? problem.layer.timesteps - 1 - position : position;
    return (batch_index(m) * problem.layer.timesteps + t) * problem.output_stride;
  }

  int64_t state_offset(int64_t m) const {
    return (problem.state_row ? problem.state_row[batch_index(m)] : batch_index(m)) * problem.state_stride;
  }

  // Units of the panel of a row's initial state; or of that which a segment but the first begins with.
  Vec initial_state(int k, int64_t m, int64_t panel, bool restarts) const {
    const float* from = restarts && problem.in.restarts_with_zeros ? nullptr : problem.initial_state[k];
    return from ? load_first(from + state_offset(m) + panel * kLanes, lanes_of(problem, panel)) : Vec{};
  }

  // Dropout factors of row m for a gate: on its inputs and on its state; null where there are none.
  const float* input_factors(int64_t m, int gate) const {
    if (!problem.in.input_dropout) return nullptr;
    const int64_t plane = problem.in.input_dropout_masks > 1 ? gate : 0;
    return problem.in.input_dropout + (plane * problem.layer.batch + batch_index(m)) * problem.layer.features;
  }
  const float* state_factors(int64_t m, int gate) const {
    if (!problem.in.recurrent_dropout) return nullptr;
    return problem.in.recurrent_dropout + (gate * problem.layer.batch + batch_index(m)) * problem.layer.units;
  }
};

}  // namespace
}  // namespace gatewise
