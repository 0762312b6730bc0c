// SPDX-License-Identifier: Apache-2.0
// The backward pass: a slab of rows from its last step to its first, time block by time block.
//
// For each block of steps: (1) bring states, inputs and output gradients into panels, (2) go back through the steps, turning the gradients
// of the states into those of the sums, round by round, (3) add the block to the weight gradients, (4) write the gradients of its inputs.
// What a block finds is used while it is in cache and is never stored for all steps. A team (see team.h) shares the panels out.
//
// With layer.recompute the blocks come in intervals, and what the forward pass would have kept of an interval is found again by it first.
#pragma once

#include "passes/backward_units.h"
#include "passes/block_gradients.h"
#include "passes/flow.h"
#include "passes/forward.h"
#include "passes/normalise.h"
#include "simd/math.h"

namespace gatewise {
namespace {

template <class Cell, class Format>
struct BackwardSlab {
  static constexpr const CellInfo& kInfo = Cell::kInfo;
  static constexpr int kStates = kInfo.states, kLast = kInfo.rounds - 1;
  using Again = ForwardSlab<Cell, Format>;

  // What an epoch does, and for which block and steps; the number that a team hands on.
  struct Task {
    enum Kind : int64_t { kAgain, kTake, kSteps, kGradients, kInitialState };
    static constexpr int64_t kKinds = 5, kParts = kMaxEntries / kEpochSteps;
    int64_t kind, block, part;  // of steps: [part, part + 1) * kEpochSteps of the block

    int64_t number() const { return (block * kParts + part) * kKinds + kind; }
    static Task of(int64_t number) { return {number % kKinds, number / kKinds / kParts, number / kKinds % kParts}; }
  };

  const Problem& problem;
  const Weights& weights;
  const Slab slab;
  const Partial& partial;
  Team& team;
  const int member;
  const int64_t interval;  // steps of an interval; all of them without layer.recompute
  float* again_kept;       // what is found again of an interval, and the scratch memory for that
  TimeBlock<Cell> block;
  Again* again = nullptr;
  int64_t first_panel = 0, last_panel = 0;  // this member's, in this epoch
  float* d_states;                          // (states, P, rows, W): what did not go through a sum
  float* d_kept;                            // likewise: what went past the cell, by zoneout
  float* d_normals;                         // (P, rows, normals, W): of a step, what waits for the whole row
  const Flow<Cell> flow;

  BackwardSlab(const Problem& p, const Weights& w, int64_t index, float* memory, const Partial& sums, Team& t, int me)
      : problem(p),
        weights(w),
        slab(p, index),
        partial(sums),
        team(t),
        member(me),
        interval(p.layer.recompute ? interval_steps(p.layer, p.block_steps) : slab.steps()),
        again_kept(memory + own_floats(p)),
        block(p, slab,
              p.layer.recompute ? Workspace::of_interval(kInfo, p.layer, p.block_steps, slab.rows)
                                : Workspace::of(kInfo, p.layer, p.block_steps, slab.first, slab.rows),
              p.layer.recompute ? again_kept : p.kept, memory + states_floats(p) + Flow<Cell>::floats(p)),
        d_states(memory),
        d_kept(memory + own_floats(p) - kept_floats(p)),
        d_normals(memory + own_floats(p) - kept_floats(p) - normals_floats(p)),
        flow{p, memory + states_floats(p), w.recurrent_kernel_back} {}

  static int64_t states_floats(const Problem& p) { return kStates * p.slab_rows * p.panels * kLanes; }
  static int64_t kept_floats(const Problem& p) { return Zoneout::acts_on(p, 0) || Zoneout::acts_on(p, 1) ? states_floats(p) : 0; }
  static int64_t normals_floats(const Problem& p) { return kInfo.normals * p.slab_rows * p.panels * kLanes; }
  static int64_t own_floats(const Problem& p) {
    return states_floats(p) + Flow<Cell>::floats(p) + TimeBlock<Cell>::scratch_floats(p) + normals_floats(p) + kept_floats(p);
  }
  static int64_t again_floats(const Problem& p) { return Workspace::interval_floats(kInfo, p.layer, p.block_steps, p.slab_rows); }
  static int64_t scratch_floats(const Problem& p, int members) {
    return own_floats(p) + (p.layer.recompute ? again_floats(p) + Again::scratch_floats(p, members) : 0);
  }

  void run() {
    if (member > 0) {
      for (int64_t number; team.follow(member, &number);) run_epoch(Task::of(number));
    } else {
      lead();
    }
  }

  void lead() {
    start();
    for (int64_t end = slab.steps(); end > 0;) {
      const int64_t first = (end - 1) / interval * interval;
      if (again) lead_again(first, end);
      for (int64_t b = (end - 1) / problem.block_steps; b >= first / problem.block_steps; --b) {
        lead_epoch({Task::kTake, b, 0});
        for (int64_t part = (block.steps - 1) / kEpochSteps; part >= 0; --part) lead_epoch({Task::kSteps, b, part});
        lead_epoch({Task::kGradients, b, 0});
      }
      end = first;
    }
    if (wants_initial_state()) lead_epoch({Task::kInitialState, 0, 0});
    team.end();
  }

  void lead_again(int64_t first, int64_t end) {
    again->restart(first, problem.kept, again_kept);
    for (int64_t b = first / problem.block_steps; b * problem.block_steps < end; ++b) {
      const int64_t left = end - b * problem.block_steps, steps = left < problem.block_steps ? left : problem.block_steps;
      for (int64_t part = 0; part * kEpochSteps < steps; ++part) lead_epoch({Task::kAgain, b, part});
    }
  }

  void lead_epoch(Task task) {
    team.begin(task.number());
    run_epoch(task);
  }

  void run_epoch(Task task) {
    first_panel = team.first(member, problem.panels);
    last_panel = team.last(member, problem.panels);
    if (block.first_step != task.block * problem.block_steps || block.steps == 0) block.locate(task.block);
    block.kept_from = again ? block.first_step / interval * interval : 0;
    switch (task.kind) {
      case Task::kAgain:
        again->keep_interval(block.kept_from, again_kept);
        return again->run_epoch(block.first_step + task.part * kEpochSteps, block.first_step + block.steps);
      case Task::kTake:
        block.take_states(first_panel, last_panel);
        block.take_inputs(team.first(member, block.entries()), team.last(member, block.entries()));
        break;
      case Task::kSteps:
        return go_back_through(task.part);
      case Task::kGradients:
        gradients().add_to_weights(first_panel, last_panel);
        if (problem.d.x) gradients().write_inputs(team.first(member, block.entries()), team.last(member, block.entries()));
        break;
      default:
        write_initial_state_gradients();
    }
    team.meet(member);
  }

  void go_back_through(int64_t part) const {
    const int64_t first = part * kEpochSteps, end = first + kEpochSteps < block.steps ? first + kEpochSteps : block.steps;
    for (int64_t i = end - 1; i >= first; --i) {
      add_through_weights(block.first_step + i + 1, carrying(i));
      end_segments(block.first_step + i + 1, carrying(i));
      for_zoned_out(i, [](const Zoneout& zoneout, auto... of) { zoneout.split(of...); });
      last_round(i);
      normalise_back<kLast>(i);
      if constexpr (kLast > 0) {
        team.meet(member);
        if constexpr (kInfo.round[kLast].normalises == Normalises::kState) {
          through_normalised_state(i);
        } else {
          through_made(i);
        }
        normalise_back<0>(i);
      }
      for_zoned_out(i, [](const Zoneout& zoneout, auto... of) { zoneout.join(of...); });
      team.meet(member);
    }
  }

  // From the gradients of a round's normalised products to those of its sums.
  template <int kRound>
  void normalise_back(int64_t i) const {
    if constexpr (kInfo.round[kRound].normalises == Normalises::kProducts) {
      using Of = Normals<Cell, kRound>;
      team.meet(member);
      const auto back = normaliser<kRound>(i);
      for (int64_t p = first_panel; p < last_panel; ++p) {
        for (int k = 0; k < Of::kCount; ++k) {  // a gate after the other, see Flow
          const int gradient = Of::kNumbers.gradient[k];
          float* const to = block.gradients(p, block.offset[i]) + gradient * kLanes;
          if (gradient < kInfo.recurrent_gradients) {
            back.normalise(p, k, [&](int64_t m, Vec v) { store(to + m * kInfo.gradients * kLanes, v); });
          } else {
            float* const carried = flow.place(block.first_step + i, gradient - kInfo.recurrent_gradients).panel(p, lanes_of(problem, p));
            back.normalise(p, k, [&](int64_t m, Vec v) {
              store(to + m * kInfo.gradients * kLanes, v);
              store_unaligned(carried + m * Flow<Cell>::stride(problem), v);
            });
          }
        }
      }
    }
  }

  template <int kRound>
  NormaliserBack<Cell, kRound> normaliser(int64_t i) const {
    return {block, weights, partial, d_normals, i};
  }

  // How many rows have a later step than step i of the block, and so gradients to take from it.
  int64_t carrying(int64_t i) const { return slab.live(block.first_step + i + 1, block.live(i)); }

  float* d_state_at(int k, int64_t p, int64_t m) const { return d_states + ((k * problem.panels + p) * slab.rows + m) * kLanes; }

  // The gradients of the states before step s, of those rows that took them from their initial states, belong to these.
  void end_segments(int64_t s, int64_t rows) const {
    if (!problem.in.starts) return;
    for (int64_t m = 0; m < rows; ++m) {
      if (!slab.restarts(m, s)) continue;
      for (int k = 0; k < kStates; ++k) {
        write_initial_state_gradient(k, m);
        for (int64_t p = first_panel; p < last_panel; ++p) store(d_state_at(k, p, m), Vec{});
      }
    }
  }

  // Calls each(zoneout, row, step, panel, gradient of the state after the step, of the output, what went past the cell) at step i of the
  // block, for the states that zoneout acts on.
  template <class Each>
  void for_zoned_out(int64_t i, Each&& each) const {
    for (int k = 0; k < kStates; ++k) {
      if (!Zoneout::acts_on(problem, k)) continue;
      for (int64_t p = first_panel; p < last_panel; ++p) {
        for (int64_t m = 0; m < block.live(i); ++m) {
          float* const d_output = k == 0 ? block.panel(block.d_output, p, block.offset[i] + m) : nullptr;
          each(Zoneout{slab, k}, m, block.first_step + i, p, d_state_at(k, p, m), d_output, d_kept + (d_state_at(k, p, m) - d_states));
        }
      }
    }
  }

  void start() const {
    for (int64_t m = 0; m < slab.rows; ++m) {
      for (int k = 0; k < kStates; ++k) {
        const float* d = problem.d_state[k] ? problem.d_state[k] + slab.state_offset(m) : nullptr;
        for (int64_t p = 0; p < problem.panels; ++p) {
          store(d_state_at(k, p, m), d ? load_first(d + p * kLanes, lanes_of(problem, p)) : Vec{});
        }
      }
      if (problem.d.x && !problem.adds_to_x) clear_masked_inputs(m);
      if (problem.in.starts) clear_initial_state_gradients(m);  // which all segments add to
    }
  }

  void clear_initial_state_gradients(int64_t m) const {
    for (int k = 0; k < kStates; ++k) {
      float* const to = problem.d_initial_state[k] ? problem.d_initial_state[k] + slab.state_offset(m) : nullptr;
      for (int64_t u = 0; to && u < problem.layer.units; ++u) to[u] = 0.0f;
    }
  }

  void clear_masked_inputs(int64_t m) const {
    int64_t next = 0;
    for (int64_t s = 0; s <= slab.length(m); ++s) {
      for (const int64_t valid = slab.position(m, s); next < valid; ++next) {
        float* to = problem.d.x + slab.input_offset(m, next);
        for (int64_t k = 0; k < problem.layer.features; ++k) to[k] = 0.0f;
      }
      ++next;
    }
  }

  // The gradient of the first state += the product of the gradients of the sums of step s, the later one, and the recurrent weights that
  // saw that state. With recurrent dropout each gate saw one of its own. What a round made went back in its own step.
  void add_through_weights(int64_t s, int64_t rows) const {
    for (int g = 0; g < kInfo.gates;) {
      const Run run = flow.run(g);
      g = run.end;
      const int gate = kInfo.recurrent_order[run.begin];
      if (TimeBlock<Cell>::sees_made(gate)) continue;
      if (problem.in.recurrent_dropout) {
        add_through_gate(flow.product_of(s, run), gate, rows);
      } else {
        for_recurrent_product(flow.product_of(s, run), rows,
                              [&](int64_t p, int64_t m, Vec sum) { store(d_state_at(0, p, m), load(d_state_at(0, p, m)) + sum); });
      }
    }
  }

  // The same for one gate, whose part of the gradient has its dropout factors.
  void add_through_gate(const RowProduct& b, int gate, int64_t rows) const {
    alignas(64) float sums[run_rows(kMaxSlabRows) * kLanes];
    for_back_product_runs(b, b.product(rows, first_panel, last_panel, problem.exceeds_l2), sums, [&](int64_t first, int64_t end) {
      const int64_t whole_end = end * kLanes > problem.layer.units ? end - 1 : end;  // of the whole panels
      for (int64_t m = 0; m < rows; ++m) {
        const float *factors = slab.state_factors(m, gate), *sum = sums + m * kLanes;
        float* to = d_state_at(0, first, m);
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
  void for_recurrent_product(const RowProduct& b, int64_t rows, Each&& each) const {
    alignas(64) float sums[run_rows(kMaxSlabRows) * kLanes];
    for_back_product(b, b.product(rows, first_panel, last_panel, problem.exceeds_l2), sums, each);
  }

  // Back through the last round of all live rows.
  void last_round(int64_t i) const {
    typename Flow<Cell>::Place places[kInfo.gates];
    for (int g = 0; g < kInfo.gates; ++g) places[g] = flow.place(block.first_step + i, g);
    with_activations(problem.layer, [&](auto f) {
      for (int64_t p = first_panel; p < last_panel; ++p) {
        for (int64_t m = 0; m < block.live(i); ++m) back_through<kLast>(f, places, i, p, m, Vec{});
      }
    });
  }

  // Back through the first of two rounds: the gradient of what it made comes through the weights of the last, in the same step.
  void through_made(int64_t i) const {
    constexpr Round kOf = kInfo.round[kLast];
    int made = 0;
    while (kInfo.recurrent_order[made] != kOf.first) ++made;
    typename Flow<Cell>::Place places[kInfo.gates];
    for (int g = 0; g < kInfo.gates; ++g) places[g] = flow.place(block.first_step + i, g);
    with_activations(problem.layer, [&](auto f) {
      const Run run = flow.run(made);
      for_recurrent_product(flow.product_of(block.first_step + i, run), block.live(i), [&](int64_t p, int64_t m, Vec sum) {
        const float* factors = slab.state_factors(m, kOf.first);
        if (factors) sum *= load_first(factors + p * kLanes, lanes_of(problem, p));
        back_through<0>(f, places, i, p, m, sum);
      });
    });
  }

  // The same where the last normalised the second state, and the gradient comes through that.
  void through_normalised_state(int64_t i) const {
    typename Flow<Cell>::Place places[kInfo.gates];
    for (int g = 0; g < kInfo.gates; ++g) places[g] = flow.place(block.first_step + i, g);
    const auto back = normaliser<kLast>(i);
    with_activations(problem.layer, [&](auto f) {
      for (int64_t p = first_panel; p < last_panel; ++p) {
        back.normalise(p, 0, [&](int64_t m, Vec v) { back_through<0>(f, places, i, p, m, v); });
      }
    });
  }

  template <int kRound, class Activations>
  GATEWISE_INLINE void back_through(const Activations& f, const typename Flow<Cell>::Place* places, int64_t i, int64_t p, int64_t m,
                                    Vec d_made) const {
    const int64_t lanes = lanes_of(problem, p);
    float *of_states[kStates], *carried[kInfo.gates];
    for (int k = 0; k < kStates; ++k) of_states[k] = d_state_at(k, p, m);
    for (int g = 0; g < kInfo.gates; ++g) carried[g] = places[g].panel(p, lanes) + m * Flow<Cell>::stride(problem);
    float* const normals = d_normals + (p * slab.rows + m) * kInfo.normals * kLanes;
    const BackwardUnits<Cell> units{block, block.kept_at(i, p, m), p, m, block.offset[i] + m, of_states, carried, normals, d_made};
    Cell::template backward<kRound>(f, units);
  }

  BlockGradients<Cell> gradients() const { return {block, weights, partial}; }

  bool wants_initial_state() const {
    for (int k = 0; k < kStates; ++k) {
      if (problem.d_initial_state[k]) return true;
    }
    return false;
  }

  void write_initial_state_gradients() const {
    add_through_weights(0, slab.live(0, slab.rows));
    for (int k = 0; k < kStates; ++k) {
      for (int64_t m = 0; m < slab.rows; ++m) write_initial_state_gradient(k, m);
    }
  }

  // Of the segment that is gone back through, after all that follow it.
  void write_initial_state_gradient(int k, int64_t m) const {
    if (!problem.d_initial_state[k]) return;
    for (int64_t p = first_panel; p < last_panel; ++p) {
      float* const to = problem.d_initial_state[k] + slab.state_offset(m) + p * kLanes;
      const int64_t lanes = lanes_of(problem, p);
      const Vec d = load(d_state_at(k, p, m));
      store_first(to, problem.in.starts ? load_first(to, lanes) + d : d, lanes);
    }
  }
};

template <class Cell, class Format>
void backward_slab(const Problem& problem, const Weights& weights, int64_t slab, float* scratch, const Partial& partial, Team& team,
                   int member) {
  using Work = BackwardSlab<Cell, Format>;
  Work work(problem, weights, slab, scratch, partial, team, member);
  if (!problem.layer.recompute) return work.run();
  float* const memory = work.again_kept + Work::again_floats(problem);
  typename Work::Again again(problem, weights, slab, memory, team, member);
  work.again = &again;
  work.run();
}

}  // namespace
}  // namespace gatewise
