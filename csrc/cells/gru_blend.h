// SPDX-License-Identifier: Apache-2.0
// What both orders of the GRU share: the next state, between the one before and the candidate.
#pragma once

#include "cells/cell.h"
#include "simd/math.h"

namespace gatewise {
namespace {

GATEWISE_INLINE Vec gru_blend(Vec z, Vec h_prev, Vec h_tilde) { return fma(z, h_prev, (1.0f - z) * h_tilde); }

// From dh to the gradients of the sums of update and candidate, and to the part of dh that goes straight to h_prev.
struct GruBlendGradient {
  Vec daz, dah, dh_prev;
};
template <class Activations>
GATEWISE_INLINE GruBlendGradient gru_blend_gradient(const Activations& f, Vec dh, Vec z, Vec h_prev, Vec h_tilde) {
  const Vec dh_prev = dh * z;
  return {dh * (h_prev - h_tilde) * f.gate_slope(z), (dh - dh_prev) * f.candidate_slope(h_tilde), dh_prev};
}

}  // namespace
}  // namespace gatewise
