// SPDX-License-Identifier: Apache-2.0
// From the states to the caller's outputs: those of the valid steps one after the other, those of the masked steps at the end.
#pragma once

#include "passes/rows.h"

namespace gatewise {
namespace {

struct Outputs {
  const Slab& slab;
  const Problem& problem = slab.problem;

  // Copies the panels [first_panel, last_panel) of the states after step s, which are `stride` floats apart: row by row, for rows of the
  // outputs often fall on the same cache sets (0.97 to 0.99 of the time of writing each panel's as it is found).
  void write(int64_t s, const float* states, int64_t stride, int64_t live, int64_t first_panel, int64_t last_panel) const {
    if (!problem.outputs || !problem.layer.return_sequences) return;
    for (int64_t m = 0; m < live; ++m) {
      const float* h = states + m * stride;
      float* to = problem.outputs + slab.output_offset(m, slab.position(m, s));
      for (int64_t p = first_panel; p < last_panel; ++p) store_first(to + p * kLanes, load(h + p * kLanes), lanes_of(problem, p));
    }
  }

  // Writes what no step wrote of row m, whose last state is h.
  void complete(int64_t m, const float* h) const {
    if (!problem.outputs) return;
    if (problem.layer.return_sequences) {
      fill_masked(m);
    } else {
      write_last(m, h);
    }
  }

 private:
  void write_last(int64_t m, const float* h) const {
    const int64_t units = problem.layer.units, length = slab.length(m);
    const int64_t timesteps = problem.layer.timesteps;
    const bool ends_masked = length > 0 && slab.position(m, length - 1) != timesteps - 1;
    const bool zero = length == 0 || (ends_masked && (problem.layer.zero_output_for_mask || slab.repeats_end(m, length - 1) != timesteps));
    float* to = problem.outputs + slab.output_offset(m, 0);
    for (int64_t k = 0; k < units; ++k) to[k] = zero ? 0.0f : h[k];
  }

  void fill_masked(int64_t m) const {
    const int64_t units = problem.layer.units;
    int64_t next = 0;  // the first position that nothing was written to yet
    for (int64_t s = 0; s <= slab.length(m); ++s) {
      const int64_t valid = slab.position(m, s);
      const int64_t end = s == 0 || problem.layer.zero_output_for_mask ? next : slab.repeats_end(m, s - 1);
      for (; next < valid; ++next) {
        const bool zero = next >= end;
        float* to = problem.outputs + slab.output_offset(m, next);
        const float* before = zero ? nullptr : problem.outputs + slab.output_offset(m, next - 1);
        for (int64_t k = 0; k < units; ++k) to[k] = zero ? 0.0f : before[k];
      }
      ++next;
    }
  }
};

}  // namespace
}  // namespace gatewise
