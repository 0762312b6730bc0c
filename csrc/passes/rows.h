// SPDX-License-Identifier: Apache-2.0
// A slab: the rows of a batch that one thread carries through time together, from the first step to the last, without synchronisation.
//
// A mask is a list of steps. Each row visits its own valid steps only and never looks at the others, so masked steps cost nothing, their
// NaNs reach nothing, and any mask is a matter of rows of different length. Rows stand in order of falling length: at step s of the slab
// the live rows are the first live(s).
#pragma once

#include "passes/problem.h"
#include "simd/interface.h"

namespace gatewise {
namespace {

// An epoch of steps: what a team carries through together before it looks around for more members; see team.h.
constexpr int64_t kEpochSteps = 32;

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

  // The place of a processing position in x and in its gradient.
  int64_t input_offset(int64_t m, int64_t position) const {
    const int64_t t = problem.layer.go_backwards ? problem.layer.timesteps - 1 - position : position;
    return batch_index(m) * problem.x_stride + t * problem.layer.features;
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

// How many lanes of a panel hold units.
GATEWISE_INLINE int64_t lanes_of(const Problem& p, int64_t panel) {
  const int64_t left = p.layer.units - panel * kLanes;
  return left < kLanes ? left : kLanes;
}

}  // namespace
}  // namespace gatewise
