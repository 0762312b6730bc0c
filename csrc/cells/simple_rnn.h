// SPDX-License-Identifier: Apache-2.0
// The simple recurrent network (Elman 1990): h = candidate(a), of the sum a alone.
#pragma once

#include "cells/cell.h"
#include "simd/math.h"

namespace gatewise {
namespace {

struct SimpleRnn {
  static constexpr CellInfo kInfo = {/*gates*/ 1,
                                     /*states*/ 1,
                                     /*workspace*/ 1,
                                     /*held*/ 0,
                                     /*rounds*/ 1,
                                     {{0, 1, 0, Operand::kState, 1}},
                                     /*gradients*/ 1,
                                     /*input*/ 0,
                                     /*recurrent*/ 0,
                                     {0},
                                     {0},
                                     /*recurrent_bias*/ false,
                                     /*torch*/ {0}};

  template <int kRound, int kStage, class Activations, class Units>
  static GATEWISE_INLINE void forward(const Activations& f, const Units& u) {
    const Vec h = f.candidate(u.sum(0));
    u.next(0, h);
    u.keep(0, h);
  }

  template <class Activations, class Kept, class Before>
  static GATEWISE_INLINE Vec state_again(const Activations&, int, const Kept& w, const Before&) {
    return w(0);
  }

  template <int kRound, class Activations, class Units>
  static GATEWISE_INLINE void backward(const Activations& f, const Units& u) {
    u.gradient(0, u.d_next(0) * f.candidate_slope(u.kept(0)));
    u.set_d_state(0, Vec{});
  }
};

}  // namespace
}  // namespace gatewise
