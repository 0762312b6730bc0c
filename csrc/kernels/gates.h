// SPDX-License-Identifier: Apache-2.0
// From the pre-activations of a few panels to the next states, and to what the way back needs.
#pragma once

#include "cells/gru.h"
#include "preactivation.h"
#include "slab.h"

namespace gatewise {
namespace {

// The rows of one step, whose gates are to be found.
struct StepRows {
  int64_t count;
  int64_t stride;                      // floats between rows of state
  const float* h_prev;                 // (rows, stride)
  float* h_next;                       // likewise
  float *reset, *update;               // likewise; with reset_after=False r * h_prev, and z between the two rounds
  const float* factors[kMaxSlabRows];  // dropout of the candidate's state, or null
  float* saved;                        // of the step, or null
};

struct Gates {
  const Problem& problem;
  const SavedSlab& saved;
  const StepRows& step;

  // Gates of all rows first, candidates then: what waits for nothing stands side by side, so that the CPU has enough to do while one row's
  // exponential waits for itself (32 cycles a row and panel instead of 40).
  void reset_after(int64_t first, int64_t end, const Pre<4>& pre) const {
    with_activations(problem.spec, [&](auto f) {
      for (int64_t p = first; p < end; ++p) {
        for (int64_t m = 0; m < step.count; ++m) {
          float* a = pre.at(p - first, m);
          const Vec z = f.gate(load(a + kUpdate * kLanes)), r = f.gate(load(a + kReset * kLanes));
          const Vec q = load(a + kRecurrent * kLanes);
          store(a + kUpdate * kLanes, z);
          store(a + kCandidate * kLanes, gru_reset_after(load(a + kCandidate * kLanes), r, q));
          if (!step.saved) continue;
          save(p, m, kSavedZ, z);
          save(p, m, kSavedR, r);
          save(p, m, kSavedQ, q);
        }
      }
      for (int64_t p = first; p < end; ++p) {
        for (int64_t m = 0; m < step.count; ++m) {
          const float* a = pre.at(p - first, m);
          const Vec h_tilde = f.candidate(load(a + kCandidate * kLanes));
          write_state(p, m, gru_blend(load(a + kUpdate * kLanes), h_prev(p, m), h_tilde));
          if (step.saved) save(p, m, kSavedCandidate, h_tilde);
        }
      }
    });
  }

  void reset_before(int64_t first, int64_t end, const Pre<2>& pre) const {
    with_activations(problem.spec, [&](auto f) {
      for (int64_t p = first; p < end; ++p) {
        for (int64_t m = 0; m < step.count; ++m) {
          const float* a = pre.at(p - first, m);
          const Vec z = f.gate(load(a + kUpdate * kLanes)), r = f.gate(load(a + kReset * kLanes));
          Vec h = h_prev(p, m);
          if (step.factors[m]) h *= load_first(step.factors[m] + p * kLanes, lanes_of(problem, p));
          store(step.update + m * step.stride + p * kLanes, z);
          store(step.reset + m * step.stride + p * kLanes, r * h);
          if (step.saved) save(p, m, kSavedR, r);
        }
      }
    });
  }

  void reset_before_candidate(int64_t first, int64_t end, const Pre<1>& pre) const {
    with_activations(problem.spec, [&](auto f) {
      for (int64_t p = first; p < end; ++p) {
        for (int64_t m = 0; m < step.count; ++m) {
          const Vec h_tilde = f.candidate(load(pre.at(p - first, m)));
          const Vec z = load(step.update + m * step.stride + p * kLanes);
          write_state(p, m, gru_blend(z, h_prev(p, m), h_tilde));
          if (!step.saved) continue;
          save(p, m, kSavedZ, z);
          save(p, m, kSavedCandidate, h_tilde);
        }
      }
    });
  }

 private:
  GATEWISE_INLINE Vec h_prev(int64_t panel, int64_t m) const { return load(step.h_prev + m * step.stride + panel * kLanes); }

  GATEWISE_INLINE void save(int64_t panel, int64_t m, Saved what, Vec v) const {
    store_unaligned(step.saved + saved.place(panel, m) + what * kLanes, v);
  }

  GATEWISE_INLINE void write_state(int64_t panel, int64_t m, Vec h) const { store(step.h_next + m * step.stride + panel * kLanes, h); }
};

}  // namespace
}  // namespace gatewise
