// SPDX-License-Identifier: Apache-2.0
// A cell: what there is to compute at a step, and nothing of rows, panels, time or words.
//
// A cell is a struct with a description, `kInfo`, and functions over vectors of units. The passes of passes/ carry it through time: they
// know the description and call the functions, and none of them knows a gate by name.
//
//   template <int kRound, int kStage, ...> forward(f, u)
//       From the sums of a round to the operand of the next one or, in the last, to the next states. `f` has the activations (see
//       simd/math.h), `u` is a vector of units of one row: u.sum(i), u.set_sum(i, v), u.state(k), u.seen(gate), u.make(v), u.hold(i, v),
//       u.held(i), u.next(k, v), u.keep(i, v): see passes/forward_units.h. A round is gone through `stages` times: first stage 0 of all its
//       units, then stage 1. What waits for nothing then stands side by side, and the CPU has enough to do while an exponential waits.
//   state_again(f, k, w, before)
//       State k after a step, from what keep() kept of it, w(i), and the states before it, before(k): the operations of forward, so the
//       same bits.
//   operand_again<kRound>(w, seen)
//       What the recurrent weights of a round were multiplied with, where a round before it made that; likewise.
//   backward<kRound>(f, u)
//       Last round first: from u.d_next(k), the gradients of the states after the step, or u.d_made(), that of what the round made, to
//       u.gradient(i, v), those of the sums, and u.d_state(k), u.set_d_state(k, v), those of the states before; u.kept(i) and u.state(k)
//       are there, too.
#pragma once

#include <stdint.h>

namespace gatewise {

constexpr int kMaxGates = 4, kMaxStates = 2, kMaxRounds = 2;

// What the recurrent weights of a round are multiplied with: the first state before the step, or what the round before made.
enum class Operand { kState, kMade };

// A round: some gates, whose sums one product over the weights finds.
struct Round {
  int first, gates;  // the gates [first, first + gates)
  int apart;         // the last so many have a sum for the inputs and another for the states; the others have one for both
  Operand operand;
  int stages;

  // The sums of a round: one for each gate, and then the second ones of those that have two.
  constexpr int sums() const { return gates + apart; }
};

struct CellInfo {
  int gates;      // column blocks of both kernels, in the order they are stored in
  int states;     // the first is what the recurrent weights see
  int workspace;  // floats a unit and step that forward keeps for backward
  int held;       // floats a unit that a round keeps for the next
  int rounds;
  Round round[kMaxRounds];

  // The gradients of the sums, in an order in which those of the input weights are one run, of a gate each, and so are those of the
  // recurrent weights; gates of one round side by side.
  int gradients;
  int input_gradients, recurrent_gradients;  // where the runs begin
  int input_order[kMaxGates], recurrent_order[kMaxGates];

  bool recurrent_bias;         // in Keras's layout the bias has a second row, of the recurrent weights
  int torch_place[kMaxGates];  // where a gate's columns stand in PyTorch's weights

  constexpr int round_of(int gate) const { return rounds > 1 && gate >= round[1].first ? 1 : 0; }
  // The sums of all rounds: one for each gate, and then the second ones.
  constexpr int sums() const { return gates + round[0].apart + (rounds > 1 ? round[1].apart : 0); }
  // Which sum a gate's recurrent part goes into.
  constexpr int recurrent_sum(int gate) const {
    const Round& r = round[round_of(gate)];
    const int second = gate - (r.first + r.gates - r.apart);
    return second < 0 ? gate : gates + (round_of(gate) > 0 ? round[0].apart : 0) + second;
  }
};

// The run [begin, end) of gates, numbered in the cell's recurrent order, whose gradients go back through the recurrent weights together:
// those of a round or, with recurrent dropout, each alone.
struct Run {
  int begin, end;
};
static inline Run run_of(const CellInfo& cell, bool recurrent_dropout, int place) {
  if (recurrent_dropout) return {place, place + 1};
  const auto same_round = [&](int other) {
    return cell.round_of(cell.recurrent_order[other]) == cell.round_of(cell.recurrent_order[place]);
  };
  Run run{place, place + 1};
  while (run.begin > 0 && same_round(run.begin - 1)) --run.begin;
  while (run.end < cell.gates && same_round(run.end)) ++run.end;
  return run;
}

}  // namespace gatewise
