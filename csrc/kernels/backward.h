// SPDX-License-Identifier: Apache-2.0
// The way back: a slab of rows from its last step to its first, chunk by chunk.
//
// For each chunk of steps: (1) bring states, inputs and output gradients into panels, (2) go back through the steps, turning the gradient
// of each state into gradients of its gates, (3) add the chunk to the weight gradients, (4) write the gradient of its inputs. The gate
// gradients of a chunk are used while they are in cache and are never stored for all steps. A team (see team.h) shares the panels out.
//
// With spec.recompute the chunks come in segments, and the gates of a segment are found again by the way forward before it is worked on.
#pragma once

#include "back_products.h"
#include "chunk.h"
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
  float* carried;                           // (P, rows, 4, W): gate gradients of the first step of the chunk that was worked on before

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
              p.spec.recompute ? again_gates : p.saved_in, memory + p.slab_rows * p.panels * 5 * kLanes),
        again(p, index, again_gates + again_floats(p), t, me),
        dh(memory),
        carried(memory + p.slab_rows * p.panels * kLanes) {}

  static int64_t own_floats(const Problem& p) { return p.slab_rows * p.panels * 5 * kLanes + Chunk::scratch_floats(p); }
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
        carry();
        add_weight_gradients();
        if (problem.d.x) write_input_gradients();
        break;
      default:
        write_initial_state_gradients();
    }
    team.meet(member);
  }

  void go_back_through(int64_t part) const {
    const int64_t first = part * kSectionSteps, end = first + kSectionSteps < chunk.steps ? first + kSectionSteps : chunk.steps;
    for (int64_t i = end - 1; i >= first; --i) {
      add_through_gates(i, flowing(i), i == chunk.steps - 1);
      blend_gradients(i);
      if (!problem.spec.reset_after) {
        team.meet(member);
        for_back_rounds(first_panel, last_panel, 1, [&](int64_t p, int64_t last, int64_t ahead) {
          for_row_blocks(chunk.live(i), [&](int64_t begin, auto rows, int64_t block) {
            reset_gradients<decltype(rows)::value>(i, begin, p, last, {ahead, block});
          });
        });
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
      if (problem.d.x) clear_masked_inputs(m);
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

  // The gate gradients of the step after step i, from row m and gradient `first` on.
  BackProduct later_gates(int64_t i, bool last, int64_t m, GateGradient first, int64_t count) const {
    BackProduct b;
    b.gates = (last ? carried + m * 4 * kLanes : chunk.gates(0, chunk.offset[i + 1] + m)) + first * kLanes;
    b.panel_stride = (last ? slab.rows : chunk.capacity) * 4 * kLanes;
    b.weights = problem.recurrent_kernel_back;
    b.units = problem.spec.units;
    b.run = first;
    b.count = count;
    return b;
  }

  // dh += the product of the later step's gate gradients and the recurrent weights. With recurrent dropout each gate saw a state of its
  // own, and its part of the gradient has that gate's factors.
  void add_through_gates(int64_t i, int64_t flowing, bool last) const {
    const GateGradient first_gate = problem.spec.reset_after ? kDq : kDz;
    const int64_t gates = problem.spec.reset_after ? 3 : 2;
    for_back_rounds(first_panel, last_panel, gates, [&](int64_t first, int64_t end, int64_t panels_ahead) {
      for_row_blocks(flowing, [&](int64_t begin, auto rows, int64_t block) {
        constexpr int M = decltype(rows)::value;
        const Ahead ahead{panels_ahead, block};
        if (!problem.in.recurrent_dropout) {
          return add_product<M>(later_gates(i, last, begin, first_gate, gates), begin, first, end, ahead, -1);
        }
        static constexpr int gate_of[3] = {kCandidate, kUpdate, kReset};
        for (int g = first_gate; g < first_gate + gates; ++g) {
          add_product<M>(later_gates(i, last, begin, static_cast<GateGradient>(g), 1), begin, first, end, ahead, gate_of[g]);
        }
      });
    });
  }

  // Calls f(first, last, ahead) for rounds of panels, `gates` of whose transposed weights are in use.
  template <class F>
  void for_back_rounds(int64_t begin, int64_t end, int64_t gates, F&& f) const {
    for_panel_rounds(begin, end, round_panels(problem.spec.units * gates, panels_per_tile(kRowTile, 1)), f);
  }

  // Floats to what a block of rows brings into cache meanwhile: one of the panels of a tile.
  template <int M>
  int64_t floats_ahead(Ahead ahead) const {
    const int64_t panel_stride = problem.spec.units * 3 * kLanes;
    return ahead.floats(panel_stride, panels_per_tile(M, 1), panel_stride);
  }

  // dh += one product, for M rows from `begin` on and the panels [first, end), times the dropout factors of a gate unless that is -1.
  template <int M>
  void add_product(BackProduct b, int64_t begin, int64_t first, int64_t end, Ahead ahead, int gate) const {
    alignas(64) float sum[kTileFloats];
    b.ahead = floats_ahead<M>(ahead);
    for (int64_t p = first; p < end;) {
      p += with_constant<panels_per_tile(M, 1)>(end - p, [&](auto panels) {
        constexpr int P = decltype(panels)::value;
        b.weights = problem.recurrent_kernel_back + p * b.units * 3 * kLanes;
        back_product<M, P>(b, sum);
        for (int64_t n = 0; n < P; ++n) {
          for (int64_t m = 0; m < M; ++m) {
            float* to = dh_at(p + n, begin + m);
            const float* factors = gate < 0 ? nullptr : slab.state_factors(begin + m, gate);
            const Vec v = load(sum + (n * M + m) * kLanes);
            store(to, load(to) + (factors ? v * load_first(factors + (p + n) * kLanes, lanes_of(problem, p + n)) : v));
          }
        }
      });
    }
  }

  // From dh of all live rows to the gradients of update gate and candidate and, with reset_after, of the reset gate and q.
  void blend_gradients(int64_t i) const {
    with_activations(problem.spec, [&](auto f) {
      const int64_t live = chunk.live(i), slot = chunk.offset[i];
      for (int64_t p = first_panel; p < last_panel; ++p) {
        for (int64_t m = 0; m < live; ++m) {
          const float* gate = chunk.gates_at(i, p, m);
          const Vec z = load_unaligned(gate + kSavedZ * kLanes), h_tilde = load_unaligned(gate + kSavedCandidate * kLanes);
          const Vec total = load(dh_at(p, m)) + load(chunk.panel(chunk.d_output, p, slot + m));
          const BlendGradient d = gru_blend_gradient(f, total, z, load(chunk.panel(chunk.h_prev, p, slot + m)), h_tilde);
          float* to = chunk.gates(p, slot + m);
          store(dh_at(p, m), d.dh_prev);
          store(to + kDz * kLanes, d.daz);
          store(to + kDh * kLanes, d.dah);
          if (problem.spec.reset_after) {
            const Vec r = load_unaligned(gate + kSavedR * kLanes);
            const ResetAfterGradient reset = gru_reset_after_gradient(f, d.dah, r, load_unaligned(gate + kSavedQ * kLanes));
            store(to + kDr * kLanes, reset.dar);
            store(to + kDq * kLanes, reset.dq);
          } else {
            store(to + kDq * kLanes, d.dah);
          }
        }
      }
    });
  }

  // With reset_after=False the reset gate's gradient comes back through the candidate's weights, in the same step.
  template <int M>
  void reset_gradients(int64_t i, int64_t begin, int64_t first, int64_t end, Ahead ahead) const {
    alignas(64) float sum[kTileFloats];
    const int64_t slot = chunk.offset[i] + begin, units = problem.spec.units;
    for (int64_t p = first; p < end;) {
      p += with_constant<panels_per_tile(M, 1)>(end - p, [&](auto panels) {
        constexpr int P = decltype(panels)::value;
        back_product<M, P>({chunk.gates(0, slot) + kDq * kLanes, chunk.capacity * 4 * kLanes,
                            problem.recurrent_kernel_back + p * units * 3 * kLanes, units, kDq, 1, floats_ahead<M>(ahead)},
                           sum);
        with_activations(problem.spec, [&](auto f) {
          for (int64_t n = 0; n < P; ++n) {
            for (int64_t m = 0; m < M; ++m) reset_gradient(f, i, p + n, begin + m, load(sum + (n * M + m) * kLanes));
          }
        });
      });
    }
  }

  template <class Activations>
  GATEWISE_INLINE void reset_gradient(const Activations& f, int64_t i, int64_t p, int64_t m, Vec d_rh) const {
    const int64_t slot = chunk.offset[i] + m;
    const Vec r = load_unaligned(chunk.gates_at(i, p, m) + kSavedR * kLanes);
    const float* factors = slab.state_factors(m, kCandidate);
    if (factors) d_rh *= load_first(factors + p * kLanes, lanes_of(problem, p));
    const ResetBeforeGradient d = gru_reset_before_gradient(f, d_rh, r, load(chunk.panel(chunk.h_prev, p, slot)));
    store(chunk.gates(p, slot) + kDr * kLanes, d.dar);
    store(dh_at(p, m), load(dh_at(p, m)) + d.dh_prev);
  }

  void carry() const {
    const int64_t rows = chunk.live(0);
    for (int64_t p = first_panel; p < last_panel; ++p) {
      for (int64_t k = 0; k < rows * 4; ++k) store(carried + (p * slab.rows * 4 + k) * kLanes, load(chunk.gates(p, 0) + k * kLanes));
    }
  }

  // Adds the chunk to weight gradients whose rows are `n` states or inputs; `from[g]` is what gate g's weights were multiplied with,
  // `slot_of[g]` and g say where its gradient stands in a slot and in the sums.
  void add_outer_products(float* const from[3], int64_t n, GateGradient first, const int order[3], float* sums) const {
    const int64_t gates_stride = chunk.capacity * 4 * kLanes, sums_stride = round_up(n, kPartialRows) * 3 * kLanes;
    const bool shared = from[0] == from[1] && from[1] == from[2];
    for (int64_t p = first_panel; p < last_panel;) {
      float* to = sums + p * sums_stride;
      const float* gates = chunk.gates(p, 0) + first * kLanes;
      if (shared) {
        p += with_constant<panels_per_tile(kOuterRows, 3)>(last_panel - p, [&](auto panels) {
          for (int64_t u = 0; u < n; u += kOuterRows) {
            outer_product<decltype(panels)::value, 3>(lanes_at(from[0], u), gates, gates_stride, chunk.slots(), to + u * 3 * kLanes,
                                                      sums_stride);
          }
        });
        continue;
      }
      p += with_constant<panels_per_tile(kOuterRows, 1)>(last_panel - p, [&](auto panels) {
        for (int g = 0; g < 3; ++g) {
          for (int64_t u = 0; u < n; u += kOuterRows) {
            outer_product<decltype(panels)::value, 1>(lanes_at(from[order[g]], u), gates + g * kLanes, gates_stride, chunk.slots(),
                                                      to + (u * 3 + g) * kLanes, sums_stride);
          }
        }
      });
    }
  }

  const float* lanes_at(const float* plane, int64_t u) const { return plane + u / kLanes * chunk.capacity * kLanes + u % kLanes; }

  void add_weight_gradients() const {
    static constexpr int h_order[3] = {kCandidate, kUpdate, kReset}, x_order[3] = {kUpdate, kReset, kCandidate};
    add_outer_products(chunk.h_for, problem.spec.units, kDq, h_order, partial.recurrent_kernel);
    add_outer_products(chunk.x_for, problem.spec.features, kDz, x_order, partial.kernel);
    for (int64_t p = first_panel; p < last_panel; ++p) {
      float* to = partial.bias + p * 4 * kLanes;
      Vec sum[4] = {load(to), load(to + kLanes), load(to + 2 * kLanes), load(to + 3 * kLanes)};
      for (int64_t slot = 0; slot < chunk.slots(); ++slot) {
        for (int g = 0; g < 4; ++g) sum[g] += load(chunk.gates(p, slot) + g * kLanes);
      }
      for (int g = 0; g < 4; ++g) store(to + g * kLanes, sum[g]);
    }
  }

  // A few slots at a time, whose gate gradients stay in cache while all weights go by (large: 3 % of a training step).
  void write_input_gradients() const {
    constexpr int64_t kInputSlots = 64;
    const int64_t first_slot = team.first(member, chunk.slots()), last_slot = team.last(member, chunk.slots());
    for (int64_t begin = first_slot; begin < last_slot; begin += kInputSlots) {
      const int64_t end = begin + kInputSlots < last_slot ? begin + kInputSlots : last_slot;
      for_back_rounds(0, problem.feature_panels, 3, [&](int64_t first, int64_t last, int64_t ahead) {
        for (int64_t slot = begin; slot < end;) {
          slot += with_constant<kRowTile>(
              end - slot, [&](auto rows) { input_gradients<decltype(rows)::value>(slot, first, last, {ahead, slot / kRowTile}); });
        }
      });
    }
  }

  template <int M>
  void input_gradients(int64_t slot, int64_t first, int64_t end, Ahead ahead) const {
    alignas(64) float sum[kTileFloats];
    const int64_t units = problem.spec.units;
    const bool apart = gates_see_different_inputs(problem);
    BackProduct b{
        chunk.gates(0, slot) + kDz * kLanes, chunk.capacity * 4 * kLanes, nullptr, units, 0, apart ? 1 : 3, floats_ahead<M>(ahead)};
    for (int gate = 0; gate < (apart ? 3 : 1); ++gate, ++b.run, b.gates += kLanes) {
      for (int64_t p = first; p < end;) {
        p += with_constant<panels_per_tile(M, 1)>(end - p, [&](auto panels) {
          constexpr int P = decltype(panels)::value;
          b.weights = problem.kernel_back + p * units * 3 * kLanes;
          back_product<M, P>(b, sum);
          for (int64_t n = 0; n < P; ++n) {
            for (int64_t m = 0; m < M; ++m) add_input_gradient(slot + m, gate, p + n, load(sum + (n * M + m) * kLanes));
          }
        });
      }
    }
  }

  // The first gate writes, the others add.
  GATEWISE_INLINE void add_input_gradient(int64_t slot, int gate, int64_t panel, Vec v) const {
    const int64_t left = problem.spec.features - panel * kLanes, lanes = left < kLanes ? left : kLanes;
    const float* factors = slab.input_factors(chunk.row_of[slot], gate);
    float* to = problem.d.x + chunk.input_of[slot] + panel * kLanes;
    if (factors) v *= load_first(factors + panel * kLanes, lanes);
    store_first(to, gate == 0 ? v : load_first(to, lanes) + v, lanes);
  }

  void write_initial_state_gradients() const {
    add_through_gates(0, slab.live(0, slab.rows), true);
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
