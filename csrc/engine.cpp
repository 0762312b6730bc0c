// SPDX-License-Identifier: Apache-2.0
// The C interface: checks sizes, packs the weights, makes the plan and hands slabs to the pool.
#include "engine.h"

#include <string.h>

#include <atomic>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <vector>

#include "cpus.h"
#include "dispatch.h"
#include "float_mode.h"
#include "pack.h"
#include "pages.h"
#include "partials.h"
#include "plan.h"
#include "pool.h"
#include "scratch.h"
#include "team.h"

namespace gatewise {
namespace {

std::atomic<int64_t> forward_calls{0}, backward_calls{0};

bool valid(const gatewise_gru_spec& spec) {
  const auto known = [](int32_t kind) { return kind >= GATEWISE_TANH && kind <= GATEWISE_HARD_SIGMOID; };
  return spec.batch >= 0 && spec.batch <= INT32_MAX && spec.timesteps >= 0 && spec.timesteps <= INT32_MAX && spec.features >= 1 &&
         spec.units >= 1 && known(spec.activation) && known(spec.recurrent_activation) &&
         (!spec.candidates_again || (spec.return_sequences && !spec.recompute));
}

Problem make_problem(const Kernels& isa, const gatewise_gru_spec& spec, const gatewise_gru_inputs& in, const Plan& plan) {
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
  return problem;
}

// A team and the scratch memory that it shares.
struct TeamWork {
  Scratch scratch;
  Team team;
  TeamWork(int64_t scratch_floats, int members) : scratch(scratch_floats), team(members) {}
};

// How much work a pass over a layer is, in multiply-adds; 0 if it is over before a thread that waited for its turn had woken.
double size_of(const gatewise_gru_spec& spec) {
  constexpr double kMillisecond = 5e7;
  const double size = 3.0 * static_cast<double>(spec.units) * static_cast<double>(spec.units + spec.features) *
                      static_cast<double>(spec.batch) * static_cast<double>(spec.timesteps);
  return size < kMillisecond ? 0 : size;
}

// glibc takes what is larger than 32 MB anew from the system for every call. Page faults and memory traffic spared pay for the products
// where rows are short: speech and bigbatch train in 0.97 to 1.04 of the time on JAX and TensorFlow, though the engine alone takes 1.11.
bool candidates_again_pay(gatewise_gru_spec spec) {
  constexpr int64_t kKeptFloats = int64_t{8} << 20, kMaxRow = 512;
  spec.candidates_again = 0;
  return spec.return_sequences && !spec.recompute && spec.features + spec.units <= kMaxRow &&
         gatewise_gru_saved_floats(&spec) > kKeptFloats;
}

// Runs body(item, scratch, team, member) on the pool for every item and each of its members. Throws std::bad_alloc.
template <class Body>
void run_teams(int64_t items, int members, int64_t scratch_floats, double size, Body&& body) {
  if (members == 1) {
    std::atomic<bool> out_of_memory{false};
    auto alone = [&](int64_t item) {
      try {
        TeamWork work(scratch_floats, 1);
        body(item, work.scratch.data(), work.team, 0);
      } catch (const std::bad_alloc&) {
        out_of_memory.store(true);
      }
    };
    parallel_for(items, threads(), alone, size);
    if (out_of_memory.load()) throw std::bad_alloc();
    return;
  }
  std::vector<std::unique_ptr<TeamWork>> works;
  for (int64_t item = 0; item < items; ++item) works.push_back(std::make_unique<TeamWork>(scratch_floats, members));
  parallel_for(items * members, threads(), [&](int64_t i) {
    TeamWork& work = *works[static_cast<size_t>(i / members)];
    body(i / members, work.scratch.data(), work.team, static_cast<int>(i % members));
  });
}

// Where the weights stand in what gatewise_gru_pack writes.
struct Packed {
  int64_t recurrent, bias, floats;

  Packed(const gatewise_gru_spec& spec, int64_t lanes)
      : recurrent(panel_floats(spec.features, spec.units, lanes)),
        bias(recurrent + panel_floats(spec.units, spec.units, lanes)),
        floats(bias + round_up(spec.units, lanes) * 4) {}
};

void pack(const Kernels& isa, const gatewise_gru_spec& spec, const gatewise_gru_inputs& in, bool gates_apart, float* to) {
  const Packed packed(spec, isa.lanes);
  parallel_for(round_up(spec.units, isa.lanes) / isa.lanes, threads_for_weights(packed.floats), [&](int64_t panel) {
    pack_kernel_panel(spec, in.kernel, panel, spec.features, isa.lanes, gates_apart, to);
    pack_kernel_panel(spec, in.recurrent_kernel, panel, spec.units, isa.lanes, gates_apart, to + packed.recurrent);
  });
  pack_bias(spec, in, isa.lanes, to + packed.bias);
}

void set_packed(Problem& problem, const Kernels& isa, const float* weights) {
  const Packed packed(problem.spec, isa.lanes);
  problem.kernel = weights;
  problem.recurrent_kernel = weights + packed.recurrent;
  problem.bias = weights + packed.bias;
}

void run_forward(const gatewise_gru_spec& spec, const gatewise_gru_inputs& in, const gatewise_gru_outputs& out) {
  const Kernels& isa = kernels();
  const Plan plan = make_plan(spec, in.mask, weights_exceed(spec, isa.cache_bytes), false);
  Problem problem = make_problem(isa, spec, in, plan);
  std::optional<Scratch> packed;
  const bool apart = gates_see_different_rows(in), given = in.packed && !apart;
  if (!given) pack(isa, spec, in, apart, packed.emplace(Packed(spec, isa.lanes).floats).data());
  set_packed(problem, isa, given ? in.packed : packed->data());
  use_large_pages(out.outputs, spec.batch * (spec.return_sequences ? spec.timesteps : 1) * spec.units);
  use_large_pages(out.saved, isa.saved_floats(spec, plan.chunk_steps));
  problem.outputs = out.outputs;
  problem.state = out.state;
  problem.saved = out.saved;
  const int members = team_size(spec, plan, threads());
  run_teams(plan.slabs(), members, isa.forward_scratch_floats(problem, members), size_of(spec),
            [&](int64_t slab, float* scratch, Team& team, int member) { isa.forward_slab(problem, slab, scratch, team, member); });
}

void run_backward(const gatewise_gru_spec& spec, const gatewise_gru_inputs& in, const float* saved, const float* outputs,
                  const float* d_outputs, const float* d_state, const gatewise_gru_gradients& out) {
  const Kernels& isa = kernels();
  const int64_t units = spec.units, lanes = isa.lanes;
  const Plan plan = make_plan(spec, in.mask, weights_exceed(spec, isa.cache_bytes), true);
  Problem problem = make_problem(isa, spec, in, plan);
  const int64_t kernel_floats = transposed_floats(spec.features, units, lanes), recurrent_floats = transposed_floats(units, units, lanes);
  const Scratch packed(kernel_floats + recurrent_floats);
  const int one_run[3] = {3, 3, 3}, recurrent_runs[3] = {run_end(problem, 0), run_end(problem, 1), run_end(problem, 2)};
  parallel_for(problem.panels + problem.feature_panels, threads_for_weights(kernel_floats + recurrent_floats), [&](int64_t i) {
    if (i < problem.panels) {
      pack_transposed_panel(spec, in.recurrent_kernel, i, units, lanes, kRecurrentOrder, recurrent_runs, packed.data() + kernel_floats);
    } else {
      pack_transposed_panel(spec, in.kernel, i - problem.panels, spec.features, lanes, kForwardOrder, one_run, packed.data());
    }
  });
  std::optional<Scratch> again;
  if (spec.recompute || spec.candidates_again) {
    pack(isa, spec, in, gates_see_different_rows(in), again.emplace(Packed(spec, lanes).floats).data());
    set_packed(problem, isa, again->data());
  }
  problem.kernel_back = packed.data();
  problem.recurrent_kernel_back = packed.data() + kernel_floats;
  use_large_pages(out.x, spec.batch * spec.timesteps * spec.features);
  problem.saved_in = saved;
  problem.outputs_in = outputs;
  problem.d_outputs = d_outputs;
  problem.d_state = d_state;
  problem.d = out;
  const auto groups = static_cast<int64_t>(plan.groups.size());
  const int members = groups == plan.slabs() ? team_size(spec, plan, threads()) : 1;
  const int64_t scratch_floats = isa.backward_scratch_floats(problem, members);
  Partials partials(problem, lanes, groups, members > 1 || groups == 1);
  run_teams(groups, members, scratch_floats, 2 * size_of(spec), [&](int64_t group, float* scratch, Team& team, int member) {
    const Partial partial = partials.begin(group);
    if (member == 0) memset(partial.recurrent_kernel, 0, static_cast<size_t>(partials.floats()) * sizeof(float));
    for (const int64_t slab : plan.groups[static_cast<size_t>(group)]) isa.backward_slab(problem, slab, scratch, partial, team, member);
    if (member == 0) partials.end(group);
  });
  partials.finish();
}

void clear_weight_gradients(const gatewise_gru_spec& spec, const gatewise_gru_gradients& out) {
  const auto row = static_cast<size_t>(3 * spec.units) * sizeof(float);
  memset(out.kernel, 0, static_cast<size_t>(spec.features) * row);
  memset(out.recurrent_kernel, 0, static_cast<size_t>(spec.units) * row);
  if (out.bias) memset(out.bias, 0, (spec.reset_after && !spec.torch_layout ? 2 : 1) * row);
  if (out.recurrent_bias) memset(out.recurrent_bias, 0, row);
}

// Nothing may leave the C interface as an exception: what the pool and the plan can throw is a lack of memory.
template <class Run>
int guarded(std::atomic<int64_t>& calls, Run&& run) {
  const FloatMode mode;
  try {
    run();
  } catch (const std::bad_alloc&) {
    return GATEWISE_OUT_OF_MEMORY;
  } catch (const std::system_error&) {
    return GATEWISE_OUT_OF_MEMORY;
  }
  calls.fetch_add(1);
  return GATEWISE_OK;
}

}  // namespace
}  // namespace gatewise

int64_t gatewise_gru_saved_floats(const gatewise_gru_spec* spec) {
  if (!gatewise::valid(*spec)) return 0;
  const gatewise::Kernels& isa = gatewise::kernels();
  return isa.saved_floats(*spec, gatewise::chunk_steps(*spec, gatewise::weights_exceed(*spec, isa.cache_bytes)));
}

int gatewise_gru_candidates_again_pays(const gatewise_gru_spec* spec) { return gatewise::candidates_again_pay(*spec) ? 1 : 0; }

int64_t gatewise_gru_packed_floats(const gatewise_gru_spec* spec) { return gatewise::Packed(*spec, gatewise::kernels().lanes).floats; }

int gatewise_gru_pack(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, float* packed) {
  if (!gatewise::valid(*spec)) return GATEWISE_INVALID;
  try {
    gatewise::pack(gatewise::kernels(), *spec, *in, false, packed);
  } catch (const std::system_error&) {
    return GATEWISE_OUT_OF_MEMORY;
  }
  return GATEWISE_OK;
}

int gatewise_gru_forward(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, const gatewise_gru_outputs* out) {
  if (!gatewise::valid(*spec)) return GATEWISE_INVALID;
  return gatewise::guarded(gatewise::forward_calls, [&] {
    if (spec->batch > 0) gatewise::run_forward(*spec, *in, *out);
  });
}

int gatewise_gru_backward(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, const float* saved, const float* outputs,
                          const float* d_outputs, const float* d_state, const gatewise_gru_gradients* out) {
  if (!gatewise::valid(*spec)) return GATEWISE_INVALID;
  return gatewise::guarded(gatewise::backward_calls, [&] {
    if (spec->batch > 0) {
      gatewise::run_backward(*spec, *in, saved, outputs, d_outputs, d_state, *out);
    } else {
      gatewise::clear_weight_gradients(*spec, *out);
    }
  });
}

void gatewise_set_num_threads(int n) { gatewise::set_threads(n); }
int gatewise_num_threads(void) { return gatewise::threads(); }
void gatewise_use_threads(gatewise_threads threads) { gatewise::use_threads(threads); }
const char* gatewise_isa(void) { return gatewise::kernels().name; }
int gatewise_set_isa(const char* name) { return gatewise::set_kernels(name) ? 1 : 0; }
int64_t gatewise_forward_calls(void) { return gatewise::forward_calls.load(); }
int64_t gatewise_backward_calls(void) { return gatewise::backward_calls.load(); }
