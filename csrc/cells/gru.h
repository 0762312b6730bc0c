// SPDX-License-Identifier: Apache-2.0
// The GRU: its gates forward and backward, for any vector width. Kernels carry it through time; this file is all they know of the cell.
//
//   z = gate(az)   r = gate(ar)                                    az, ar: pre-activations of update and reset
//   reset_after:   q = h_prev Rh + ch    h_tilde = candidate(xh + r * q)            Cho et al. 2014, arXiv 1406.1078 v1; cuDNN's order
//   otherwise:                           h_tilde = candidate(xh + (r * h_prev) Rh)  arXiv 1406.1078 v3
//   h = z * h_prev + (1 - z) * h_tilde                             not h_tilde + z * (h_prev - h_tilde): a gate of 1 keeps every bit
#pragma once

#include "simd_math.h"

namespace gatewise {
namespace {

// Where a gate stands in the packed weights and in a tile of pre-activations. kRecurrent is q, apart from xh with reset_after only.
enum Gate : int { kUpdate = 0, kReset = 1, kCandidate = 2, kRecurrent = 3 };

// Where a gradient stands in a slot of gate gradients: q z r are those of the recurrent weights, z r h those of the input weights, so that
// each is one run of three.
enum GateGradient : int { kDq = 0, kDz = 1, kDr = 2, kDh = 3 };

// Where a value stands in what the way forward saves; kSavedQ only with reset_after.
enum Saved : int { kSavedZ = 0, kSavedR = 1, kSavedCandidate = 2, kSavedQ = 3 };

GATEWISE_INLINE Vec gru_blend(Vec z, Vec h_prev, Vec h_tilde) { return fma(z, h_prev, (1.0f - z) * h_tilde); }

// The candidate's pre-activation with reset_after.
GATEWISE_INLINE Vec gru_reset_after(Vec xh, Vec r, Vec q) { return fma(r, q, xh); }

// The way back through the blend: from dh to the two gradients every GRU has, and the part of dh that goes straight to h_prev.
struct BlendGradient {
  Vec daz, dah, dh_prev;
};
template <class Activations>
GATEWISE_INLINE BlendGradient gru_blend_gradient(const Activations& f, Vec dh, Vec z, Vec h_prev, Vec h_tilde) {
  const Vec dh_prev = dh * z;
  return {dh * (h_prev - h_tilde) * f.gate_slope(z), (dh - dh_prev) * f.candidate_slope(h_tilde), dh_prev};
}

// The way back through r * q.
struct ResetAfterGradient {
  Vec dar, dq;
};
template <class Activations>
GATEWISE_INLINE ResetAfterGradient gru_reset_after_gradient(const Activations& f, Vec dah, Vec r, Vec q) {
  return {dah * q * f.gate_slope(r), dah * r};
}

// The way back through r * h_prev, from its gradient d_rh.
struct ResetBeforeGradient {
  Vec dar, dh_prev;
};
template <class Activations>
GATEWISE_INLINE ResetBeforeGradient gru_reset_before_gradient(const Activations& f, Vec d_rh, Vec r, Vec h_prev) {
  return {d_rh * h_prev * f.gate_slope(r), d_rh * r};
}

}  // namespace
}  // namespace gatewise
