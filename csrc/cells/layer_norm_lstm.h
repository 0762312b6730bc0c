// SPDX-License-Identifier: Apache-2.0
// The LSTM with layer normalisation (Ba, Kiros and Hinton 2016, arXiv 1607.06450): a plain LSTM's gates, of normalised products, and
//
//   h = o * candidate(n)                     n: the new c, normalised, with gains and offsets
//
// A second round, which has no gates, makes h once c is known of all units.
#pragma once

#include "cells/lstm.h"

namespace gatewise {
namespace {

constexpr CellInfo with_normalised_c(const CellInfo& lstm) {
  CellInfo cell = with_normalised_products(lstm);
  cell.round[0].stages = 1;
  cell.round[1] = {cell.gates, 0, 0, Operand::kState, 1, Normalises::kState};
  cell.rounds = 2;
  cell.held = 1;        // o
  cell.workspace += 2;  // n, and c normalised
  cell.normals = cell.gradients = 2 * cell.gates + 1;
  return cell;
}

struct LayerNormLstm {
  using Plain = Lstm;
  enum Gate : int { kInput, kForget, kCandidate, kOutput };
  enum Kept : int { kNormal = 4 };  // n, after what the gates' numbers stand for
  enum State : int { kH, kC };

  static constexpr CellInfo kInfo = with_normalised_c(Plain::kInfo);

  template <int kRound, int kStage, class Activations, class Units>
  static GATEWISE_INLINE void forward(const Activations& a, const Units& u) {
    if constexpr (kRound == 0) {
      const Vec i = a.gate(u.sum(kInput)), f = a.gate(u.sum(kForget)), g = a.candidate(u.sum(kCandidate)), o = a.gate(u.sum(kOutput));
      u.next(kC, lstm_c(i, f, g, u.state(kC)));
      u.hold(0, o);
      u.keep(kInput, i);
      u.keep(kForget, f);
      u.keep(kCandidate, g);
      u.keep(kOutput, o);
    } else {
      const Vec n = u.sum(0);
      u.next(kH, u.held(0) * a.candidate(n));
      u.keep(kNormal, n);
    }
  }

  template <class Activations, class Kept, class Before>
  static GATEWISE_INLINE Vec state_again(const Activations& a, int k, const Kept& w, const Before& before) {
    return k == kC ? lstm_c(w(kInput), w(kForget), w(kCandidate), before(kC)) : w(kOutput) * a.candidate(w(kNormal));
  }

  template <int kRound, class Activations, class Units>
  static GATEWISE_INLINE void backward(const Activations& a, const Units& u) {
    if constexpr (kRound == 1) {
      const Vec o = u.kept(kOutput), y = a.candidate(u.kept(kNormal)), dh = u.d_next(kH);
      u.gradient(kOutput, dh * y * a.gate_slope(o));
      u.d_normal(dh * o * a.candidate_slope(y));
      u.set_d_state(kH, Vec{});
    } else {
      const Vec i = u.kept(kInput), f = u.kept(kForget), g = u.kept(kCandidate), dc = u.d_made() + u.d_next(kC);
      u.gradient(kInput, dc * g * a.gate_slope(i));
      u.gradient(kForget, dc * u.state(kC) * a.gate_slope(f));
      u.gradient(kCandidate, dc * i * a.candidate_slope(g));
      u.set_d_state(kC, dc * f);
    }
  }
};

}  // namespace
}  // namespace gatewise
