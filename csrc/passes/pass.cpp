// SPDX-License-Identifier: Apache-2.0
#include "passes/pass.h"

#include <string.h>

#include "threads/pages.h"
#include "threads/pool.h"
#include "threads/spin.h"

namespace gatewise {
namespace {

// Whether the caller packed the weights, as this call wants them.
bool comes_packed(const gatewise_inputs& in) { return in.packed && !gates_see_different_rows(in); }

gatewise_layer layer_of(gatewise_layer layer, Direction direction) {
  if (direction.index > 0) layer.go_backwards = !layer.go_backwards;
  return layer;
}

Problem make_problem(const Kernels& isa, const gatewise_layer& layer, const gatewise_inputs& in, const Plan& plan, Direction direction) {
  Problem problem{};
  problem.layer = layer;
  problem.in = in;
  problem.cell = isa.of(layer).cell;
  problem.exceeds_l2 = isa.exceeded_by(layer);
  problem.panels = round_up(layer.units, isa.lanes) / isa.lanes;
  problem.feature_panels = round_up(layer.features, isa.lanes) / isa.lanes;
  problem.row = plan.row.data();
  problem.length = plan.length.data();
  problem.step = plan.step.empty() ? nullptr : plan.step.data();
  problem.slab_begin = plan.slab_begin.data();
  problem.slab_rows = plan.slab_rows;
  problem.block_steps = plan.block_steps;
  problem.output_stride = direction.count * layer.units;
  problem.state_stride = layer.units;
  problem.x_stride = layer.timesteps * layer.features;
  problem.outputs_reversed = direction.index > 0;
  for (int k = 0; k < problem.cell->states; ++k) problem.initial_state[k] = in.initial_state[k];
  problem.zoneout[0] = float_of(layer.zoneout_h);
  problem.zoneout[1] = float_of(layer.zoneout_c);
  return problem;
}

// Whether every thread packs so many floats of weights for itself.
bool each_packs(int64_t floats, int members) { return members == 1 && threads_for_weights(floats) == 1; }

// Where a thread's own weights begin, in its scratch memory.
int64_t own_weights_at(int64_t scratch_floats) { return round_up(scratch_floats, 16); }

// A direction's half of an array that all have a part of.
template <class T>
T* half(T* array, const gatewise_layer& layer, Direction direction) {
  return array ? array + direction.index * layer.units : nullptr;
}

}  // namespace

float float_of(int32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

ForwardPass::ForwardPass(const Kernels& isa_, const gatewise_layer& whole, Direction direction, int threads, const gatewise_inputs& in,
                         const gatewise_outputs& out, float* outputs)
    : isa(isa_),
      layer(layer_of(whole, direction)),
      cell(isa.of(layer)),
      plan(make_plan(layer, in.mask, isa.exceeded_by(layer), 0)),
      members(team_size(layer, plan, threads)),
      problem(make_problem(isa, layer, in, plan, direction)),
      layout(*cell.cell, layer, isa.lanes),
      own_weights(!comes_packed(in) && each_packs(layout.floats, members)) {
  if (comes_packed(in)) {
    layout.set(weights, in.packed);
  } else if (!own_weights) {
    pack_weights(*cell.cell, layer, in, isa.lanes, gates_see_different_rows(in), packed.emplace(layout.floats).data());
    layout.set(weights, packed->data());
  }
  use_large_pages(out.workspace, cell.workspace_floats(layer, plan.block_steps));
  problem.outputs = half(outputs, layer, direction);
  for (int k = 0; k < cell.cell->states; ++k) problem.state[k] = out.state[k];
  problem.workspace = out.workspace;
}

int64_t ForwardPass::scratch_floats() const {
  const int64_t floats = cell.forward_scratch_floats(problem, members);
  return own_weights ? own_weights_at(floats) + layout.floats : floats;
}

void ForwardPass::run(int64_t slab, Workplace& place, int member) const {
  Weights mine = weights;
  if (own_weights) {
    const auto pack = [&](float* to) { pack_weights(*cell.cell, layer, problem.in, isa.lanes, gates_see_different_rows(problem.in), to); };
    layout.set(mine, place.own_weights(this, own_weights_at(cell.forward_scratch_floats(problem, members)), pack));
  }
  cell.forward_slab(problem, mine, slab, place.scratch.data(), place.team, member);
}

BackwardPass::BackwardPass(const Kernels& isa_, const gatewise_layer& whole, Direction direction, int threads, const gatewise_inputs& in,
                           const gatewise_output_gradients& of, const float* d_outputs, const gatewise_gradients& out, float* x,
                           bool adds_to_x)
    : isa(isa_),
      layer(layer_of(whole, direction)),
      cell(isa.of(layer)),
      plan(make_plan(layer, in.mask, isa.exceeded_by(layer), weights_of(*cell.cell, layer))),
      groups(static_cast<int64_t>(plan.groups.size())),
      members(groups == plan.slabs() ? team_size(layer, plan, threads) : 1),
      problem(make_problem(isa, layer, in, plan, direction)),
      layout(*cell.cell, layer, isa.lanes),
      own_weights(each_packs(layout.floats, members)),
      partials(problem, isa.lanes, groups, members > 1 || groups == 1),
      ended(static_cast<size_t>(groups)) {
  if (!own_weights) {
    pack_transposed(*cell.cell, layer, in, isa.lanes, packed.emplace(layout.floats).data());
    layout.set(weights, packed->data());
  }
  if (layer.recompute) {
    const PackedWeights forward(*cell.cell, layer, isa.lanes);
    pack_weights(*cell.cell, layer, in, isa.lanes, gates_see_different_rows(in), again.emplace(forward.floats).data());
    forward.set(weights, again->data());
  }
  problem.kept = of.workspace;
  problem.d_outputs = half(d_outputs, layer, direction);
  for (int k = 0; k < cell.cell->states; ++k) {
    problem.d_state[k] = of.state[k];
    problem.d_initial_state[k] = out.initial_state[k];
  }
  problem.d = out;
  problem.d.x = x;
  problem.adds_to_x = adds_to_x;
}

int64_t BackwardPass::scratch_floats() const {
  const int64_t floats = cell.backward_scratch_floats(problem, members);
  return own_weights ? own_weights_at(floats) + layout.floats : floats;
}

void BackwardPass::run(int64_t group, Workplace& place, int member) {
  const Partial partial = partials.begin(group);
  if (member == 0) memset(partial.recurrent_kernel, 0, static_cast<size_t>(partials.floats()) * sizeof(float));
  Weights mine = weights;
  if (own_weights) {
    const auto pack = [&](float* to) { pack_transposed(*cell.cell, layer, problem.in, isa.lanes, to); };
    layout.set(mine, place.own_weights(this, own_weights_at(cell.backward_scratch_floats(problem, members)), pack));
  }
  for (const int64_t slab : plan.groups[static_cast<size_t>(group)]) {
    cell.backward_slab(problem, mine, slab, place.scratch.data(), partial, place.team, member);
  }
  if (member > 0) return;
  ended[static_cast<size_t>(group)].store(true, std::memory_order_release);
  partials.end(group);
}

void BackwardPass::await(int64_t group, const std::atomic<bool>& failed) const {
  const auto over = [&] { return ended[static_cast<size_t>(group)].load(std::memory_order_acquire) || failed.load(); };
  while (!spin_yielding(1000, over)) {
  }
}

}  // namespace gatewise
