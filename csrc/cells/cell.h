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
//       Where a round normalises, the pass does: u.sum(i) is what has come of it.
//   state_again(f, k, w, before)
//       State k after a step, from what keep() kept of it, w(i), and the states before it, before(k): the operations of forward, so the
//       same bits.
//   operand_again<kRound>(w, seen)
//       What the recurrent weights of a round were multiplied with, where a round before it made that; likewise.
//   backward<kRound>(f, u)
//       Last round first: from u.d_next(k), the gradients of the states after the step, or u.d_made(), that of what the round made, to
//       u.gradient(i, v), those of the sums, and u.d_state(k), u.set_d_state(k, v), those of the states before; u.kept(i) and u.state(k)
//       are there, too. A cell that normalises numbers its gradients as `Cell::Plain` does, the cell that it is of without that; of a state
//       that a round normalises the gradient is u.d_normal(v), and u.d_made() what comes of it, in the round before.
#pragma once

#include <stdint.h>

namespace gatewise {

constexpr int kMaxGates = 4, kMaxStates = 2, kMaxRounds = 2;

// What the recurrent weights of a round are multiplied with: the first state before the step, or what the round before made.
enum class Operand { kState, kMade };

// What a round brings to mean 0 and variance 1 over the units of a row, times gains, plus offsets, before the cell sees it: each gate's
// product with the inputs and each with the states, which then stand apart, or the second state as the round before left it. A round that
// does waits for the whole row.
enum class Normalises { kNothing, kProducts, kState };

// A round: some gates, whose sums one product over the weights finds.
struct Round {
  int first, gates;  // the gates [first, first + gates); a round that normalises a state has none
  int apart;         // the last so many have a sum for the inputs and another for the states; the others have one for both
  Operand operand;
  int stages;
  Normalises normalises = Normalises::kNothing;

  // The sums of a round: one for each gate, and then the second ones of those that have two.
  constexpr int sums() const { return normalises == Normalises::kState ? 1 : gates + apart; }

  // The round as its product finds it.
  constexpr Round found() const {
    return {first, gates, normalises == Normalises::kProducts ? gates : apart, operand, stages, Normalises::kNothing};
  }
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

  // What is normalised: each gate's product with the inputs, then each with the states, then the second state; 0: nothing. The workspace
  // ends with a float for each, normalised, and so do the gradients: they are those of the products.
  int normals = 0;

  constexpr int round_of(int gate) const { return rounds > 1 && gate >= round[1].first ? 1 : 0; }
  // The sums of all rounds: one for each gate, and then the second ones.
  constexpr int sums() const { return gates + round[0].apart + (rounds > 1 ? round[1].apart : 0); }
  // What the normalised are multiplied with and what is added to them, by unit: gains, then the offsets of the inputs' products, which are
  // the biases, and of the state.
  constexpr int offsets() const { return normals > 0 ? normals - gates : 0; }
  constexpr int parameters() const { return normals + offsets(); }
  constexpr bool normalises_state() const { return normals > 2 * gates; }

  // Which sum a gate's recurrent part goes into.
  constexpr int recurrent_sum(int gate) const {
    const Round& r = round[round_of(gate)];
    const int second = gate - (r.first + r.gates - r.apart);
    return second < 0 ? gate : gates + (round_of(gate) > 0 ? round[0].apart : 0) + second;
  }
};

// A cell whose products are normalised, each gate's by itself. Its biases are the offsets of the inputs' products, one a gate.
constexpr CellInfo with_normalised_products(CellInfo cell) {
  for (int i = 0; i < cell.rounds; ++i) cell.round[i].normalises = Normalises::kProducts;
  cell.normals = cell.gradients = 2 * cell.gates;
  cell.workspace += cell.normals;
  cell.input_gradients = 0;
  cell.recurrent_gradients = cell.gates;
  cell.recurrent_bias = false;
  return cell;
}

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
