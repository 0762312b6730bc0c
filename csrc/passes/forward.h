// SPDX-License-Identifier: Apache-2.0
// The forward pass: a slab of rows through all its steps.
//
// A step takes the rounds of the cell one after the other, and a round the panels of units in runs: tiles add bias, input product and
// recurrent product in registers, and the cell makes of the sums of a run the operand of the next round or the next states. A team (see
// team.h) shares the panels out. What a round normalises goes to planes that the team shares, and has to wait for the whole row.
#pragma once

#include "passes/forward_units.h"
#include "passes/normalise.h"
#include "passes/operands.h"
#include "passes/outputs.h"
#include "passes/zoneout.h"
#include "threads/team.h"

namespace gatewise {
namespace {

template <class Cell, class Format>
struct ForwardSlab {
  static constexpr int kStates = Cell::kInfo.states;

  const Problem& problem;
  const Weights& weights;
  const Slab slab;
  Workspace workspace;
  float* kept;            // where `workspace` begins, or null
  int64_t kept_from = 0;  // the first step that `workspace` is about
  int64_t kept_every;     // steps from one kept state to the next
  bool keeps_steps;
  Team& team;
  const int member;
  const int64_t stride;                     // floats between rows of state: padded units
  int64_t first_panel = 0, last_panel = 0;  // this member's, in this epoch
  // Row-major planes of the slab, for all members.
  float *states, *made, *held;  // states: (2, states, rows, stride), those before even steps and those before odd ones
  float* raw;                   // (P, rows, 2 * gates of a round, W), products before they are normalised
  // This member's: what it multiplies weights with, and the sums of a run of panels.
  OperandPlanes<Cell, Format> planes;
  float* sums;

  ForwardSlab(const Problem& p, const Weights& w, int64_t index, float* memory, Team& t, int me)
      : problem(p),
        weights(w),
        slab(p, index),
        workspace(Workspace::of(Cell::kInfo, p.layer, p.block_steps, slab.first, slab.rows)),
        kept(p.workspace),
        kept_every(p.layer.recompute ? interval_steps(p.layer, p.block_steps) : p.block_steps),
        keeps_steps(p.workspace && !p.layer.recompute),
        team(t),
        member(me),
        stride(p.panels * kLanes),
        states(memory),
        made(memory + 2 * kStates * slab.rows * stride),
        held(made + slab.rows * stride),
        raw(held + Cell::kInfo.held * slab.rows * stride),
        planes(p, w, slab, memory + shared_floats(p) + me * own_floats(p)),
        sums(memory + shared_floats(p) + me * own_floats(p) + OperandPlanes<Cell, Format>::floats(p)) {}

  static int64_t shared_floats(const Problem& p) {
    return p.slab_rows * (2 * kStates + 1 + Cell::kInfo.held + Cell::kInfo.normals) * p.panels * kLanes;
  }
  static int64_t own_floats(const Problem& p) {
    return OperandPlanes<Cell, Format>::floats(p) + run_rows(p.slab_rows) * Cell::kInfo.sums() * kLanes;
  }
  static int64_t scratch_floats(const Problem& p, int members) { return shared_floats(p) + members * own_floats(p); }

  void lead() {
    start();
    for (int64_t first = 0; first < slab.steps(); first += kEpochSteps) {
      team.begin(first);
      run_epoch(first, slab.steps());
    }
    team.end();
    finish();
  }

  void follow() {
    for (int64_t first; team.follow(member, &first);) run_epoch(first, slab.steps());
  }

  // Starts again from a checkpoint, the states before step s, to keep the steps that follow in an interval's memory.
  void restart(int64_t s, const float* checkpoints, float* interval) {
    keep_interval(s, interval);
    const Workspace all = Workspace::of(Cell::kInfo, problem.layer, problem.block_steps, slab.first, slab.rows);
    const int64_t live = slab.live(s, slab.rows), index = s / interval_steps(problem.layer, problem.block_steps);
    for (int k = 0; k < kStates; ++k) {
      for (int64_t m = 0; m < live; ++m) {
        for (int64_t p = 0; p < problem.panels; ++p) {
          store(state_before(s, k, m) + p * kLanes, load_unaligned(checkpoints + all.state(index, k, m) + p * kLanes));
        }
      }
    }
  }
  void keep_interval(int64_t s, float* interval) {
    workspace = Workspace::of_interval(Cell::kInfo, problem.layer, problem.block_steps, slab.rows);
    kept = interval;
    kept_from = s;
    kept_every = problem.block_steps;
    keeps_steps = true;
  }

  // Takes the steps from `first` on, at most an epoch of them and none from `limit` on.
  void run_epoch(int64_t first, int64_t limit) {
    const int64_t end = first + kEpochSteps < limit ? first + kEpochSteps : limit;
    first_panel = team.first(member, problem.panels);
    last_panel = team.last(member, problem.panels);
    int64_t live = slab.rows;
    for (int64_t s = first; s < end; ++s) {
      live = slab.live(s, live);
      if (kept && (s - kept_from) % kept_every == 0) keep_states((s - kept_from) / kept_every, s, live);
      planes.take(s, first, end, live, state_before(s, 0, 0), first_panel, last_panel);
      const StepRows rows = rows_of_step(s, live);
      const Operands operands = planes.of_step(s, state_before(s, 0, 0), made);
      run_round<0>(rows, operands);
      if constexpr (Cell::kInfo.rounds > 1) {
        team.meet(member);
        run_round<1>(rows, operands);
      }
      if (Cell::kInfo.normalises_state() && Zoneout::acts_on(problem, kStates - 1)) team.meet(member);  // others still read all of it
      zone_out(s, live);
      Outputs{slab}.write(s, state_before(s + 1, 0, 0), stride, live, first_panel, last_panel);
      restart_rows(s + 1, live);
      team.meet(member);
    }
  }

  // A round of a step: the sums of this member's panels, by one product or, where dropout gives gates different rows, by one for each, and
  // what the cell makes of a run of panels after the other.
  template <int kRound>
  GATEWISE_INLINE void run_round(const StepRows& rows, const Operands& operands) const {
    constexpr Round kOf = Cell::kInfo.round[kRound];
    if constexpr (kOf.normalises == Normalises::kNothing) {
      const Sums found{sums, rows.count, kOf.sums()};
      find_sums<kRound>(rows, operands, found, Constant<false>{},
                        [&](int64_t first, int64_t end) { take_sums<Cell, kRound>(slab, workspace, rows, first, end, found); });
    } else if constexpr (kOf.normalises == Normalises::kProducts) {
      const Sums found{raw, rows.count, kOf.found().sums()};
      find_sums<kRound>(rows, operands, found, Constant<true>{}, [](int64_t, int64_t) {});
      team.meet(member);
      take_normalised<kRound>(rows, raw, found.row_stride(), found.panel_stride());
    } else {
      take_normalised<kRound>(rows, rows.next[kStates - 1], stride, kLanes);
    }
  }

  // Normalises what all members have found, (panels, rows), and hands this member's panels to the cell.
  template <int kRound>
  void take_normalised(const StepRows& rows, const float* found, int64_t row_stride, int64_t panel_stride) const {
    const bool keeps = rows.kept && first_panel == 0;
    const Normaliser<Cell, kRound> of(weights, rows, found, row_stride, panel_stride, problem.layer.units, keeps);
    const Sums run{sums, rows.count, Cell::kInfo.round[kRound].sums()};
    const int64_t most = kRunRows < rows.count ? 1 : kRunRows / rows.count;
    for (int64_t p = first_panel; p < last_panel; p += most) {
      const int64_t end = p + most < last_panel ? p + most : last_panel;
      of.normalise(workspace, p, end, run);
      take_sums<Cell, kRound>(slab, workspace, rows, p, end, run);
    }
  }

  // The sums of a round of this member's panels. kWhole: all of them stand side by side, else those of a run, which is then done.
  template <int kRound, class Whole, class Done>
  GATEWISE_INLINE void find_sums(const StepRows& rows, const Operands& operands, const Sums& found, Whole, Done&& done) const {
    constexpr int kGates = Cell::kInfo.round[kRound].gates;
    const auto add = [&](auto alone) {
      return [=, &operands](auto panels, auto M, int64_t panel, int64_t row, Depth depth, Ahead ahead, int64_t place) {
        for_groups_of<Cell, kRound, decltype(alone)::value>([&](auto group) {
          add_up<Format, typename decltype(panels)::Vector, M.value, panels.value>(problem, weights, operands, group, row, panel, depth,
                                                                                   ahead, found, Whole::value ? panel : place);
        });
      };
    };
    if (gates_see_different_rows(problem.in)) {
      for_tiles<1>(product_of_step(rows.count, 1), add(Constant<true>{}), done);
    } else {
      for_tiles<gates_per_product(kGates)>(product_of_step(rows.count, kGates), add(Constant<false>{}), done);
    }
  }

  // What the cell reads and writes at step s.
  StepRows rows_of_step(int64_t s, int64_t live) const {
    StepRows rows;
    rows.count = live;
    rows.stride = stride;
    for (int k = 0; k < kStates; ++k) {
      rows.before[k] = state_before(s, k, 0);
      rows.next[k] = state_before(s + 1, k, 0);
    }
    rows.made = made;
    rows.held = held;
    rows.held_stride = slab.rows * stride;
    rows.kept = keeps_steps ? kept + workspace.step(s - kept_from, 0, 0) : nullptr;
    rows.kept_rows = keeps_steps ? kept + workspace.of_row(s - kept_from, 0) : nullptr;
    return rows;
  }

  // The product of a step for this member's panels, `gates` gates at a time.
  Product product_of_step(int64_t rows, int gates) const {
    const int64_t features = problem.layer.features, from = planes.projected > 0 ? features : 0;
    return {first_panel, last_panel, problem.layer.units, rows, {from, features + problem.layer.units}, gates, problem.exceeds_l2};
  }

  // State k of row m before step s.
  float* state_before(int64_t s, int64_t k, int64_t m) const { return states + ((s % 2 * kStates + k) * slab.rows + m) * stride; }

  void start() const {
    for (int64_t m = 0; m < slab.rows; ++m) take_initial_states(0, m, 0, problem.panels);
  }

  // Makes the states of row m before step s its initial ones.
  void take_initial_states(int64_t s, int64_t m, int64_t first, int64_t last) const {
    for (int k = 0; k < kStates; ++k) {
      for (int64_t p = first; p < last; ++p) store(state_before(s, k, m) + p * kLanes, slab.initial_state(k, m, p, s > 0));
    }
  }

  // The rows whose segment ended before step s go on from their initial states.
  void restart_rows(int64_t s, int64_t live) const {
    if (!problem.in.starts) return;
    for (int64_t m = 0; m < slab.live(s, live); ++m) {
      if (slab.restarts(m, s)) take_initial_states(s, m, first_panel, last_panel);
    }
  }

  // Puts together the states after step s, of those before and those that the cell made.
  void zone_out(int64_t s, int64_t live) const {
    for (int k = 0; k < kStates; ++k) {
      if (!Zoneout::acts_on(problem, k)) continue;
      const Zoneout zoneout{slab, k};
      for (int64_t m = 0; m < live; ++m) {
        for (int64_t p = first_panel; p < last_panel; ++p) {
          zoneout.blend(m, s, p, state_before(s, k, m) + p * kLanes, state_before(s + 1, k, m) + p * kLanes);
        }
      }
    }
  }

  // Keeps the states before step s, for a time block or for a checkpoint.
  void keep_states(int64_t block, int64_t s, int64_t live) const {
    for (int k = 0; k < kStates; ++k) {
      for (int64_t m = 0; m < live; ++m) {
        float* to = kept + workspace.state(block, k, m);
        for (int64_t p = first_panel; p < last_panel; ++p) store_unaligned(to + p * kLanes, load(state_before(s, k, m) + p * kLanes));
      }
    }
  }

  // The final states, and the outputs that no step wrote.
  void finish() const {
    const int64_t units = problem.layer.units, end = team.share_end(problem.panels) * kLanes;
    for (int64_t m = 0; m < slab.rows; ++m) {
      for (int k = 0; k < kStates; ++k) {
        const float* from = state_before(slab.length(m), k, m);
        float* to = problem.state[k] + slab.state_offset(m);
        for (int64_t u = team.share_begin(problem.panels) * kLanes; u < end && u < units; ++u) to[u] = from[u];
      }
      Outputs{slab}.complete(m, state_before(slab.length(m), 0, m));
    }
  }
};

template <class Cell, class Format>
void forward_slab(const Problem& problem, const Weights& weights, int64_t slab, float* scratch, Team& team, int member) {
  ForwardSlab<Cell, Format> work(problem, weights, slab, scratch, team, member);
  if (member == 0) {
    work.lead();
  } else {
    work.follow();
  }
}

}  // namespace
}  // namespace gatewise
