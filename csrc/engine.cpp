// SPDX-License-Identifier: Apache-2.0
// The C interface: checks sizes and hands the slabs of a layer, in one direction or both, to the pool.
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
#include "pages.h"
#include "plan.h"
#include "pool.h"
#include "scratch.h"
#include "team.h"
#include "way.h"

namespace gatewise {
namespace {

std::atomic<int64_t> forward_calls{0}, backward_calls{0};

bool valid(const gatewise_gru_spec& spec) {
  const auto known = [](int32_t kind) { return kind >= GATEWISE_TANH && kind <= GATEWISE_HARD_SIGMOID; };
  return spec.batch >= 0 && spec.batch <= INT32_MAX && spec.timesteps >= 0 && spec.timesteps <= INT32_MAX && spec.features >= 1 &&
         spec.units >= 1 && known(spec.activation) && known(spec.recurrent_activation);
}

// Directions of few rows run side by side, and their threads need not meet as those of a team do.
int threads_of_each(int64_t directions) { return std::max(threads() / static_cast<int>(directions), 1); }

// How much work a pass over a layer is, in multiply-adds; 0 if it is over before a thread that waited for its turn had woken.
double size_of(const gatewise_gru_spec& spec) {
  constexpr double kMillisecond = 5e7;
  const double size = 3.0 * static_cast<double>(spec.units) * static_cast<double>(spec.units + spec.features) *
                      static_cast<double>(spec.batch) * static_cast<double>(spec.timesteps);
  return size < kMillisecond ? 0 : size;
}

// Runs body(item, workplace, member) on the pool for every item and each of its members; items begin in order. Throws std::bad_alloc;
// `failed` says at once if an item has.
template <class Body>
void run_teams(int64_t items, int members, int64_t scratch_floats, double size, std::atomic<bool>& failed, Body&& body) {
  if (members == 1) {
    parallel(items, threads(), size, [&](Items& left) {
      int64_t item;
      if (!left.next(&item)) return;
      try {
        Workplace place(scratch_floats, 1);
        do body(item, place, 0);
        while (left.next(&item));
      } catch (const std::bad_alloc&) {
        failed.store(true);
        while (left.next(&item)) {
        }
      }
    });
    if (failed.load()) throw std::bad_alloc();
    return;
  }
  std::vector<std::unique_ptr<Workplace>> places;
  for (int64_t item = 0; item < items; ++item) places.push_back(std::make_unique<Workplace>(scratch_floats, members));
  parallel_for(items * members, threads(),
               [&](int64_t i) { body(i / members, *places[static_cast<size_t>(i / members)], static_cast<int>(i % members)); });
}

void run_forward(const gatewise_gru_spec& spec, const gatewise_gru_inputs* in, const gatewise_gru_outputs* out, int64_t directions) {
  const Kernels& isa = kernels();
  use_large_pages(out->outputs, spec.batch * (spec.return_sequences ? spec.timesteps : 1) * directions * spec.units);
  std::optional<WayForward> ways[2];
  for (int64_t i = 0; i < directions; ++i) {
    ways[i].emplace(isa, spec, Direction{i, directions}, threads_of_each(directions), in[i], out[i], out->outputs);
  }
  const Plan& plan = ways[0]->plan;
  std::atomic<bool> failed{false};
  run_teams(directions * plan.slabs(), ways[0]->members, ways[0]->scratch_floats(), static_cast<double>(directions) * size_of(spec), failed,
            [&](int64_t item, Workplace& place, int member) { ways[item / plan.slabs()]->run(item % plan.slabs(), place, member); });
}

void run_backward(const gatewise_gru_spec& spec, const gatewise_gru_inputs* in, const float* const* saved, const float* d_outputs,
                  const float* const* d_state, const gatewise_gru_gradients* out, int64_t directions) {
  const Kernels& isa = kernels();
  const int64_t x_floats = spec.batch * spec.timesteps * spec.features;
  use_large_pages(out->x, x_floats);
  std::optional<WayBack> ways[2];
  std::optional<Scratch> second_x;  // where both directions run at the same time
  for (int64_t i = 0; i < directions; ++i) {
    gatewise_gru_gradients own = out[i];
    own.x = out->x;
    if (i > 0 && out->x && ways[0]->groups * ways[0]->members * directions <= threads()) second_x.emplace(x_floats);
    ways[i].emplace(isa, spec, Direction{i, directions}, threads_of_each(directions), in[i], saved[i], d_outputs, d_state[i], own,
                    second_x ? second_x->data() : nullptr);
  }
  const int64_t groups = ways[0]->groups;
  std::atomic<bool> failed{false};
  run_teams(directions * groups, ways[0]->members, ways[0]->scratch_floats(), 2 * static_cast<double>(directions) * size_of(spec), failed,
            [&](int64_t item, Workplace& place, int member) {
              const int64_t group = item % groups;  // in both directions of the same rows
              if (item >= groups && member == 0 && out->x && !second_x) ways[0]->await(group, failed);
              ways[item / groups]->run(group, place, member);
            });
  for (int64_t i = 0; i < directions; ++i) ways[i]->partials.finish();
  for (int64_t i = 0; second_x && i < x_floats; ++i) out->x[i] += second_x->data()[i];
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

int backward(const gatewise_gru_spec& spec, const gatewise_gru_inputs* in, const float* const* saved, const float* d_outputs,
             const float* const* d_state, const gatewise_gru_gradients* out, int64_t directions) {
  if (!valid(spec)) return GATEWISE_INVALID;
  return guarded(backward_calls, directions, [&] {
    if (spec.batch > 0) return run_backward(spec, in, saved, d_outputs, d_state, out, directions);
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

int64_t gatewise_gru_packed_floats(const gatewise_gru_spec* spec) { return gatewise::packed_floats(*spec, gatewise::kernels().lanes); }

int gatewise_gru_pack(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, float* packed) {
  if (!gatewise::valid(*spec)) return GATEWISE_INVALID;
  try {
    gatewise::pack_weights(gatewise::kernels(), *spec, *in, false, packed);
  } catch (const std::system_error&) {
    return GATEWISE_OUT_OF_MEMORY;
  }
  return GATEWISE_OK;
}

int gatewise_gru_forward(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, const gatewise_gru_outputs* out) {
  return gatewise::forward(*spec, in, out, 1);
}

int gatewise_gru_backward(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, const float* saved, const float* d_outputs,
                          const float* d_state, const gatewise_gru_gradients* out) {
  return gatewise::backward(*spec, in, &saved, d_outputs, &d_state, out, 1);
}

int gatewise_gru_forward_both(const gatewise_gru_spec* spec, const gatewise_gru_inputs in[2], const gatewise_gru_outputs out[2]) {
  return gatewise::forward(*spec, in, out, 2);
}

int gatewise_gru_backward_both(const gatewise_gru_spec* spec, const gatewise_gru_inputs in[2], const float* const saved[2],
                               const float* d_outputs, const float* const d_state[2], const gatewise_gru_gradients out[2]) {
  return gatewise::backward(*spec, in, saved, d_outputs, d_state, out, 2);
}

void gatewise_set_num_threads(int n) {
  gatewise::set_threads(n);
  gatewise::release_workers();
}
int gatewise_num_threads(void) { return gatewise::threads(); }
void gatewise_use_threads(gatewise_threads threads) { gatewise::use_threads(threads); }
const char* gatewise_isa(void) { return gatewise::kernels().name; }
int gatewise_set_isa(const char* name) { return gatewise::set_kernels(name) ? 1 : 0; }
int64_t gatewise_forward_calls(void) { return gatewise::forward_calls.load(); }
int64_t gatewise_backward_calls(void) { return gatewise::backward_calls.load(); }
