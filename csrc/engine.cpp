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

#include "dispatch.h"
#include "passes/pass.h"
#include "passes/plan.h"
#include "threads/cpus.h"
#include "threads/float_mode.h"
#include "threads/pages.h"
#include "threads/pool.h"
#include "threads/scratch.h"
#include "threads/team.h"

namespace gatewise {
namespace {

std::atomic<int64_t> forward_calls{0}, backward_calls{0};

bool known_cell(int32_t cell) { return cell >= 0 && cell < kernels().cell_count; }

bool valid(const gatewise_layer& layer) {
  if (layer.struct_size != sizeof(gatewise_layer)) return false;
  const auto known = [](int32_t kind) { return kind >= GATEWISE_TANH && kind <= GATEWISE_HARD_SIGMOID; };
  const auto count = [](int64_t n) { return n >= 0 && n <= INT32_MAX; };
  const auto part = [](int32_t bits) { return float_of(bits) >= 0 && float_of(bits) <= 1; };
  return known_cell(layer.cell) && layer.format == GATEWISE_F32 && layer.directions >= 1 && layer.directions <= GATEWISE_MAX_DIRECTIONS &&
         known(layer.activation) && known(layer.recurrent_activation) && count(layer.batch) && count(layer.timesteps) &&
         layer.features >= 1 && layer.units >= 1 && part(layer.zoneout_h) && part(layer.zoneout_c);
}

// Directions of few rows run side by side, and their threads need not meet as those of a team do.
int threads_of_each(int64_t directions) { return std::max(threads() / static_cast<int>(directions), 1); }

// How much work a pass over a layer is, in multiply-adds; 0 if it is over before a thread that waited for its turn had woken.
double size_of(const gatewise_layer& layer) {
  constexpr double kMillisecond = 5e7;
  const double size = static_cast<double>(weights_of(*kernels().of(layer).cell, layer)) * static_cast<double>(layer.batch) *
                      static_cast<double>(layer.timesteps);
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

void run_forward(const gatewise_layer& layer, const gatewise_inputs* in, const gatewise_outputs* out) {
  const Kernels& isa = kernels();
  const int64_t directions = layer.directions;
  use_large_pages(out->outputs, layer.batch * (layer.return_sequences ? layer.timesteps : 1) * directions * layer.units);
  std::optional<ForwardPass> passes[GATEWISE_MAX_DIRECTIONS];
  for (int64_t i = 0; i < directions; ++i) {
    passes[i].emplace(isa, layer, Direction{i, directions}, threads_of_each(directions), in[i], out[i], out->outputs);
  }
  const int64_t slabs = passes[0]->plan.slabs();
  std::atomic<bool> failed{false};
  run_teams(directions * slabs, passes[0]->members, passes[0]->scratch_floats(), static_cast<double>(directions) * size_of(layer), failed,
            [&](int64_t item, Workplace& place, int member) { passes[item / slabs]->run(item % slabs, place, member); });
}

void run_backward(const gatewise_layer& layer, const gatewise_inputs* in, const gatewise_output_gradients* of,
                  const gatewise_gradients* out) {
  const Kernels& isa = kernels();
  const int64_t directions = layer.directions, x_floats = layer.batch * layer.timesteps * layer.features;
  use_large_pages(out->x, x_floats);
  std::optional<BackwardPass> passes[GATEWISE_MAX_DIRECTIONS];
  std::optional<Scratch> second_x;  // where both directions run at the same time
  for (int64_t i = 0; i < directions; ++i) {
    if (i > 0 && out->x && passes[0]->groups * passes[0]->members * directions <= threads()) second_x.emplace(x_floats);
    passes[i].emplace(isa, layer, Direction{i, directions}, threads_of_each(directions), in[i], of[i], of->outputs, out[i],
                      second_x ? second_x->data() : out->x, i > 0 && !second_x);
  }
  const int64_t groups = passes[0]->groups;
  std::atomic<bool> failed{false};
  run_teams(directions * groups, passes[0]->members, passes[0]->scratch_floats(), 2 * static_cast<double>(directions) * size_of(layer),
            failed, [&](int64_t item, Workplace& place, int member) {
              const int64_t group = item % groups;  // in both directions of the same rows
              if (item >= groups && member == 0 && out->x && !second_x) passes[0]->await(group, failed);
              passes[item / groups]->run(group, place, member);
            });
  for (int64_t i = 0; i < directions; ++i) passes[i]->partials.finish();
  for (int64_t i = 0; second_x && i < x_floats; ++i) out->x[i] += second_x->data()[i];
}

gatewise_layer one_step_of(gatewise_layer layer) {
  layer.timesteps = layer.return_sequences = 1;
  layer.go_backwards = layer.zero_output_for_mask = layer.recompute = 0;
  return layer;
}

// In how many shares one row takes a step: where weights are read from beyond a CPU's own caches, two CPUs bring them in less time.
int64_t step_shares(const gatewise_layer& layer, const CellInfo& cell, int64_t panels) {
  constexpr int64_t kMinWeights = int64_t{1} << 20, kPerThread = 2;  // two LSTM(640), two threads: half of one thread's time
  if (layer.batch != 1 || cell.rounds > 1 || cell.normals > 0 || weights_of(cell, layer) < kMinWeights || threads() == 1) return 1;
  return std::min(panels, kPerThread * threads());
}

// A step of one row in shares of the panels: whoever comes takes the next, and nobody waits for another's. What the shares read of the
// states is a copy, since the first to end writes its own.
void run_shares(ForwardPass& pass, int64_t shares, std::atomic<bool>& failed) {
  Problem& problem = pass.problem;
  const int64_t units = pass.layer.units, row = problem.state_row ? problem.state_row[0] * problem.state_stride : 0;
  Scratch before(GATEWISE_MAX_STATES * units);
  for (int k = 0; k < pass.cell.cell->states; ++k) {
    problem.state[k] += row;
    std::copy_n(problem.state[k], units, before.data() + k * units);
    problem.initial_state[k] = before.data() + k * units;
  }
  problem.state_row = nullptr;
  run_teams(shares, 1, pass.scratch_floats(), 0, failed, [&](int64_t share, Workplace& place, int member) {
    place.team.take_share(share, shares);
    pass.run(0, place, member);
  });
}

void run_step(const gatewise_layer& layer, const float* packed, const gatewise_streams& streams) {
  gatewise_inputs in{};
  gatewise_outputs out{};
  in.x = streams.x;
  in.packed = packed;
  for (int k = 0; k < GATEWISE_MAX_STATES; ++k) in.initial_state[k] = out.state[k] = streams.state[k];
  ForwardPass pass(kernels(), layer, Direction{0, 1}, threads(), in, out, streams.outputs);
  pass.problem.state_row = streams.row;
  pass.problem.state_stride = streams.state_stride;
  pass.problem.x_stride = streams.x_stride;
  std::atomic<bool> failed{false};
  const int64_t shares = step_shares(layer, *pass.cell.cell, pass.problem.panels);
  if (shares > 1) return run_shares(pass, shares, failed);
  run_teams(pass.plan.slabs(), pass.members, pass.scratch_floats(), size_of(layer), failed,
            [&](int64_t item, Workplace& place, int member) { pass.run(item, place, member); });
}

void clear_weight_gradients(const gatewise_layer& layer, const gatewise_gradients& out) {
  const CellInfo& cell = *kernels().of(layer).cell;
  const auto row = static_cast<size_t>(cell.gates * layer.units) * sizeof(float);
  memset(out.kernel, 0, static_cast<size_t>(layer.features) * row);
  memset(out.recurrent_kernel, 0, static_cast<size_t>(layer.units) * row);
  if (out.bias) memset(out.bias, 0, (cell.recurrent_bias && !layer.torch_layout ? 2 : 1) * row);
  if (out.recurrent_bias) memset(out.recurrent_bias, 0, row);
  for (float* const of_gates : {out.gain, out.recurrent_gain}) {
    if (of_gates) memset(of_gates, 0, row);
  }
  for (float* const of_units : {out.state_gain, out.state_bias}) {
    if (of_units) memset(of_units, 0, static_cast<size_t>(layer.units) * sizeof(float));
  }
}

// Nothing may leave the C interface as an exception: what the pool and the plan can throw is a lack of memory.
template <class Run>
int guarded(Run&& run) {
  const FloatMode mode;
  try {
    run();
  } catch (const std::bad_alloc&) {
    return GATEWISE_OUT_OF_MEMORY;
  } catch (const std::system_error&) {
    return GATEWISE_OUT_OF_MEMORY;
  }
  return GATEWISE_OK;
}

}  // namespace
}  // namespace gatewise

using namespace gatewise;

int gatewise_facts_of(int32_t cell, gatewise_cell_facts* facts) {
  if (!known_cell(cell)) return GATEWISE_INVALID;
  const CellInfo& info = *kernels().cells[cell].cell;
  *facts = {info.gates,          info.states,
            info.recurrent_bias, info.workspace + info.states + (info.normals > 0),
            info.normals > 0,    info.normalises_state()};
  return GATEWISE_OK;
}

int64_t gatewise_workspace_floats(const gatewise_layer* layer) {
  if (!valid(*layer)) return 0;
  const Kernels& isa = kernels();
  return isa.of(*layer).workspace_floats(*layer, block_steps(*layer, isa.exceeded_by(*layer)));
}

int64_t gatewise_packed_floats(const gatewise_layer* layer) {
  if (!valid(*layer)) return 0;
  const Kernels& isa = kernels();
  return PackedWeights(*isa.of(*layer).cell, *layer, isa.lanes).floats;
}

int gatewise_pack(const gatewise_layer* layer, const gatewise_inputs* in, float* packed) {
  if (!valid(*layer)) return GATEWISE_INVALID;
  use_large_pages(packed, gatewise_packed_floats(layer));  // a step reads them all: two LSTM(640) take 0.9 of the time
  return guarded([&] { pack_weights(*kernels().of(*layer).cell, *layer, *in, kernels().lanes, false, packed); });
}

int gatewise_forward(const gatewise_layer* layer, const gatewise_inputs* in, const gatewise_outputs* out) {
  if (!valid(*layer)) return GATEWISE_INVALID;
  const int status = guarded([&] {
    if (layer->batch > 0) run_forward(*layer, in, out);
  });
  if (status == GATEWISE_OK) forward_calls.fetch_add(layer->directions);
  return status;
}

int gatewise_backward(const gatewise_layer* layer, const gatewise_inputs* in, const gatewise_output_gradients* of,
                      const gatewise_gradients* out) {
  if (!valid(*layer)) return GATEWISE_INVALID;
  const int status = guarded([&] {
    if (layer->batch > 0) return run_backward(*layer, in, of, out);
    for (int i = 0; i < layer->directions; ++i) clear_weight_gradients(*layer, out[i]);
  });
  if (status == GATEWISE_OK) backward_calls.fetch_add(layer->directions);
  return status;
}

int gatewise_step(const gatewise_layer* layer, const float* packed, const gatewise_streams* streams) {
  if (layer->struct_size != sizeof *layer) return GATEWISE_INVALID;
  const gatewise_layer one = one_step_of(*layer);
  if (!valid(one) || one.directions != 1 || streams->state_stride < one.units) return GATEWISE_INVALID;
  const int status = guarded([&] {
    if (one.batch > 0) run_step(one, packed, *streams);
  });
  if (status == GATEWISE_OK) forward_calls.fetch_add(1);
  return status;
}

void gatewise_set_num_threads(int n) {
  set_threads(n);
  release_workers();
}
int gatewise_num_threads(void) { return threads(); }
void gatewise_use_threads(gatewise_threads threads) { use_threads(threads); }
const char* gatewise_isa(void) { return kernels().name; }
int gatewise_set_isa(const char* name) { return set_kernels(name) ? 1 : 0; }
int64_t gatewise_forward_calls(void) { return forward_calls.load(); }
int64_t gatewise_backward_calls(void) { return backward_calls.load(); }
