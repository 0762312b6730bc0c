// SPDX-License-Identifier: Apache-2.0
// Zoneout (Krueger et al. 2016, arXiv 1606.01305): units whose state a step keeps as it was, or a part of every unit.
//
// It stands between the cell and the next step, whatever the cell: what the cell made of the states before stays what it was, so that an
// LSTM's h follows from its c before that is blended, as the paper has it.
#pragma once

#include "passes/rows.h"

namespace gatewise {
namespace {

struct Zoneout {
  const Slab& slab;
  int k;  // the number of the state

  static bool acts_on(const Problem& p, int k) { return p.in.kept[k] || p.zoneout[k] > 0; }

  // From units of a panel before and after step s of row m to those after it; forward, and where states are found again.
  void blend(int64_t m, int64_t s, int64_t panel, const float* before, float* after) const {
    const float part = slab.problem.zoneout[k];
    if (const uint8_t* const kept = kept_at(m, s, panel)) {
      for_lanes(panel, [&](int64_t i) { after[i] = kept[i] ? before[i] : after[i]; });
    } else if (part > 0) {
      for_lanes(panel, [&](int64_t i) { after[i] = part * before[i] + (1.0f - part) * after[i]; });
    }
  }

  // Cuts the gradient of a state after step s, of the first with that of the output, into what goes through the cell and what goes past it.
  void split(int64_t m, int64_t s, int64_t panel, float* d_state, float* d_output, float* past) const {
    if (d_output) {
      store(d_state, load(d_state) + load(d_output));
      store(d_output, Vec{});
    }
    const float part = slab.problem.zoneout[k];
    const uint8_t* const kept = kept_at(m, s, panel);
    for_lanes(panel, [&](int64_t i) {
      const float d = d_state[i];
      past[i] = kept ? (kept[i] ? d : 0.0f) : part * d;
      d_state[i] = kept ? (kept[i] ? 0.0f : d) : (1.0f - part) * d;
    });
  }

  // Adds what went past the cell to the gradient of the state before.
  void join(int64_t, int64_t, int64_t panel, float* d_state, float*, const float* past) const {
    for_lanes(panel, [&](int64_t i) { d_state[i] += past[i]; });
  }

 private:
  // Calls each(lane) for the units of a panel; of a whole one in a loop that the compiler makes vectors of.
  template <class Each>
  GATEWISE_INLINE void for_lanes(int64_t panel, Each&& each) const {
    const int64_t lanes = lanes_of(slab.problem, panel);
    if (lanes == kLanes) {
      for (int64_t i = 0; i < kLanes; ++i) each(i);
    } else {
      for (int64_t i = 0; i < lanes; ++i) each(i);
    }
  }

  const uint8_t* kept_at(int64_t m, int64_t s, int64_t panel) const {
    const uint8_t* const kept = slab.problem.in.kept[k];
    const gatewise_layer& layer = slab.problem.layer;
    if (!kept) return nullptr;
    return kept + (slab.batch_index(m) * layer.timesteps + slab.time_of(slab.position(m, s))) * layer.units + panel * kLanes;
  }
};

}  // namespace
}  // namespace gatewise
