// SPDX-License-Identifier: Apache-2.0
// What a cell sees of a step of the forward pass: a vector of units of one row. See cells/cell.h.
#pragma once

#include "cells/cell.h"
#include "passes/sums.h"
#include "passes/workspace.h"
#include "simd/math.h"

namespace gatewise {
namespace {

// The rows of one step in the forward pass. Planes are (rows, stride).
struct StepRows {
  int64_t count;
  int64_t stride;                   // floats between rows of a plane
  const float* before[kMaxStates];  // the states before the step
  float* next[kMaxStates];          // and after it
  float *made, *held;               // the operand that a round makes for the next, and what it holds for it
  int64_t held_stride;              // floats between planes that are held
  float* kept;                      // of the step, or null: nothing is kept
  float* kept_rows;                 // what is kept of whole rows, where that is
};

// Units of a panel and row in a round of the forward pass.
template <class Cell, int kRound, bool kKeeps>
struct ForwardUnits {
  const Slab& slab;
  const StepRows& step;
  float* sums;       // of the round
  float* workspace;  // where something is kept
  int64_t at;        // where the units stand in a plane
  int64_t m, panel;

  GATEWISE_INLINE Vec sum(int i) const { return load(sums + i * kLanes); }
  GATEWISE_INLINE void set_sum(int i, Vec v) const { store(sums + i * kLanes, v); }
  GATEWISE_INLINE Vec state(int k) const { return load(step.before[k] + at); }
  GATEWISE_INLINE void next(int k, Vec v) const { store(step.next[k] + at, v); }
  GATEWISE_INLINE void make(Vec v) const { store(step.made + at, v); }
  GATEWISE_INLINE void hold(int i, Vec v) const { store(step.held + i * step.held_stride + at, v); }
  GATEWISE_INLINE Vec held(int i) const { return load(step.held + i * step.held_stride + at); }
  GATEWISE_INLINE void keep(int i, Vec v) const {
    if constexpr (kKeeps) store_unaligned(workspace + i * kLanes, v);
  }
  // The first state as a gate sees it, after recurrent dropout.
  GATEWISE_INLINE Vec seen(int gate) const {
    const float* factors = slab.state_factors(m, gate);
    const Vec h = state(0);
    return factors ? h * load_first(factors + panel * kLanes, lanes_of(slab.problem, panel)) : h;
  }
};

// From the sums of a round, of the panels [first, end), to what the cell makes of them.
template <class Cell, int kRound>
void take_sums(const Slab& slab, const Workspace& workspace, const StepRows& step, int64_t first, int64_t end, const Sums& sums) {
  const auto stage = [&](auto f, auto number, auto keeps) {
    constexpr bool kKeeps = decltype(keeps)::value;
    for (int64_t p = first; p < end; ++p) {
      for (int64_t m = 0; m < step.count; ++m) {
        float* const kept = kKeeps ? step.kept + workspace.place(p, m) : nullptr;
        const ForwardUnits<Cell, kRound, kKeeps> units{slab, step, sums.at(p - first, m), kept, m * step.stride + p * kLanes, m, p};
        Cell::template forward<kRound, decltype(number)::value>(f, units);
      }
    }
  };
  const auto stages = [&](auto f, auto keeps) {
    stage(f, Constant<0>{}, keeps);
    if constexpr (Cell::kInfo.round[kRound].stages > 1) stage(f, Constant<1>{}, keeps);
  };
  with_activations(slab.problem.layer, [&](auto f) {
    if (step.kept) {
      stages(f, Constant<1>{});
    } else {
      stages(f, Constant<0>{});
    }
  });
}

}  // namespace
}  // namespace gatewise
