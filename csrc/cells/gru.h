// SPDX-License-Identifier: Apache-2.0
// The GRU that resets after the product (Cho et al. 2014, arXiv 1406.1078 v1; cuDNN's order, Keras's and PyTorch's default):
//
//   z = gate(az)   r = gate(ar)              az, ar: the sums of update and reset
//   q = h_prev Rh + ch                       the recurrent part of the candidate's sum stays apart
//   h_tilde = candidate(xh + r * q)
//   h = z * h_prev + (1 - z) * h_tilde       not h_tilde + z * (h_prev - h_tilde): a gate of 1 keeps every bit
#pragma once

#include "cells/gru_blend.h"

namespace gatewise {
namespace {

struct Gru {
  enum Gate : int { kUpdate, kReset, kCandidate, kRecurrent };  // the sums, too: kRecurrent is q
  enum Kept : int { kKeptZ, kKeptCandidate, kKeptR, kKeptQ };
  enum Gradient : int { kDq, kDz, kDr, kDh };

  static constexpr CellInfo kInfo = {/*gates*/ 3,
                                     /*states*/ 1,
                                     /*workspace*/ 4,
                                     /*held*/ 0,
                                     /*rounds*/ 1,
                                     {{kUpdate, 3, 1, Operand::kState, 2}},
                                     /*gradients*/ 4,
                                     /*input*/ kDz,
                                     /*recurrent*/ kDq,
                                     {kUpdate, kReset, kCandidate},
                                     {kCandidate, kUpdate, kReset},
                                     /*recurrent_bias*/ true,
                                     /*torch: r z n*/ {1, 0, 2}};

  template <int kRound, int kStage, class Activations, class Units>
  static GATEWISE_INLINE void forward(const Activations& f, const Units& u) {
    if constexpr (kStage == 0) {
      const Vec z = f.gate(u.sum(kUpdate)), r = f.gate(u.sum(kReset)), q = u.sum(kRecurrent);
      u.set_sum(kUpdate, z);
      u.set_sum(kCandidate, fma(r, q, u.sum(kCandidate)));
      u.keep(kKeptZ, z);
      u.keep(kKeptR, r);
      u.keep(kKeptQ, q);
    } else {
      const Vec h_tilde = f.candidate(u.sum(kCandidate));
      u.next(0, gru_blend(u.sum(kUpdate), u.state(0), h_tilde));
      u.keep(kKeptCandidate, h_tilde);
    }
  }

  template <class Activations, class Kept, class Before>
  static GATEWISE_INLINE Vec state_again(const Activations&, int, const Kept& w, const Before& before) {
    return gru_blend(w(kKeptZ), before(0), w(kKeptCandidate));
  }

  template <int kRound, class Activations, class Units>
  static GATEWISE_INLINE void backward(const Activations& f, const Units& u) {
    const GruBlendGradient d = gru_blend_gradient(f, u.d_next(0), u.kept(kKeptZ), u.state(0), u.kept(kKeptCandidate));
    const Vec r = u.kept(kKeptR), q = u.kept(kKeptQ);
    u.set_d_state(0, d.dh_prev);
    u.gradient(kDq, d.dah * r);
    u.gradient(kDz, d.daz);
    u.gradient(kDr, d.dah * q * f.gate_slope(r));
    u.gradient(kDh, d.dah);
  }
};

}  // namespace
}  // namespace gatewise
