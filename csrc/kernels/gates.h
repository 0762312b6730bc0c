// SPDX-License-Identifier: Apache-2.0
// From the pre-activations of a tile to its next states, and to what the way back needs.
#pragma once

#include "cells/gru.h"
#include "preactivation.h"
#include "slab.h"

namespace gatewise {
namespace {

struct Gates {
  const Problem& problem;
  const SavedSlab& saved;

  // Gates of all rows first, candidates then: what waits for nothing stands side by side, so that the CPU has enough to do while one row's
  // exponential waits for itself (32 cycles a row and panel instead of 40).
  template <int M>
  void reset_after(const Block<M>& block, int64_t first, int64_t panels, float* pre) const {
    with_activations(problem.spec, [&](auto f) {
      for (int64_t p = first; p < first + panels; ++p) {
        float* tile = pre + pre_at(M, p - first, 0);
        float* to = block.saved ? block.saved + p * saved.panel_stride : nullptr;
        for (int64_t m = 0; m < M; ++m) {
          float* a = tile + pre_at(M, 0, m);
          const Vec z = f.gate(load(a + kUpdate * kLanes)), r = f.gate(load(a + kReset * kLanes));
          const Vec q = load(a + kRecurrent * kLanes);
          store(a + kUpdate * kLanes, z);
          store(a + kCandidate * kLanes, gru_reset_after(load(a + kCandidate * kLanes), r, q));
          if (!to) continue;
          store_unaligned(to + m * saved.row_stride + kSavedZ * kLanes, z);
          store_unaligned(to + m * saved.row_stride + kSavedR * kLanes, r);
          store_unaligned(to + m * saved.row_stride + kSavedQ * kLanes, q);
        }
        for (int64_t m = 0; m < M; ++m) {
          const float* a = tile + pre_at(M, 0, m);
          const Vec h_tilde = f.candidate(load(a + kCandidate * kLanes));
          write_state(block, p, m, gru_blend(load(a + kUpdate * kLanes), load(block.h_prev[m] + p * kLanes), h_tilde));
          if (to) store_unaligned(to + m * saved.row_stride + kSavedCandidate * kLanes, h_tilde);
        }
      }
    });
  }

  template <int M>
  void reset_before(const Block<M>& block, int64_t first, int64_t panels, const float* pre) const {
    with_activations(problem.spec, [&](auto f) {
      for (int64_t p = first; p < first + panels; ++p) {
        for (int64_t m = 0; m < M; ++m) {
          const float* a = pre + pre_at(M, p - first, m);
          const Vec z = f.gate(load(a + kUpdate * kLanes)), r = f.gate(load(a + kReset * kLanes));
          Vec h = load(block.h_prev[m] + p * kLanes);
          if (block.factors[m]) h *= load_first(block.factors[m] + p * kLanes, lanes_of(problem, p));
          store(block.update[m] + p * kLanes, z);
          store(block.reset[m] + p * kLanes, r * h);
          if (block.saved) store_unaligned(block.saved + p * saved.panel_stride + m * saved.row_stride + kSavedR * kLanes, r);
        }
      }
    });
  }

  template <int M>
  void reset_before_candidate(const Block<M>& block, int64_t first, int64_t panels, const float* pre) const {
    with_activations(problem.spec, [&](auto f) {
      for (int64_t p = first; p < first + panels; ++p) {
        for (int64_t m = 0; m < M; ++m) {
          const Vec h_tilde = f.candidate(load(pre + pre_at(M, p - first, m) + kCandidate * kLanes));
          const Vec z = load(block.update[m] + p * kLanes);
          write_state(block, p, m, gru_blend(z, load(block.h_prev[m] + p * kLanes), h_tilde));
          if (!block.saved) continue;
          float* to = block.saved + p * saved.panel_stride + m * saved.row_stride;
          store_unaligned(to + kSavedZ * kLanes, z);
          store_unaligned(to + kSavedCandidate * kLanes, h_tilde);
        }
      }
    });
  }

  template <int M>
  GATEWISE_INLINE void write_state(const Block<M>& block, int64_t panel, int64_t m, Vec h) const {
    store(block.h_next[m] + panel * kLanes, h);
    if (block.outputs[m]) store_first(block.outputs[m] + panel * kLanes, h, lanes_of(problem, panel));
  }
};

}  // namespace
}  // namespace gatewise
