// SPDX-License-Identifier: Apache-2.0
#include "way.h"

#include <string.h>

#include "pack.h"
#include "pages.h"
#include "pool.h"
#include "spin.h"

namespace gatewise {
namespace {

// Where the weights stand in what gatewise_gru_pack writes.
struct Packed {
  int64_t recurrent, bias, floats;

  Packed(const gatewise_gru_spec& spec, int64_t lanes)
      : recurrent(panel_floats(spec.features, spec.units, lanes)),
        bias(recurrent + panel_floats(spec.units, spec.units, lanes)),
        floats(bias + round_up(spec.units, lanes) * 4) {}
};

// Whether the caller packed the weights, as this call wants them.
bool comes_packed(const gatewise_gru_inputs& in) { return in.packed && !gates_see_different_rows(in); }

void set_packed(Problem& problem, const Kernels& isa, const float* weights) {
  const Packed packed(problem.spec, isa.lanes);
  problem.kernel = weights;
  problem.recurrent_kernel = weights + packed.recurrent;
  problem.bias = weights + packed.bias;
}

gatewise_gru_spec spec_of(gatewise_gru_spec spec, Direction direction) {
  if (direction.index > 0) spec.go_backwards = !spec.go_backwards;
  return spec;
}

Problem make_problem(const Kernels& isa, const gatewise_gru_spec& spec, const gatewise_gru_inputs& in, const Plan& plan,
                     Direction direction) {
  Problem problem{};
  problem.spec = spec;
  problem.in = in;
  problem.far_weights = weights_exceed(spec, isa.cache_bytes);
  problem.panels = round_up(spec.units, isa.lanes) / isa.lanes;
  problem.feature_panels = round_up(spec.features, isa.lanes) / isa.lanes;
  problem.row = plan.row.data();
  problem.length = plan.length.data();
  problem.step = plan.step.empty() ? nullptr : plan.step.data();
  problem.slab_begin = plan.slab_begin.data();
  problem.slab_rows = plan.slab_rows;
  problem.chunk_steps = plan.chunk_steps;
  problem.output_stride = direction.count * spec.units;
  problem.outputs_reversed = direction.index > 0;
  return problem;
}

// Whether every thread packs so many floats of weights for itself.
bool each_packs(int64_t floats, int members) { return members == 1 && threads_for_weights(floats) == 1; }

// Where a thread's own weights begin, in its scratch memory.
int64_t own_weights_at(int64_t scratch_floats) { return round_up(scratch_floats, 16); }

// A direction's half of an array that all have a part of.
template <class T>
T* half(T* array, const gatewise_gru_spec& spec, Direction direction) {
  return array ? array + direction.index * spec.units : nullptr;
}

}  // namespace

int64_t packed_floats(const gatewise_gru_spec& spec, int64_t lanes) { return Packed(spec, lanes).floats; }

void pack_weights(const Kernels& isa, const gatewise_gru_spec& spec, const gatewise_gru_inputs& in, bool gates_apart, float* to) {
  const Packed packed(spec, isa.lanes);
  parallel_for(round_up(spec.units, isa.lanes) / isa.lanes, threads_for_weights(packed.floats), [&](int64_t panel) {
    pack_kernel_panel(spec, in.kernel, panel, spec.features, isa.lanes, gates_apart, to);
    pack_kernel_panel(spec, in.recurrent_kernel, panel, spec.units, isa.lanes, gates_apart, to + packed.recurrent);
  });
  pack_bias(spec, in, isa.lanes, to + packed.bias);
}

WayForward::WayForward(const Kernels& isa_, const gatewise_gru_spec& whole, Direction direction, int threads, const gatewise_gru_inputs& in,
                       const gatewise_gru_outputs& out, float* outputs)
    : isa(isa_),
      spec(spec_of(whole, direction)),
      plan(make_plan(spec, in.mask, weights_exceed(spec, isa.cache_bytes), false)),
      members(team_size(spec, plan, threads)),
      problem(make_problem(isa, spec, in, plan, direction)),
      own_weights(!comes_packed(in) && each_packs(packed_floats(spec, isa.lanes), members)) {
  if (comes_packed(in)) {
    set_packed(problem, isa, in.packed);
  } else if (!own_weights) {
    pack_weights(isa, spec, in, gates_see_different_rows(in), packed.emplace(packed_floats(spec, isa.lanes)).data());
    set_packed(problem, isa, packed->data());
  }
  use_large_pages(out.saved, isa.saved_floats(spec, plan.chunk_steps));
  problem.outputs = half(outputs, spec, direction);
  problem.state = out.state;
  problem.saved = out.saved;
}

int64_t WayForward::scratch_floats() const {
  const int64_t floats = isa.forward_scratch_floats(problem, members);
  return own_weights ? own_weights_at(floats) + packed_floats(spec, isa.lanes) : floats;
}

void WayForward::run(int64_t slab, Workplace& place, int member) const {
  Problem with_weights = problem;
  if (own_weights) {
    const auto pack = [&](float* to) { pack_weights(isa, spec, problem.in, gates_see_different_rows(problem.in), to); };
    set_packed(with_weights, isa, place.own_weights(this, own_weights_at(isa.forward_scratch_floats(problem, members)), pack));
  }
  isa.forward_slab(with_weights, slab, place.scratch.data(), place.team, member);
}

WayBack::WayBack(const Kernels& isa_, const gatewise_gru_spec& whole, Direction direction, int threads, const gatewise_gru_inputs& in,
                 const float* saved, const float* d_outputs, const float* d_state, const gatewise_gru_gradients& out, float* own_x)
    : isa(isa_),
      spec(spec_of(whole, direction)),
      plan(make_plan(spec, in.mask, weights_exceed(spec, isa.cache_bytes), true)),
      groups(static_cast<int64_t>(plan.groups.size())),
      members(groups == plan.slabs() ? team_size(spec, plan, threads) : 1),
      problem(make_problem(isa, spec, in, plan, direction)),
      kernel_floats(transposed_floats(spec.features, spec.units, isa.lanes)),
      weight_floats(kernel_floats + transposed_floats(spec.units, spec.units, isa.lanes)),
      own_weights(each_packs(weight_floats, members)),
      partials(problem, isa.lanes, groups, members > 1 || groups == 1),
      ended(static_cast<size_t>(groups)) {
  if (!own_weights) {
    pack_transposed(packed.emplace(weight_floats).data());
    set_transposed(problem, packed->data());
  }
  if (spec.recompute) {
    pack_weights(isa, spec, in, gates_see_different_rows(in), again.emplace(packed_floats(spec, isa.lanes)).data());
    set_packed(problem, isa, again->data());
  }
  problem.saved_in = saved;
  problem.d_outputs = half(d_outputs, spec, direction);
  problem.d_state = d_state;
  problem.d = out;
  if (own_x) problem.d.x = own_x;
  problem.adds_to_x = direction.index > 0 && !own_x;
}

void WayBack::set_transposed(Problem& of, const float* weights) const {
  of.kernel_back = weights;
  of.recurrent_kernel_back = weights + kernel_floats;
}

void WayBack::pack_transposed(float* to) const {
  const int one_run[3] = {3, 3, 3}, recurrent_runs[3] = {run_end(problem, 0), run_end(problem, 1), run_end(problem, 2)};
  parallel_for(problem.panels + problem.feature_panels, threads_for_weights(weight_floats), [&](int64_t i) {
    if (i < problem.panels) {
      pack_transposed_panel(spec, problem.in.recurrent_kernel, i, spec.units, isa.lanes, kRecurrentOrder, recurrent_runs,
                            to + kernel_floats);
    } else {
      pack_transposed_panel(spec, problem.in.kernel, i - problem.panels, spec.features, isa.lanes, kForwardOrder, one_run, to);
    }
  });
}

int64_t WayBack::scratch_floats() const {
  const int64_t floats = isa.backward_scratch_floats(problem, members);
  return own_weights ? own_weights_at(floats) + weight_floats : floats;
}

void WayBack::run(int64_t group, Workplace& place, int member) {
  const Partial partial = partials.begin(group);
  if (member == 0) memset(partial.recurrent_kernel, 0, static_cast<size_t>(partials.floats()) * sizeof(float));
  Problem with_weights = problem;
  if (own_weights) {
    const auto pack = [&](float* to) { pack_transposed(to); };
    set_transposed(with_weights, place.own_weights(this, own_weights_at(isa.backward_scratch_floats(problem, members)), pack));
  }
  for (const int64_t slab : plan.groups[static_cast<size_t>(group)]) {
    isa.backward_slab(with_weights, slab, place.scratch.data(), partial, place.team, member);
  }
  if (member > 0) return;
  ended[static_cast<size_t>(group)].store(true, std::memory_order_release);
  partials.end(group);
}

void WayBack::await(int64_t group, const std::atomic<bool>& failed) const {
  const auto over = [&] { return ended[static_cast<size_t>(group)].load(std::memory_order_acquire) || failed.load(); };
  while (!spin_yielding(1000, over)) {
  }
}

}  // namespace gatewise
