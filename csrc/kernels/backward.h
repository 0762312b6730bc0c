// SPDX-License-Identifier: Apache-2.0
// The way back: a slab of rows from its last step to its first, chunk by chunk.
//
// For each chunk of steps: (1) bring states, inputs and output gradients into panels, (2) go back
// through the steps, turning the gradient of each state into gradients of its gates, (3) add the chunk to the weight gradients, (4) write
// the gradient of its inputs. The gate gradients of a chunk are used while they are in cache and are never stored for all steps. A team
// (see team.h) shares the panels out.
//
// With spec.recompute the chunks come in segments, and the gates of a segment are found again by the way forward before it is worked on.
#pragma once

#include "back_products.h"
#include "chunk.h"
#include "chunk_gradients.h"
#include "flow.h"
#include "forward.h"
#include "team.h"
#include "tile.h"

namespace gatewise {
namespace {

struct BackwardSlab {
  // What a section does, and for which chunk and steps; the number that a team hands on.
  struct Task {
    enum Kind : int64_t { kAgain, kTake, kSteps, kGradients, kInitialState };
    static constexpr int64_t kKinds = 5, kParts = kMaxSlots / kSectionSteps;
    int64_t kind, chunk, part;  // of steps: [part, part + 1) * kSectionSteps of the chunk

    int64_t number() const { return (chunk * kParts + part) * kKinds + kind; }
    static Task of(int64_t number) { return {number % kKinds, number / kKinds / kParts, number / kKinds % kParts}; }
  };

  const Problem& problem;
  const Slab slab;
  const Partial& partial;
  Team& team;
  const int member;
  const int64_t segment;  // steps of a segment; all of them without spec.recompute
  float* again_gates;     // what is found again of a segment
  Chunk chunk;
  ForwardSlab again;
  int64_t first_panel = 0, last_panel = 0;  // this member's, in this section
  float* dh;                                // (P, rows, W): the gradient of the state that did not go through a gate
  const Flow flow;

  BackwardSlab(const Problem& p, int64_t index, float* memory, const Partial& sums, Team& t, int me)
      : problem(p),
        slab(p, index),
        partial(sums),
        team(t),
        member(me),
        segment(p.spec.recompute ? segment_steps(p.spec, p.chunk_steps) : slab.steps()),
        again_gates(memory + own_floats(p)),
        chunk(p, slab,
              p.spec.recompute ? SavedSlab::of_segment(p.spec, p.chunk_steps, slab.rows)
                               : SavedSlab::of(p.spec, p.chunk_steps, slab.first, slab.rows),
              p.spec.recompute ? again_gates : p.saved_in, memory + p.slab_rows * p.panels * kLanes + Flow::floats(p)),
        again(p, index, again_gates + again_floats(p), t, me),
        dh(memory),
        flow{p, memory + p.slab_rows * p.panels * kLanes} {}

  static int64_t own_floats(const Problem& p) { return p.slab_rows * p.panels * kLanes + Flow::floats(p) + Chunk::scratch_floats(p); }
  static int64_t again_floats(const Problem& p) { return SavedSlab::segment_floats(p.spec, p.chunk_steps, p.slab_rows); }
  static int64_t scratch_floats(const Problem& p, int members) {
    if (!p.spec.recompute) return own_floats(p);
    return own_floats(p) + again_floats(p) + ForwardSlab::shared_floats(p) + members * ForwardSlab::own_floats(p);
  }

  void lead() {
    start();
    for (int64_t end = slab.steps(); end > 0;) {
      const int64_t first = (end - 1) / segment * segment;
      if (problem.spec.recompute) lead_again(first, end);
      for (int64_t c = (end - 1) / problem.chunk_steps; c >= first / problem.chunk_steps; --c) {
        lead_section({Task::kTake, c, 0});
        for (int64_t part = (chunk.steps - 1) / kSectionSteps; part >= 0; --part) lead_section({Task::kSteps, c, part});
        lead_section({Task::kGradients, c, 0});
      }
      end = first;
    }
    if (problem.d.initial_state) lead_section({Task::kInitialState, 0, 0});
    team.end();
  }

  void lead_again(int64_t first, int64_t end) {
    again.restart(first, problem.saved_in, again_gates);
    for (int64_t c = first / problem.chunk_steps; c * problem.chunk_steps < end; ++c) {
      const int64_t left = end - c * problem.chunk_steps, steps = left < problem.chunk_steps ? left : problem.chunk_steps;
      for (int64_t part = 0; part * kSectionSteps < steps; ++part) lead_section({Task::kAgain, c, part});
    }
  }

  void lead_section(Task task) {
    team.begin(task.number());
    run_section(task);
  }

  void follow() {
    for (int64_t number; team.follow(member, &number);) run_section(Task::of(number));
  }

  void run_section(Task task) {
    first_panel = team.first(member, problem.panels);
    last_panel = team.last(member, problem.panels);
    if (chunk.first_step != task.chunk * problem.chunk_steps || chunk.steps == 0) chunk.locate(task.chunk);
    chunk.saved_from = problem.spec.recompute ? chunk.first_step / segment * segment : 0;
    switch (task.kind) {
      case Task::kAgain:
        again.keep_segment(chunk.saved_from, again_gates);
        return again.run_section(chunk.first_step + task.part * kSectionSteps, chunk.first_step + chunk.steps);
      case Task::kTake:
        chunk.take_states(first_panel, last_panel);
        chunk.take_inputs(team.first(member, chunk.slots()), team.last(member, chunk.slots()));
        break;
      case Task::kSteps:
        return go_back_through(task.part);
      case Task::kGradients:
        gradients().add_to_weights(first_panel, last_panel);
        if (problem.d.x) gradients().write_inputs(team.first(member, chunk.slots()), team.last(member, chunk.slots()));
        break;
      default:
        write_initial_state_gradients();
    }
    team.meet(member);
  }

  void go_back_through(int64_t part) const {
    const int64_t first = part * kSectionSteps, end = first + kSectionSteps < chunk.steps ? first + kSectionSteps : chunk.steps;
    for (int64_t i = end - 1; i >= first; --i) {
      add_through_gates(chunk.first_step + i + 1, flowing(i));
      blend_gradients(i);
      if (!problem.spec.reset_after) {
        team.meet(member);
        reset_gradients(i);
      }
      team.meet(member);
    }
  }

  // How many rows have a later step than step i of the chunk, and so gate gradients to take from it.
  int64_t flowing(int64_t i) const { return slab.live(chunk.first_step + i + 1, chunk.live(i)); }

  float* dh_at(int64_t p, int64_t m) const { return dh + (p * slab.rows + m) * kLanes; }

  void start() const {
    for (int64_t m = 0; m < slab.rows; ++m) {
      const float* d = problem.d_state ? problem.d_state + slab.state_offset(m) : nullptr;
      for (int64_t p = 0; p < problem.panels; ++p) store(dh_at(p, m), d ? load_first(d + p * kLanes, lanes_of(problem, p)) : Vec{});
      if (problem.d.x && !problem.adds_to_x) clear_masked_inputs(m);
    }
  }

  void clear_masked_inputs(int64_t m) const {
    int64_t next = 0;
    for (int64_t s = 0; s <= slab.length(m); ++s) {
      for (const int64_t valid = slab.position(m, s); next < valid; ++next) {
        float* to = problem.d.x + slab.input_offset(m, next);
        for (int64_t k = 0; k < problem.spec.features; ++k) to[k] = 0.0f;
      }
      ++next;
    }
  }

  // dh += the product of the gate gradients of step s, the later one, and the recurrent weights. With recurrent dropout each gate saw a
  // state of its own. With reset_after=False the candidate's went back in its own step.
  void add_through_gates(int64_t s, int64_t rows) const {
    static constexpr int gate_of[3] = {kCandidate, kUpdate, kReset};
    const int begin = problem.spec.reset_after ? kDq : kDz;
    if (!problem.in.recurrent_dropout) {
      return for_recurrent_product(flow.product_of(s, begin), rows,
                                   [&](int64_t p, int64_t m, Vec sum) { store(dh_at(p, m), load(dh_at(p, m)) + sum); });
    }
    for (int g = begin; g < 3; ++g) add_through_gate(flow.product_of(s, g), gate_of[g], rows);
  }

  // The same for one gate, whose part of the gradient has its dropout factors.
  void add_through_gate(const FlowProduct& b, int gate, int64_t rows) const {
    alignas(64) float sums[run_rows(kMaxSlabRows) * kLanes];
    for_back_product_runs(b, b.product(rows, first_panel, last_panel, problem.far_weights), sums, [&](int64_t first, int64_t end) {
      const int64_t whole_end = end * kLanes > problem.spec.units ? end - 1 : end;  // of the whole panels
      for (int64_t m = 0; m < rows; ++m) {
        const float *factors = slab.state_factors(m, gate), *sum = sums + m * kLanes;
        float* to = dh_at(first, m);
        int64_t p = first;
        for (; p < whole_end; ++p, sum += rows * kLanes, to += slab.rows * kLanes) {
          store(to, load(to) + load(sum) * load_unaligned(factors + p * kLanes));
        }
        if (p < end) store(to, load(to) + load(sum) * load_first(factors + p * kLanes, lanes_of(problem, p)));
      }
    });
  }

  // Calls each(panel, row, sum) for every sum of a product with this member's recurrent weights.
  template <class Each>
  void for_recurrent_product(const FlowProduct& b, int64_t rows, Each&& each) const {
    alignas(64) float sums[run_rows(kMaxSlabRows) * kLanes];
    for_back_product(b, b.product(rows, first_panel, last_panel, problem.far_weights), sums, each);
  }

  // From dh of all live rows to the gradients of update gate and candidate and, with reset_after, of the reset gate and q.
  void blend_gradients(int64_t i) const {
    with_activations(problem.spec, [&](auto f) {
      const int64_t live = chunk.live(i), slot = chunk.offset[i], stride = Flow::stride(problem), s = chunk.first_step + i;
      const Flow::Place q_place = flow.place(s, kDq), z_place = flow.place(s, kDz), r_place = flow.place(s, kDr);
      for (int64_t p = first_panel; p < last_panel; ++p) {
        const int64_t lanes = lanes_of(problem, p);
        float *q_to = q_place.panel(p, lanes), *z_to = z_place.panel(p, lanes), *r_to = r_place.panel(p, lanes);
        for (int64_t m = 0; m < live; ++m, q_to += stride, z_to += stride, r_to += stride) {
          const float* gate = chunk.gates_at(i, p, m);
          const Vec z = load_unaligned(gate + kSavedZ * kLanes), h_tilde = load_unaligned(gate + kSavedCandidate * kLanes);
          const Vec total = load(dh_at(p, m)) + load(chunk.panel(chunk.d_output, p, slot + m));
          const BlendGradient d = gru_blend_gradient(f, total, z, load(chunk.panel(chunk.h_prev, p, slot + m)), h_tilde);
          float* to = chunk.gates(p, slot + m);
          store(dh_at(p, m), d.dh_prev);
          if (problem.spec.reset_after) {
            const Vec r = load_unaligned(gate + kSavedR * kLanes), q = load_unaligned(gate + kSavedQ * kLanes);
            const ResetAfterGradient reset = gru_reset_after_gradient(f, d.dah, r, q);
            keep(to + kDq * kLanes, q_to, reset.dq);
            keep(to + kDz * kLanes, z_to, d.daz);
            keep(to + kDr * kLanes, r_to, reset.dar);
          } else {
            keep(to + kDq * kLanes, q_to, d.dah);
            keep(to + kDz * kLanes, z_to, d.daz);
          }
          store(to + kDh * kLanes, d.dah);
        }
      }
    });
  }

  // Keeps a gradient for the weights, and for the state before.
  static GATEWISE_INLINE void keep(float* for_weights, float* for_state, Vec gradient) {
    store(for_weights, gradient);
    store_unaligned(for_state, gradient);
  }

  // With reset_after=False the reset gate's gradient comes back through the candidate's weights, in the same step.
  void reset_gradients(int64_t i) const {
    const int64_t s = chunk.first_step + i, stride = Flow::stride(problem);
    const Flow::Place place = flow.place(s, kDr);
    with_activations(problem.spec, [&](auto f) {
      for_recurrent_product(flow.product_of(s, kDq), chunk.live(i), [&](int64_t p, int64_t m, Vec sum) {
        reset_gradient(f, i, p, m, sum, place.panel(p, lanes_of(problem, p)) + m * stride);
      });
    });
  }

  template <class Activations>
  GATEWISE_INLINE void reset_gradient(const Activations& f, int64_t i, int64_t p, int64_t m, Vec d_rh, float* for_state) const {
    const int64_t slot = chunk.offset[i] + m;
    const Vec r = load_unaligned(chunk.gates_at(i, p, m) + kSavedR * kLanes);
    const float* factors = slab.state_factors(m, kCandidate);
    if (factors) d_rh *= load_first(factors + p * kLanes, lanes_of(problem, p));
    const ResetBeforeGradient d = gru_reset_before_gradient(f, d_rh, r, load(chunk.panel(chunk.h_prev, p, slot)));
    keep(chunk.gates(p, slot) + kDr * kLanes, for_state, d.dar);
    store(dh_at(p, m), load(dh_at(p, m)) + d.dh_prev);
  }

  ChunkGradients gradients() const { return {chunk, partial}; }

  void write_initial_state_gradients() const {
    add_through_gates(0, slab.live(0, slab.rows));
    for (int64_t m = 0; m < slab.rows; ++m) {
      float* to = problem.d.initial_state + slab.state_offset(m);
      for (int64_t p = first_panel; p < last_panel; ++p) store_first(to + p * kLanes, load(dh_at(p, m)), lanes_of(problem, p));
    }
  }
};

int64_t backward_scratch_floats(const Problem& problem, int members) { return BackwardSlab::scratch_floats(problem, members); }

void backward_slab(const Problem& problem, int64_t slab, float* scratch, const Partial& partial, Team& team, int member) {
  BackwardSlab work(problem, slab, scratch, partial, team, member);
  if (member == 0) {
    work.lead();
  } else {
    work.follow();
  }
}

}  // namespace
}  // namespace gatewise
