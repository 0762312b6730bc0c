// SPDX-License-Identifier: Apache-2.0
// A layer's way through time in one direction, forward or back: its plan, its packed weights, and the problem that its slabs solve.
#pragma once

#include <stdint.h>

#include <atomic>
#include <optional>
#include <vector>

#include "engine.h"
#include "partials.h"
#include "plan.h"
#include "problem.h"
#include "scratch.h"
#include "team.h"

namespace gatewise {

// Which of a layer's directions: the only one, or one of two, of which the second reads the other way.
struct Direction {
  int64_t index, count;
};

// Where a thread works, or a team: its scratch memory, which it keeps from one slab to the next.
struct Workplace {
  Scratch scratch;
  Team team;

  Workplace(int64_t floats, int members) : scratch(floats), team(members) {}  // Throws std::bad_alloc.

  // The weights of a way, so many floats into the scratch memory: pack(to) writes them, unless they lie there already.
  template <class Pack>
  const float* own_weights(const void* way, int64_t floats, Pack&& pack) {
    float* const weights = scratch.data() + floats;
    if (weights_of_ != way) pack(weights);
    weights_of_ = way;
    return weights;
  }

 private:
  const void* weights_of_ = nullptr;
};

// The floats of gatewise_gru_pack, and its work. gates_apart: see problem.h.
int64_t packed_floats(const gatewise_gru_spec& spec, int64_t lanes);
void pack_weights(const Kernels& isa, const gatewise_gru_spec& spec, const gatewise_gru_inputs& in, bool gates_apart, float* to);

// Constructors throw std::bad_alloc. `spec` is the layer's; `outputs` and `d_outputs` are those of all directions.
//
// Weights that one thread packs are packed by every thread for itself, unless a team works with them: that takes less time than to fetch
// them from another CPU's cache (quickstart, two threads: 0.82 of the time; a training step 0.92).
struct WayForward {
  const Kernels& isa;
  const gatewise_gru_spec spec;  // of this direction
  const Plan plan;
  const int members;  // of a team, for each slab
  Problem problem;
  const bool own_weights;         // each thread packs them
  std::optional<Scratch> packed;  // those that do not come packed, where one packs them for all

  WayForward(const Kernels& isa, const gatewise_gru_spec& spec, Direction direction, int threads, const gatewise_gru_inputs& in,
             const gatewise_gru_outputs& out, float* outputs);
  WayForward(const WayForward&) = delete;
  WayForward& operator=(const WayForward&) = delete;

  int64_t scratch_floats() const;
  void run(int64_t slab, Workplace& place, int member) const;
};

struct WayBack {
  const Kernels& isa;
  const gatewise_gru_spec spec;
  const Plan plan;
  const int64_t groups;  // of slabs, see partials.h
  const int members;     // of a team, for each group
  Problem problem;
  const int64_t kernel_floats, weight_floats;
  const bool own_weights;
  std::optional<Scratch> packed;
  std::optional<Scratch> again;  // the weights as the way forward has them
  Partials partials;
  std::vector<std::atomic<bool>> ended;  // (groups,)

  // threads: how many the direction has for itself. `own_x`: where the second direction writes its gradient of x; null: it adds to the
  // first's, in out.x.
  WayBack(const Kernels& isa, const gatewise_gru_spec& spec, Direction direction, int threads, const gatewise_gru_inputs& in,
          const float* saved, const float* d_outputs, const float* d_state, const gatewise_gru_gradients& out, float* own_x);
  WayBack(const WayBack&) = delete;
  WayBack& operator=(const WayBack&) = delete;

  int64_t scratch_floats() const;
  void run(int64_t group, Workplace& place, int member);  // Throws std::bad_alloc.

  // Returns when a group that a thread has begun has ended, and its part of the gradient of x is written; or when that has failed.
  void await(int64_t group, const std::atomic<bool>& failed) const;

 private:
  void pack_transposed(float* to) const;
  void set_transposed(Problem& of, const float* weights) const;
};

}  // namespace gatewise
