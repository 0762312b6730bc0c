// SPDX-License-Identifier: Apache-2.0
// The long short-term memory (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000, without peepholes):
//
//   i = gate(ai)   f = gate(af)   o = gate(ao)   g = candidate(ag)
//   c = f * c_prev + i * g
//   h = o * candidate(c)
#pragma once

#include "cells/cell.h"
#include "simd/math.h"

namespace gatewise {
namespace {

GATEWISE_INLINE Vec lstm_c(Vec i, Vec f, Vec g, Vec c_prev) { return fma(f, c_prev, i * g); }

struct Lstm {
  enum Gate : int { kInput, kForget, kCandidate, kOutput };  // the sums, what is kept and the gradients, too
  enum State : int { kH, kC };

  static constexpr CellInfo kInfo = {/*gates*/ 4,
                                     /*states*/ 2,
                                     /*workspace*/ 4,
                                     /*held*/ 0,
                                     /*rounds*/ 1,
                                     {{kInput, 4, 0, Operand::kState, 2}},
                                     /*gradients*/ 4,
                                     /*input*/ kInput,
                                     /*recurrent*/ kInput,
                                     {kInput, kForget, kCandidate, kOutput},
                                     {kInput, kForget, kCandidate, kOutput},
                                     /*recurrent_bias*/ false,
                                     /*torch: i f g o*/ {0, 1, 2, 3}};

  template <int kRound, int kStage, class Activations, class Units>
  static GATEWISE_INLINE void forward(const Activations& a, const Units& u) {
    if constexpr (kStage == 0) {
      const Vec i = a.gate(u.sum(kInput)), f = a.gate(u.sum(kForget)), g = a.candidate(u.sum(kCandidate));
      const Vec c = lstm_c(i, f, g, u.state(kC));
      u.next(kC, c);
      u.set_sum(kCandidate, c);
      u.keep(kInput, i);
      u.keep(kForget, f);
      u.keep(kCandidate, g);
    } else {
      const Vec o = a.gate(u.sum(kOutput));
      u.next(kH, o * a.candidate(u.sum(kCandidate)));
      u.keep(kOutput, o);
    }
  }

  template <class Activations, class Kept, class Before>
  static GATEWISE_INLINE Vec state_again(const Activations& a, int k, const Kept& w, const Before& before) {
    const Vec c = lstm_c(w(kInput), w(kForget), w(kCandidate), before(kC));
    return k == kC ? c : w(kOutput) * a.candidate(c);
  }

  template <int kRound, class Activations, class Units>
  static GATEWISE_INLINE void backward(const Activations& a, const Units& u) {
    const Vec i = u.kept(kInput), f = u.kept(kForget), g = u.kept(kCandidate), o = u.kept(kOutput), c_prev = u.state(kC);
    const Vec dh = u.d_next(kH), y = a.candidate(lstm_c(i, f, g, c_prev));
    const Vec dc = fma(dh * o, a.candidate_slope(y), u.d_next(kC));
    u.gradient(kInput, dc * g * a.gate_slope(i));
    u.gradient(kForget, dc * c_prev * a.gate_slope(f));
    u.gradient(kCandidate, dc * i * a.candidate_slope(g));
    u.gradient(kOutput, dh * y * a.gate_slope(o));
    u.set_d_state(kH, Vec{});
    u.set_d_state(kC, dc * f);
  }
};

}  // namespace
}  // namespace gatewise
