// SPDX-License-Identifier: Apache-2.0
// A chunk: a run of steps of a slab on the way back, brought into panels that stay in cache while it is worked on.
//
// The live rows of the chunk's steps stand one after another in *slots*: step i has the slots offset[i] .. offset[i + 1]. A panel array is
// (panels, slots, W), so that a weight gradient reads it as one stream.
#pragma once

#include "cells/gru.h"
#include "slab.h"

namespace gatewise {
namespace {

// Panels are a few slots apart from a power of two, or they would all fall on the same cache sets.
constexpr int64_t kSlotPadding = 5;

struct Chunk {
  const Problem& problem;
  const Slab& slab;
  const SavedSlab saved;
  const float* gates_from;  // where `saved` begins
  int64_t saved_from = 0;   // the first step that `saved` is about
  int64_t capacity;         // slots a panel has room for
  int64_t first_step = 0, steps = 0;
  int64_t offset[kMaxSlots + 1];
  int64_t row_of[kMaxSlots];    // by slot: the row of the slab
  int64_t input_of[kMaxSlots];  // by slot: the place in x and in its gradient

  float* h_prev;    // (P, slots, W)
  float* h_for[3];  // what gate g's recurrent weights were multiplied with: h_prev, under dropout or reset before: something of its own
  float* x_for[3];  // (PF, slots, W), likewise for the input weights
  float* d_output;  // (P, slots, W)
  float* d_gates;   // (P, slots, 4, W), indexed by GateGradient

  Chunk(const Problem& p, const Slab& s, const SavedSlab& v, const float* gates, float* memory)
      : problem(p), slab(s), saved(v), gates_from(gates), capacity(slot_capacity(p)) {
    const int64_t plane = p.panels * capacity * kLanes, x_plane = p.feature_panels * capacity * kLanes;
    d_gates = memory;
    h_prev = d_gates + 4 * plane;
    d_output = h_prev + plane;
    float* more_h = d_output + plane;
    for (int gate = 0; gate < 3; ++gate) {
      const bool own = p.in.recurrent_dropout || (gate == kCandidate && !p.spec.reset_after);
      h_for[gate] = own ? more_h + gate * plane : h_prev;
      x_for[gate] = more_h + 3 * plane + (p.in.input_dropout_masks == 3 ? gate * x_plane : 0);
    }
  }

  static int64_t slot_capacity(const Problem& p) { return p.chunk_steps * p.slab_rows + kSlotPadding; }
  static int64_t scratch_floats(const Problem& p) { return slot_capacity(p) * (9 * p.panels + 3 * p.feature_panels) * kLanes; }

  int64_t slots() const { return offset[steps]; }
  int64_t live(int64_t i) const { return offset[i + 1] - offset[i]; }
  float* panel(float* plane, int64_t p, int64_t slot) const { return plane + (p * capacity + slot) * kLanes; }
  float* gates(int64_t p, int64_t slot) const { return d_gates + (p * capacity + slot) * 4 * kLanes; }

  // What the way forward saved of a row at step i of the chunk.
  const float* gates_at(int64_t i, int64_t p, int64_t m) const { return gates_from + saved.gates(first_step - saved_from + i, p, m); }

  // Calls each(i, m) for the live rows of every step.
  template <class Each>
  void for_each_row(Each&& each) const {
    for (int64_t i = 0; i < steps; ++i) {
      for (int64_t m = 0; m < live(i); ++m) each(i, m);
    }
  }

  // Goes to chunk number `index` of the slab: which slots its steps have.
  void locate(int64_t index) {
    first_step = index * problem.chunk_steps;
    const int64_t left = slab.steps() - first_step;
    steps = left < problem.chunk_steps ? left : problem.chunk_steps;
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

  // Fills every panel array but d_gates, for the panels [first, last) of units, or the slots [first, last) of inputs.
  void take_states(int64_t first, int64_t last) const {
    recall_states(first, last);
    if (h_for[kCandidate] != h_prev) find_multiplied_states(first, last);
    if (!problem.outputs_reversed) return for_each_row([&](int64_t i, int64_t m) { take_output_gradient(i, m, first, last); });
    // As they stand in memory (sensor, both directions: 0.92 of the time of a way back that takes step after step).
    for (int64_t m = 0; m < live(0); ++m) {
      for (int64_t i = steps - 1; i >= 0; --i) {
        if (m < live(i)) take_output_gradient(i, m, first, last);
      }
    }
  }
  void take_inputs(int64_t first, int64_t last) const {
    for (int64_t slot = first; slot < last; ++slot) take_input(slot);
  }

 private:
  // Finds h_prev at every step of the chunk from the states before the chunk: the same blend as on the way forward, the same bits.
  void recall_states(int64_t first, int64_t last) const {
    const float* before = gates_from + saved.state((first_step - saved_from) / problem.chunk_steps, 0);
    for (int64_t p = first; p < last; ++p) {
      for (int64_t m = 0; m < live(0); ++m) store(panel(h_prev, p, m), load_unaligned(before + m * saved.state_stride + p * kLanes));
    }
    for (int64_t i = 0; i + 1 < steps; ++i) {
      for (int64_t p = first; p < last; ++p) {
        const float *gate = gates_at(i, p, 0), *from = panel(h_prev, p, offset[i]);
        float* to = panel(h_prev, p, offset[i + 1]);
        for (int64_t m = 0; m < live(i + 1); ++m, gate += saved.row_stride()) {
          const Vec z = load_unaligned(gate + kSavedZ * kLanes), h_tilde = load_unaligned(gate + kSavedCandidate * kLanes);
          store(to + m * kLanes, gru_blend(z, load(from + m * kLanes), h_tilde));
        }
      }
    }
  }

  // Finds what the recurrent weights were multiplied with where that is not h_prev: row by row, whose factors are the same at every step.
  // (Recurrent dropout, one thread: quickstart 0.92 of the time of step by step, sensor 0.95, others 0.99 to 1.01.)
  void find_multiplied_states(int64_t first, int64_t last) const {
    for (int64_t p = first; p < last; ++p) {
      for (int64_t m = 0; m < live(0); ++m) {
        if (problem.in.recurrent_dropout) {
          multiply_states_of_gates(p, m);
        } else {
          for_each_step_of(m, [&](int64_t i, int64_t slot) {
            store(panel(h_for[kCandidate], p, slot), reset_gate(i, p, m) * load(panel(h_prev, p, slot)));
          });
        }
      }
    }
  }

  // The same under recurrent dropout, of a panel of row m: every gate saw its own.
  void multiply_states_of_gates(int64_t p, int64_t m) const {
    Vec factors[3];
    for (int g = 0; g < 3; ++g) factors[g] = load_first(slab.state_factors(m, g) + p * kLanes, lanes_of(problem, p));
    for_each_step_of(m, [&](int64_t i, int64_t slot) {
      const Vec h = load(panel(h_prev, p, slot)), seen = factors[kCandidate] * h;
      store(panel(h_for[kUpdate], p, slot), factors[kUpdate] * h);
      store(panel(h_for[kReset], p, slot), factors[kReset] * h);
      store(panel(h_for[kCandidate], p, slot), problem.spec.reset_after ? seen : reset_gate(i, p, m) * seen);
    });
  }

  // Calls each(i, slot) for the steps of the chunk that row m has.
  template <class Each>
  GATEWISE_INLINE void for_each_step_of(int64_t m, Each&& each) const {
    for (int64_t i = 0; i < steps && m < live(i); ++i) each(i, offset[i] + m);
  }
  GATEWISE_INLINE Vec reset_gate(int64_t i, int64_t p, int64_t m) const { return load_unaligned(gates_at(i, p, m) + kSavedR * kLanes); }

  void take_input(int64_t slot) const {
    const int64_t features = problem.spec.features;
    const float* x = problem.in.x + input_of[slot];
    const int planes = gates_see_different_inputs(problem.in) ? 3 : 1;
    for (int g = 0; g < planes; ++g) {
      const float* factors = slab.input_factors(row_of[slot], g);
      for (int64_t p = 0; p < problem.feature_panels; ++p) {
        const int64_t left = features - p * kLanes, lanes = left < kLanes ? left : kLanes;
        Vec v = load_first(x + p * kLanes, lanes);
        if (factors) v *= load_first(factors + p * kLanes, lanes);
        store(panel(x_for[g], p, slot), v);
      }
    }
  }

  // The gradient of the output at a step and of the masked outputs that repeat it.
  void take_output_gradient(int64_t i, int64_t m, int64_t first, int64_t last) const {
    const gatewise_gru_spec& spec = problem.spec;
    const int64_t s = first_step + i, slot = offset[i] + m, begin = slab.position(m, s);
    int64_t end = spec.zero_output_for_mask ? begin + 1 : slab.position(m, s + 1);
    if (!spec.return_sequences) end = end == spec.timesteps ? begin + 1 : begin;
    if (!problem.d_outputs) end = begin;
    for (int64_t p = first; p < last; ++p) {
      Vec sum{};
      for (int64_t t = begin; t < end; ++t) {
        sum += load_first(problem.d_outputs + slab.output_offset(m, t) + p * kLanes, lanes_of(problem, p));
      }
      store(panel(d_output, p, slot), sum);
    }
  }
};

}  // namespace
}  // namespace gatewise
