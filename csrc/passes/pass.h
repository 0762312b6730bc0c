// SPDX-License-Identifier: Apache-2.0
// A layer's pass over time in one direction, forward or backward: its plan, its packed weights, and the problem that its slabs solve.
#pragma once

#include <stdint.h>

#include <atomic>
#include <optional>
#include <vector>

#include "engine.h"
#include "formats/pack.h"
#include "passes/partials.h"
#include "passes/plan.h"
#include "passes/problem.h"
#include "threads/scratch.h"
#include "threads/team.h"

namespace gatewise {

// An option that is the bits of a float32.
float float_of(int32_t bits);

// Which of a layer's directions: the only one, or one of two, of which the second reads the other way.
struct Direction {
  int64_t index, count;
};

// Where a thread works, or a team: its scratch memory, which it keeps from one slab to the next.
struct Workplace {
  Scratch scratch;
  Team team;

  Workplace(int64_t floats, int members) : scratch(floats), team(members) {}  // Throws std::bad_alloc.

  // The weights of a pass, so many floats into the scratch memory: pack(to) writes them, unless they lie there already.
  template <class Pack>
  const float* own_weights(const void* pass, int64_t floats, Pack&& pack) {
    float* const weights = scratch.data() + floats;
    if (weights_of_ != pass) pack(weights);
    weights_of_ = pass;
    return weights;
  }

 private:
  const void* weights_of_ = nullptr;
};

// Constructors throw std::bad_alloc. `layer` is the layer's; `outputs` and `d_outputs` are those of all directions.
//
// Weights that one thread packs are packed by every thread for itself, unless a team works with them: that takes less time than to fetch
// them from another CPU's cache (quickstart, two threads: 0.82 of the time; a training step 0.92).
struct ForwardPass {
  const Kernels& isa;
  const gatewise_layer layer;  // of this direction
  const CellKernels& cell;
  const Plan plan;
  const int members;  // of a team, for each slab
  Problem problem;
  Weights weights{};
  const PackedWeights layout;
  const bool own_weights;         // each thread packs them
  std::optional<Scratch> packed;  // those that do not come packed, where one packs them for all

  ForwardPass(const Kernels& isa, const gatewise_layer& layer, Direction direction, int threads, const gatewise_inputs& in,
              const gatewise_outputs& out, float* outputs);
  ForwardPass(const ForwardPass&) = delete;
  ForwardPass& operator=(const ForwardPass&) = delete;

  int64_t scratch_floats() const;
  void run(int64_t slab, Workplace& place, int member) const;
};

struct BackwardPass {
  const Kernels& isa;
  const gatewise_layer layer;
  const CellKernels& cell;
  const Plan plan;
  const int64_t groups;  // of slabs, see partials.h
  const int members;     // of a team, for each group
  Problem problem;
  Weights weights{};
  const TransposedWeights layout;
  const bool own_weights;
  std::optional<Scratch> packed;
  std::optional<Scratch> again;  // the weights as the forward pass has them
  Partials partials;
  std::vector<std::atomic<bool>> ended;  // (groups,)

  // threads: how many the direction has for itself. `x`: where it writes its gradient of x, or adds it to the other direction's.
  BackwardPass(const Kernels& isa, const gatewise_layer& layer, Direction direction, int threads, const gatewise_inputs& in,
               const gatewise_output_gradients& of, const float* d_outputs, const gatewise_gradients& out, float* x, bool adds_to_x);
  BackwardPass(const BackwardPass&) = delete;
  BackwardPass& operator=(const BackwardPass&) = delete;

  int64_t scratch_floats() const;
  void run(int64_t group, Workplace& place, int member);  // Throws std::bad_alloc.

  // Returns when a group that a thread has begun has ended, and its part of the gradient of x is written; or when that has failed.
  void await(int64_t group, const std::atomic<bool>& failed) const;
};

}  // namespace gatewise
