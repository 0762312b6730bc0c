// SPDX-License-Identifier: Apache-2.0
// The GRU that resets the state before the product (Cho et al. 2014, arXiv 1406.1078 v3; Keras's reset_after=False):
//
//   z = gate(az)   r = gate(ar)              az, ar: the sums of update and reset
//   h_tilde = candidate(xh + (r * h_prev) Rh)
//   h = z * h_prev + (1 - z) * h_tilde
//
// The candidate's product needs r of all units: a round of its own. Under recurrent dropout it sees r * (its factors * h_prev).
#pragma once

#include "cells/gru_blend.h"

namespace gatewise {
namespace {

struct GruResetBefore {
  enum Gate : int { kUpdate, kReset, kCandidate };
  enum Kept : int { kKeptZ, kKeptCandidate, kKeptR };
  enum Gradient : int { kDz, kDr, kDh };

  static constexpr CellInfo kInfo = {/*gates*/ 3,
                                     /*states*/ 1,
                                     /*workspace*/ 3,
                                     /*held: z*/ 1,
                                     /*rounds*/ 2,
                                     {{kUpdate, 2, 0, Operand::kState, 1}, {kCandidate, 1, 0, Operand::kMade, 1}},
                                     /*gradients*/ 3,
                                     /*input*/ kDz,
                                     /*recurrent*/ kDz,
                                     {kUpdate, kReset, kCandidate},
                                     {kUpdate, kReset, kCandidate},
                                     /*recurrent_bias*/ false,
                                     /*torch: r z n*/ {1, 0, 2}};

  template <int kRound, int kStage, class Activations, class Units>
  static GATEWISE_INLINE void forward(const Activations& f, const Units& u) {
    if constexpr (kRound == 0) {
      const Vec z = f.gate(u.sum(kUpdate)), r = f.gate(u.sum(kReset));
      u.hold(0, z);
      u.make(r * u.seen(kCandidate));
      u.keep(kKeptR, r);
    } else {
      const Vec h_tilde = f.candidate(u.sum(0)), z = u.held(0);
      u.next(0, gru_blend(z, u.state(0), h_tilde));
      u.keep(kKeptZ, z);
      u.keep(kKeptCandidate, h_tilde);
    }
  }

  template <class Activations, class Kept, class Before>
  static GATEWISE_INLINE Vec state_again(const Activations&, int, const Kept& w, const Before& before) {
    return gru_blend(w(kKeptZ), before(0), w(kKeptCandidate));
  }

  template <int kRound, class Kept>
  static GATEWISE_INLINE Vec operand_again(const Kept& w, Vec seen) {
    return w(kKeptR) * seen;
  }

  template <int kRound, class Activations, class Units>
  static GATEWISE_INLINE void backward(const Activations& f, const Units& u) {
    if constexpr (kRound == 1) {
      const GruBlendGradient d = gru_blend_gradient(f, u.d_next(0), u.kept(kKeptZ), u.state(0), u.kept(kKeptCandidate));
      u.set_d_state(0, d.dh_prev);
      u.gradient(kDz, d.daz);
      u.gradient(kDh, d.dah);
    } else {
      const Vec d_rh = u.d_made(), r = u.kept(kKeptR);
      u.gradient(kDr, d_rh * u.state(0) * f.gate_slope(r));
      u.set_d_state(0, u.d_state(0) + d_rh * r);
    }
  }
};

}  // namespace
}  // namespace gatewise
