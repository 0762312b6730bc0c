// SPDX-License-Identifier: Apache-2.0
// The way forward: a slab of rows through all its steps.
//
// A step takes the panels of units in runs: tiles add bias, input product and recurrent product in registers, and the cell's gates turn the
// pre-activations of a run into the next state. With reset_after=False the candidate needs r * h_prev of all units, so there
// are two rounds over the panels. A team (see team.h) shares the panels out.
#pragma once

#include "gates.h"
#include "operands.h"
#include "outputs.h"
#include "preactivation.h"
#include "slab.h"
#include "team.h"
#include "tile.h"

namespace gatewise {
namespace {

// A slab of one row takes the panels of weights upwards and downwards in turn, so many at once: each step begins with the weights that the
// one before ended with, which are still in cache. (On a Zen 3 with 512 KB: 256 units on one thread 0.93 of the time, 384 units 0.94 to
// 0.96, 1024 units 0.99; three rows none.)
constexpr int64_t kPanelsAtOnce = 4;

struct ForwardSlab {
  const Problem& problem;
  const Slab slab;
  SavedSlab saved;
  float* saved_to;         // where `saved` begins, or null
  int64_t saved_from = 0;  // the first step that `saved` is about
  int64_t saved_every;     // steps from one saved state to the next
  bool saves_gates;
  Team& team;
  const int member;
  const int64_t stride;                     // floats between rows of state: padded units
  int64_t first_panel = 0, last_panel = 0;  // this member's, in this section
  // Row-major planes of the slab, for all members.
  float *states[2], *reset, *update;
  // This member's: what it multiplies weights with, and the pre-activations of a run of panels.
  OperandPlanes planes;
  float* pre;

  ForwardSlab(const Problem& p, int64_t index, float* memory, Team& t, int me)
      : problem(p),
        slab(p, index),
        saved(SavedSlab::of(p.spec, p.chunk_steps, slab.first, slab.rows)),
        saved_to(p.saved),
        saved_every(p.spec.recompute ? segment_steps(p.spec, p.chunk_steps) : p.chunk_steps),
        saves_gates(p.saved && !p.spec.recompute),
        team(t),
        member(me),
        stride(p.panels * kLanes),
        planes(p, slab, memory + shared_floats(p) + me * own_floats(p)),
        pre(memory + shared_floats(p) + me * own_floats(p) + OperandPlanes::floats(p)) {
    const int64_t rows = slab.rows * stride;
    states[0] = memory;
    states[1] = states[0] + rows;
    reset = states[1] + rows;
    update = reset + rows;
  }

  static int64_t shared_floats(const Problem& p) { return p.slab_rows * 4 * p.panels * kLanes; }
  static int64_t own_floats(const Problem& p) { return OperandPlanes::floats(p) + run_rows(p.slab_rows) * 4 * kLanes; }

  void lead() {
    start();
    for (int64_t first = 0; first < slab.steps(); first += kSectionSteps) {
      team.begin(first);
      run_section(first, slab.steps());
    }
    team.end();
    finish();
  }

  void follow() {
    for (int64_t first; team.follow(member, &first);) run_section(first, slab.steps());
  }

  // Starts again from the states before step s, to keep the gates of the steps that follow in a segment's memory.
  void restart(int64_t s, const float* saved_states, float* segment) {
    keep_segment(s, segment);
    const SavedSlab all = SavedSlab::of(problem.spec, problem.chunk_steps, slab.first, slab.rows);
    const int64_t live = slab.live(s, slab.rows), index = s / segment_steps(problem.spec, problem.chunk_steps);
    for (int64_t m = 0; m < live; ++m) {
      for (int64_t p = 0; p < problem.panels; ++p) {
        store(state_before(s, m) + p * kLanes, load_unaligned(saved_states + all.state(index, m) + p * kLanes));
      }
    }
  }
  void keep_segment(int64_t s, float* segment) {
    saved = SavedSlab::of_segment(problem.spec, problem.chunk_steps, slab.rows);
    saved_to = segment;
    saved_from = s;
    saved_every = problem.chunk_steps;
    saves_gates = true;
  }

  // Takes the steps from `first` on, at most a section of them and none from `limit` on.
  void run_section(int64_t first, int64_t limit) {
    const int64_t end = first + kSectionSteps < limit ? first + kSectionSteps : limit;
    first_panel = team.first(member, problem.panels);
    last_panel = team.last(member, problem.panels);
    int64_t live = slab.rows;
    for (int64_t s = first; s < end; ++s) {
      live = slab.live(s, live);
      if (saved_to && (s - saved_from) % saved_every == 0) {
        save_states(saved_to + saved.state((s - saved_from) / saved_every, 0), s, live);
      }
      planes.take(s, first, end, live, state_before(s, 0), first_panel, last_panel);
      const StepRows rows = rows_of_step(s, live);
      const Operands operands = planes.of_step(s, state_before(s, 0), reset);
      const Gates gates{problem, saved, rows};
      if (problem.spec.reset_after) {
        for_panels(s, [&](int64_t from, int64_t to) {
          preactivate_gates<kUpdate, 3, true, 4>(rows, operands, from, to,
                                                 [&](int64_t p, int64_t end, const Pre<4>& found) { gates.reset_after(p, end, found); });
        });
      } else {
        for_panels(s, [&](int64_t from, int64_t to) {
          preactivate_gates<kUpdate, 2, false, 2>(rows, operands, from, to,
                                                  [&](int64_t p, int64_t end, const Pre<2>& found) { gates.reset_before(p, end, found); });
        });
        team.meet(member);
        for_panels(s, [&](int64_t from, int64_t to) {
          preactivate_gates<kCandidate, 1, false, 1>(
              rows, operands, from, to, [&](int64_t p, int64_t end, const Pre<1>& found) { gates.reset_before_candidate(p, end, found); });
        });
      }
      Outputs{slab}.write(s, state_before(s + 1, 0), stride, live, first_panel, last_panel);
      team.meet(member);
    }
  }

  // Calls take(first, last) for this member's panels at step s.
  template <class Take>
  GATEWISE_INLINE void for_panels(int64_t s, Take&& take) const {
    const bool downwards = slab.rows == 1 && s % 2 != 0;
    if (!downwards) return take(first_panel, last_panel);
    for (int64_t end = last_panel; end > first_panel;) {
      const int64_t first = end - first_panel > kPanelsAtOnce ? end - kPanelsAtOnce : first_panel;
      take(first, end);
      end = first;
    }
  }

  // What the gates of step s read and write.
  StepRows rows_of_step(int64_t s, int64_t live) const {
    StepRows rows;
    rows.count = live;
    rows.stride = stride;
    rows.h_prev = state_before(s, 0);
    rows.h_next = state_before(s + 1, 0);
    rows.reset = reset;
    rows.update = update;
    rows.saved = saves_gates ? saved_to + saved.gates(s - saved_from, 0, 0) : nullptr;
    for (int64_t m = 0; m < live; ++m) rows.factors[m] = slab.state_factors(m, kCandidate);
    return rows;
  }

  // The product of a step for the panels [first, last), `gates` gates at a time.
  Product product_of_step(int64_t rows, int64_t first, int64_t last, int gates) const {
    const int64_t features = problem.spec.features, from = planes.beforehand > 0 ? features : 0;
    return {first, last, problem.spec.units, rows, {from, features + problem.spec.units}, gates, problem.far_weights};
  }

  float* state_before(int64_t s, int64_t m) const { return states[s % 2] + m * stride; }

  void start() const {
    for (int64_t m = 0; m < slab.rows; ++m) {
      const float* h0 = problem.in.initial_state ? problem.in.initial_state + slab.state_offset(m) : nullptr;
      for (int64_t p = 0; p < problem.panels; ++p) {
        store(states[0] + m * stride + p * kLanes, h0 ? load_first(h0 + p * kLanes, lanes_of(problem, p)) : Vec{});
      }
    }
  }

  void save_states(float* to, int64_t s, int64_t live) const {
    for (int64_t m = 0; m < live; ++m, to += saved.state_stride) {
      for (int64_t p = first_panel; p < last_panel; ++p) store_unaligned(to + p * kLanes, load(state_before(s, m) + p * kLanes));
    }
  }

  // Finds pre-activations of G gates from kFirst on, of the panels [first, last), kCount values a unit: by one product, or, where dropout
  // gives gates different rows, by one for each gate. Calls done(first panel, end, pre-activations) for a run of panels after the other.
  template <int kFirst, int G, bool kApart, int kCount, class Done>
  void preactivate_gates(const StepRows& rows, const Operands& operands, int64_t first, int64_t last, Done&& done) const {
    const Pre<kCount> found{pre, rows.count};
    const auto run_done = [&](int64_t begin, int64_t end) { done(begin, end, found); };
    if (G > 1 && gates_see_different_rows(problem.in)) {
      for_tiles<1>(
          product_of_step(rows.count, first, last, 1),
          [&](auto P, auto M, int64_t panel, int64_t row, Depth depth, Ahead ahead, int64_t place) {
            preactivate<typename decltype(P)::Vector, M.value, P.value, kFirst, 1, false>(problem, operands, row, panel, depth, ahead,
                                                                                          found, place);
            if constexpr (G > 1)
              preactivate<typename decltype(P)::Vector, M.value, P.value, kFirst + 1, 1, false>(problem, operands, row, panel, depth, ahead,
                                                                                                found, place);
            if constexpr (G > 2)
              preactivate<typename decltype(P)::Vector, M.value, P.value, kFirst + 2, 1, kApart>(problem, operands, row, panel, depth,
                                                                                                 ahead, found, place);
          },
          run_done);
    } else {
      for_tiles<G>(
          product_of_step(rows.count, first, last, G),
          [&](auto P, auto M, int64_t panel, int64_t row, Depth depth, Ahead ahead, int64_t place) {
            preactivate<typename decltype(P)::Vector, M.value, P.value, kFirst, G, kApart>(problem, operands, row, panel, depth, ahead,
                                                                                           found, place);
          },
          run_done);
    }
  }

  // The final states, and the outputs that no step wrote.
  void finish() const {
    const int64_t units = problem.spec.units;
    for (int64_t m = 0; m < slab.rows; ++m) {
      const float* h = state_before(slab.length(m), m);
      float* to = problem.state + slab.state_offset(m);
      for (int64_t k = 0; k < units; ++k) to[k] = h[k];
      Outputs{slab}.complete(m, h);
    }
  }
};

int64_t forward_scratch_floats(const Problem& problem, int members) {
  return ForwardSlab::shared_floats(problem) + members * ForwardSlab::own_floats(problem);
}

void forward_slab(const Problem& problem, int64_t slab, float* scratch, Team& team, int member) {
  ForwardSlab work(problem, slab, scratch, team, member);
  if (member == 0) {
    work.lead();
  } else {
    work.follow();
  }
}

int64_t saved_floats(const gatewise_gru_spec& spec, int64_t chunk_steps) { return SavedSlab::all_floats(spec, chunk_steps); }

}  // namespace
}  // namespace gatewise
