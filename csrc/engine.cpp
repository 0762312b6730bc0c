// SPDX-License-Identifier: Apache-2.0
// The C interface: checks sizes, packs the weights, makes the plan and hands slabs to the pool.
#include "engine.h"

#include <string.h>

#include <algorithm>
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
#include "spin.h"
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

// Which of a layer's directions a call is about: the only one, or one of two, of which the second reads the other way.
struct Direction {
  int64_t index, count;
};

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

// Directions of few rows run side by side, and their threads need not meet as those of a team do.
int threads_of_each(int64_t directions) { return std::max(threads() / static_cast<int>(directions), 1); }

// A direction's part of arrays that both have their halves of.
template <class T>
T* half(T* array, const gatewise_gru_spec& spec, Direction direction) {
  return array ? array + direction.index * spec.units : nullptr;
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

// The way forward in one direction.
class Forward {
 public:
  Forward(const Kernels& isa, const gatewise_gru_spec& whole, const gatewise_gru_inputs& in, const gatewise_gru_outputs& out,
          float* outputs, Direction direction)
      : isa_(isa),
        spec_(spec_of(whole, direction)),
        plan(make_plan(spec_, in.mask, weights_exceed(spec_, isa.cache_bytes), false)),
        problem_(make_problem(isa, spec_, in, plan, direction)) {
    const bool apart = gates_see_different_rows(in), given = in.packed && !apart;
    if (!given) pack(isa, spec_, in, apart, packed_.emplace(Packed(spec_, isa.lanes).floats).data());
    set_packed(problem_, isa, given ? in.packed : packed_->data());
    use_large_pages(out.saved, isa.saved_floats(spec_, plan.chunk_steps));
    problem_.outputs = half(outputs, spec_, direction);
    problem_.state = out.state;
    problem_.saved = out.saved;
  }
  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  int64_t scratch_floats(int members) const { return isa_.forward_scratch_floats(problem_, members); }
  void run(int64_t slab, float* scratch, Team& team, int member) const { isa_.forward_slab(problem_, slab, scratch, team, member); }

 private:
  const Kernels& isa_;
  const gatewise_gru_spec spec_;

 public:
  const Plan plan;

 private:
  Problem problem_;
  std::optional<Scratch> packed_;
};

void run_forward(const gatewise_gru_spec& spec, const gatewise_gru_inputs* in, const gatewise_gru_outputs* out, int64_t directions) {
  const Kernels& isa = kernels();
  use_large_pages(out->outputs, spec.batch * (spec.return_sequences ? spec.timesteps : 1) * directions * spec.units);
  std::optional<Forward> ways[2];
  for (int64_t i = 0; i < directions; ++i) ways[i].emplace(isa, spec, in[i], out[i], out->outputs, Direction{i, directions});
  const Plan& plan = ways[0]->plan;
  const int members = team_size(spec, plan, threads_of_each(directions));
  run_teams(directions * plan.slabs(), members, ways[0]->scratch_floats(members), static_cast<double>(directions) * size_of(spec),
            [&](int64_t item, float* scratch, Team& team, int member) {
              ways[item / plan.slabs()]->run(item % plan.slabs(), scratch, team, member);
            });
}

// The way back in one direction. The second adds to the gradient of x that the first has written, unless it has memory of its own for it.
class Backward {
 public:
  Backward(const Kernels& isa, const gatewise_gru_spec& whole, const gatewise_gru_inputs& in, const float* saved, const float* outputs,
           const float* d_outputs, const float* d_state, const gatewise_gru_gradients& out, float* own_x, Direction direction)
      : isa_(isa),
        spec_(spec_of(whole, direction)),
        plan(make_plan(spec_, in.mask, weights_exceed(spec_, isa.cache_bytes), true)),
        problem_(make_problem(isa, spec_, in, plan, direction)),
        kernel_floats_(transposed_floats(spec_.features, spec_.units, isa.lanes)),
        packed_(kernel_floats_ + transposed_floats(spec_.units, spec_.units, isa.lanes)),
        members(groups() == plan.slabs() ? team_size(spec_, plan, threads_of_each(direction.count)) : 1),
        partials_(problem_, isa.lanes, groups(), members > 1 || groups() == 1),
        ended_(static_cast<size_t>(groups())) {
    pack_transposed();
    if (spec_.recompute || spec_.candidates_again) {
      pack(isa, spec_, in, gates_see_different_rows(in), again_.emplace(Packed(spec_, isa.lanes).floats).data());
      set_packed(problem_, isa, again_->data());
    }
    problem_.kernel_back = packed_.data();
    problem_.recurrent_kernel_back = packed_.data() + kernel_floats_;
    problem_.saved_in = saved;
    problem_.outputs_in = half(outputs, spec_, direction);
    problem_.d_outputs = half(d_outputs, spec_, direction);
    problem_.d_state = d_state;
    problem_.d = out;
    if (own_x) problem_.d.x = own_x;
    problem_.adds_to_x = direction.index > 0 && !own_x;
  }
  Backward(const Backward&) = delete;
  Backward& operator=(const Backward&) = delete;

  int64_t groups() const { return static_cast<int64_t>(plan.groups.size()); }
  int64_t scratch_floats() const { return isa_.backward_scratch_floats(problem_, members); }

  void run(int64_t group, float* scratch, Team& team, int member) {
    const Partial partial = partials_.begin(group);
    if (member == 0) memset(partial.recurrent_kernel, 0, static_cast<size_t>(partials_.floats()) * sizeof(float));
    for (const int64_t slab : plan.groups[static_cast<size_t>(group)]) isa_.backward_slab(problem_, slab, scratch, partial, team, member);
    if (member > 0) return;
    ended_[static_cast<size_t>(group)].store(true, std::memory_order_release);
    partials_.end(group);
  }

  // Returns when a group, which a thread has begun, has ended, and its part of d.x is written.
  void await(int64_t group) const {
    while (!spin_yielding(1000, [&] { return ended_[static_cast<size_t>(group)].load(std::memory_order_acquire); })) {
    }
  }

  void finish() { partials_.finish(); }

 private:
  void pack_transposed() {
    const gatewise_gru_inputs& in = problem_.in;
    const int64_t units = spec_.units, lanes = isa_.lanes;
    const int one_run[3] = {3, 3, 3}, recurrent_runs[3] = {run_end(problem_, 0), run_end(problem_, 1), run_end(problem_, 2)};
    const int64_t floats = kernel_floats_ + transposed_floats(units, units, lanes);
    parallel_for(problem_.panels + problem_.feature_panels, threads_for_weights(floats), [&](int64_t i) {
      if (i < problem_.panels) {
        pack_transposed_panel(spec_, in.recurrent_kernel, i, units, lanes, kRecurrentOrder, recurrent_runs,
                              packed_.data() + kernel_floats_);
      } else {
        pack_transposed_panel(spec_, in.kernel, i - problem_.panels, spec_.features, lanes, kForwardOrder, one_run, packed_.data());
      }
    });
  }

  const Kernels& isa_;
  const gatewise_gru_spec spec_;

 public:
  const Plan plan;

 private:
  Problem problem_;
  const int64_t kernel_floats_;
  const Scratch packed_;
  std::optional<Scratch> again_;

 public:
  const int members;

 private:
  Partials partials_;
  std::vector<std::atomic<bool>> ended_;  // (groups,)
};

void run_backward(const gatewise_gru_spec& spec, const gatewise_gru_inputs* in, const float* const* saved, const float* outputs,
                  const float* d_outputs, const float* const* d_state, const gatewise_gru_gradients* out, int64_t directions) {
  const Kernels& isa = kernels();
  const int64_t x_floats = spec.batch * spec.timesteps * spec.features;
  use_large_pages(out->x, x_floats);
  std::optional<Backward> ways[2];
  std::optional<Scratch> second_x;
  for (int64_t i = 0; i < directions; ++i) {
    gatewise_gru_gradients own = out[i];
    own.x = out->x;
    if (i > 0 && out->x && ways[0]->groups() * ways[0]->members * directions <= threads()) second_x.emplace(x_floats);
    ways[i].emplace(isa, spec, in[i], saved[i], outputs, d_outputs, d_state[i], own, second_x ? second_x->data() : nullptr,
                    Direction{i, directions});
  }
  const int64_t groups = ways[0]->groups();
  run_teams(directions * groups, ways[0]->members, ways[0]->scratch_floats(), 2 * static_cast<double>(directions) * size_of(spec),
            [&](int64_t item, float* scratch, Team& team, int member) {
              const int64_t group = item % groups;  // in both directions of the same rows
              if (item >= groups && member == 0 && out->x && !second_x) ways[0]->await(group);
              ways[item / groups]->run(group, scratch, team, member);
            });
  for (int64_t i = 0; i < directions; ++i) ways[i]->finish();
  if (second_x) {
    for (int64_t i = 0; i < x_floats; ++i) out->x[i] += second_x->data()[i];
  }
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
int guarded(std::atomic<int64_t>& calls, int64_t count, Run&& run) {
  const FloatMode mode;
  try {
    run();
  } catch (const std::bad_alloc&) {
    return GATEWISE_OUT_OF_MEMORY;
  } catch (const std::system_error&) {
    return GATEWISE_OUT_OF_MEMORY;
  }
  calls.fetch_add(count);
  return GATEWISE_OK;
}

int forward(const gatewise_gru_spec& spec, const gatewise_gru_inputs* in, const gatewise_gru_outputs* out, int64_t directions) {
  if (!valid(spec)) return GATEWISE_INVALID;
  return guarded(forward_calls, directions, [&] {
    if (spec.batch > 0) run_forward(spec, in, out, directions);
  });
}

int backward(const gatewise_gru_spec& spec, const gatewise_gru_inputs* in, const float* const* saved, const float* outputs,
             const float* d_outputs, const float* const* d_state, const gatewise_gru_gradients* out, int64_t directions) {
  if (!valid(spec)) return GATEWISE_INVALID;
  return guarded(backward_calls, directions, [&] {
    if (spec.batch > 0) return run_backward(spec, in, saved, outputs, d_outputs, d_state, out, directions);
    for (int64_t i = 0; i < directions; ++i) clear_weight_gradients(spec, out[i]);
  });
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
  return gatewise::forward(*spec, in, out, 1);
}

int gatewise_gru_backward(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, const float* saved, const float* outputs,
                          const float* d_outputs, const float* d_state, const gatewise_gru_gradients* out) {
  return gatewise::backward(*spec, in, &saved, outputs, d_outputs, &d_state, out, 1);
}

int gatewise_gru_forward_both(const gatewise_gru_spec* spec, const gatewise_gru_inputs in[2], const gatewise_gru_outputs out[2]) {
  return gatewise::forward(*spec, in, out, 2);
}

int gatewise_gru_backward_both(const gatewise_gru_spec* spec, const gatewise_gru_inputs in[2], const float* const saved[2],
                               const float* outputs, const float* d_outputs, const float* const d_state[2],
                               const gatewise_gru_gradients out[2]) {
  return gatewise::backward(*spec, in, saved, outputs, d_outputs, d_state, out, 2);
}

void gatewise_set_num_threads(int n) { gatewise::set_threads(n); }
int gatewise_num_threads(void) { return gatewise::threads(); }
void gatewise_use_threads(gatewise_threads threads) { gatewise::use_threads(threads); }
const char* gatewise_isa(void) { return gatewise::kernels().name; }
int gatewise_set_isa(const char* name) { return gatewise::set_kernels(name) ? 1 : 0; }
int64_t gatewise_forward_calls(void) { return gatewise::forward_calls.load(); }
int64_t gatewise_backward_calls(void) { return gatewise::backward_calls.load(); }
