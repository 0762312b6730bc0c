// SPDX-License-Identifier: Apache-2.0
// A time block: a run of steps of a slab in the backward pass, brought into panels that stay in cache while it is worked on.
//
// The live rows of the block's steps stand one after another as *entries*: step i has the entries offset[i] .. offset[i + 1]. A panel array
// is (panels, entries, W), so that a weight gradient reads it as one stream.
#pragma once

#include "passes/workspace.h"
#include "passes/zoneout.h"
#include "simd/math.h"

namespace gatewise {
namespace {

// Panels are a few entries apart from a power of two, or they would all fall on the same cache sets.
constexpr int64_t kEntryPadding = 5;

template <class Cell>
struct TimeBlock {
  static constexpr const CellInfo& kInfo = Cell::kInfo;

  const Problem& problem;
  const Slab& slab;
  const Workspace workspace;
  const float* kept;      // where `workspace` begins
  int64_t kept_from = 0;  // the first step that `workspace` is about
  int64_t capacity;       // entries a panel has room for
  int64_t first_step = 0, steps = 0;
  int64_t offset[kMaxEntries + 1];
  int64_t row_of[kMaxEntries];    // by entry: the row of the slab
  int64_t input_of[kMaxEntries];  // by entry: the place in x and in its gradient

  float* states;            // (states, P, entries, W): those before each step
  float* h_for[kMaxGates];  // what gate g's recurrent weights were multiplied with: the first state or, under dropout or made by a round:
                            // something of its own
  float* x_for[kMaxGates];  // (PF, entries, W), likewise for the input weights
  float* d_output;          // (P, entries, W)
  float* d_sums;            // (P, entries, gradients, W)

  TimeBlock(const Problem& p, const Slab& s, const Workspace& w, const float* from, float* memory)
      : problem(p), slab(s), workspace(w), kept(from), capacity(entry_capacity(p)) {
    const int64_t plane = p.panels * capacity * kLanes, x_plane = p.feature_panels * capacity * kLanes;
    d_sums = memory;
    states = d_sums + kInfo.gradients * plane;
    d_output = states + kInfo.states * plane;
    float* more_h = d_output + plane;
    for (int gate = 0; gate < kInfo.gates; ++gate) {
      h_for[gate] = p.in.recurrent_dropout || sees_made(gate) ? more_h + gate * plane : states;
      x_for[gate] = more_h + kInfo.gates * plane + (gates_see_different_inputs(p.in) ? gate * x_plane : 0);
    }
  }

  static constexpr bool sees_made(int gate) { return kInfo.round[kInfo.round_of(gate)].operand == Operand::kMade; }
  static int64_t entry_capacity(const Problem& p) { return p.block_steps * p.slab_rows + kEntryPadding; }
  static int64_t scratch_floats(const Problem& p) {
    const int64_t of_units = kInfo.gradients + kInfo.states + 1 + kInfo.gates;
    return entry_capacity(p) * (of_units * p.panels + kInfo.gates * p.feature_panels) * kLanes;
  }

  int64_t entries() const { return offset[steps]; }
  int64_t live(int64_t i) const { return offset[i + 1] - offset[i]; }
  float* panel(float* plane, int64_t p, int64_t entry) const { return plane + (p * capacity + entry) * kLanes; }
  float* state(int k, int64_t p, int64_t entry) const { return panel(states, k * problem.panels + p, entry); }
  float* gradients(int64_t p, int64_t entry) const { return d_sums + (p * capacity + entry) * kInfo.gradients * kLanes; }

  // What the forward pass kept of a row at step i of the block.
  const float* kept_at(int64_t i, int64_t p, int64_t m) const { return kept + workspace.step(first_step - kept_from + i, p, m); }
  const float* kept_rows_at(int64_t i) const { return kept + workspace.of_row(first_step - kept_from + i, 0); }

  // Goes to block number `index` of the slab: which entries its steps have.
  void locate(int64_t index) {
    first_step = index * problem.block_steps;
    const int64_t left = slab.steps() - first_step;
    steps = left < problem.block_steps ? left : problem.block_steps;
    int64_t rows = slab.rows;
    offset[0] = 0;
    for (int64_t i = 0; i < steps; ++i) {
      rows = slab.live(first_step + i, rows);
      offset[i + 1] = offset[i] + rows;
      for (int64_t m = 0; m < rows; ++m) {
        row_of[offset[i] + m] = m;
        input_of[offset[i] + m] = slab.input_offset(m, slab.position(m, first_step + i));
      }
    }
  }

  // Fills every panel array but d_sums, for the panels [first, last) of units, or the entries [first, last) of inputs.
  void take_states(int64_t first, int64_t last) const {
    find_states(first, last);
    for (int gate = 0; gate < kInfo.gates; ++gate) {
      if (h_for[gate] != states) find_seen(gate, first, last);
    }
    // Row by row, as they stand in memory (sensor, both directions: 0.92 of the time of step by step, for the second).
    for (int64_t m = 0; m < live(0); ++m) {
      for_each_step_of(m, [&](int64_t i, int64_t entry) { take_output_gradient(i, m, entry, first, last); });
    }
  }
  void take_inputs(int64_t first, int64_t last) const {
    for (int64_t entry = first; entry < last; ++entry) take_input(entry);
  }

 private:
  // Finds the states before every step of the block from those before the first.
  void find_states(int64_t first, int64_t last) const {
    const int64_t block = (first_step - kept_from) / problem.block_steps;
    for (int k = 0; k < kInfo.states; ++k) {
      for (int64_t p = first; p < last; ++p) {
        for (int64_t m = 0; m < live(0); ++m) store(state(k, p, m), load_unaligned(kept + workspace.state(block, k, m) + p * kLanes));
      }
    }
    with_activations(problem.layer, [&](auto f) {
      for (int64_t i = 0; i + 1 < steps; ++i) {
        for (int64_t p = first; p < last; ++p) find_next_states(f, i, p);
        correct_next_states(i, first, last);
      }
    });
  }

  // What the pass made of the states that the cell found at step i of the block, and of those whose segment ended there.
  void correct_next_states(int64_t i, int64_t first, int64_t last) const {
    for (int k = 0; k < kInfo.states; ++k) {
      if (!problem.in.starts && !Zoneout::acts_on(problem, k)) continue;
      const Zoneout zoneout{slab, k};
      for (int64_t m = 0; m < live(i + 1); ++m) {
        const bool restarts = slab.restarts(m, first_step + i + 1);
        for (int64_t p = first; p < last; ++p) {
          float* const after = state(k, p, offset[i + 1] + m);
          if (restarts) {
            store(after, slab.initial_state(k, m, p, true));
          } else {
            zoneout.blend(m, first_step + i, p, state(k, p, offset[i] + m), after);
          }
        }
      }
    }
  }

  // From the states before step i of the block to those after it.
  template <class Activations>
  GATEWISE_INLINE void find_next_states(const Activations& f, int64_t i, int64_t p) const {
    const float* of_row = kept_at(i, p, 0);
    for (int64_t m = 0; m < live(i + 1); ++m, of_row += workspace.row_stride()) {
      const auto of_step = [&](int value) { return load_unaligned(of_row + value * kLanes); };
      const auto before = [&](int k) { return load(state(k, p, offset[i] + m)); };
      for (int k = 0; k < kInfo.states; ++k) store(state(k, p, offset[i + 1] + m), Cell::state_again(f, k, of_step, before));
    }
  }

  // Finds what a gate's recurrent weights were multiplied with where that is not the state.
  void find_seen(int gate, int64_t first, int64_t last) const {
    for (int64_t p = first; p < last; ++p) {
      for (int64_t m = 0; m < live(0); ++m) {
        const float* factors = slab.state_factors(m, gate);
        const Vec of_row = factors ? load_first(factors + p * kLanes, lanes_of(problem, p)) : broadcast(1.0f);
        for_each_step_of(m, [&](int64_t i, int64_t entry) {
          Vec seen = load(state(0, p, entry));
          if (factors) seen *= of_row;
          store(panel(h_for[gate], p, entry), made_again(gate, kept_at(i, p, m), seen));
        });
      }
    }
  }

  // What the rounds before a gate's made of what it sees.
  static GATEWISE_INLINE Vec made_again(int gate, const float* of_step, Vec seen) {
    if constexpr (kInfo.rounds > 1 && kInfo.round[1].operand == Operand::kMade) {
      if (sees_made(gate))
        return Cell::template operand_again<1>([&](int value) { return load_unaligned(of_step + value * kLanes); }, seen);
    }
    return seen;
  }

  // Calls each(i, entry) for the steps of the block that row m has.
  template <class Each>
  GATEWISE_INLINE void for_each_step_of(int64_t m, Each&& each) const {
    for (int64_t i = 0; i < steps && m < live(i); ++i) each(i, offset[i] + m);
  }

  void take_input(int64_t entry) const {
    const int64_t features = problem.layer.features;
    const float* x = problem.in.x + input_of[entry];
    const int planes = gates_see_different_inputs(problem.in) ? kInfo.gates : 1;
    for (int g = 0; g < planes; ++g) {
      const float* factors = slab.input_factors(row_of[entry], g);
      for (int64_t p = 0; p < problem.feature_panels; ++p) {
        const int64_t left = features - p * kLanes, lanes = left < kLanes ? left : kLanes;
        Vec v = load_first(x + p * kLanes, lanes);
        if (factors) v *= load_first(factors + p * kLanes, lanes);
        store(panel(x_for[g], p, entry), v);
      }
    }
  }

  // The gradient of the output at a step and of the masked outputs that repeat it.
  void take_output_gradient(int64_t i, int64_t m, int64_t entry, int64_t first, int64_t last) const {
    const gatewise_layer& layer = problem.layer;
    const int64_t s = first_step + i, begin = slab.position(m, s);
    int64_t end = layer.zero_output_for_mask ? begin + 1 : slab.repeats_end(m, s);
    if (!layer.return_sequences) end = end == layer.timesteps ? begin + 1 : begin;
    if (!problem.d_outputs) end = begin;
    for (int64_t p = first; p < last; ++p) {
      Vec sum{};
      for (int64_t t = begin; t < end; ++t) {
        sum += load_first(problem.d_outputs + slab.output_offset(m, t) + p * kLanes, lanes_of(problem, p));
      }
      store(panel(d_output, p, entry), sum);
    }
  }
};

}  // namespace
}  // namespace gatewise
