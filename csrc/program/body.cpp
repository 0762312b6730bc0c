// SPDX-License-Identifier: Apache-2.0
#include "program/body.h"

#include <string.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <numeric>

#include "program/recurrent.h"
#include "threads/cpus.h"
#include "threads/float_mode.h"
#include "threads/pool.h"

namespace gatewise {
namespace {

constexpr size_t kKeptPlans = 64, kSizes = 4;      // plans that are kept, and from how many on one is made anew for other sizes
constexpr int64_t kKeptFloats = int64_t{1} << 20;  // of a plan that is kept
constexpr double kShared = 5e5;                    // multiply-adds of an operation that threads share, and of what each takes at once
constexpr double kItem = 1e5;
constexpr double kLong = 5e7;  // of one that waits its turn

std::string text(int64_t n) { return std::to_string(n); }

void check_ids(const Operation& operation, const Frames& ids, int64_t batch) {
  const int64_t* const id = static_cast<const int64_t*>(ids.data);
  const int64_t count = operation.parameters.inputs, each = ids.steps * ids.width;
  for (int64_t i = 0; i < batch * each; ++i) {
    if (id[i] >= 0 && id[i] < count) continue;
    operation.fail("id " + text(id[i]) + " in row " + text(i / each) + ", step " + text(i % each / ids.width) +
                   " is out of range. Expected 0 to " + text(count - 1) + ".");
  }
}

// Keeps the last frames of a chunk for the next.
void keep_tail(const Parameters& p, const Frames& x, const StateRows* states, int32_t count, int64_t batch) {
  const int64_t reach = p.reach(), kept = std::max<int64_t>(reach - x.steps, 0), fresh = reach - kept;
  const auto bytes = [&](int64_t frames) { return static_cast<size_t>(frames * x.width) * sizeof(float); };
  for (int64_t i = 0; i < batch; ++i) {
    float* const tail = states[0].row(i);
    memmove(tail, tail + (reach - kept) * x.width, bytes(kept));
    memcpy(tail + kept * x.width, x.floats() + ((i + 1) * x.steps - fresh) * x.width, bytes(fresh));
    if (count > 1) {
      float& seen = states[1].row(i)[0];
      seen = std::min(seen + static_cast<float>(std::min(x.steps, reach)), static_cast<float>(reach));
    }
  }
}

// Runs a kernel over all frames, on this thread or, where that is worth it, on several.
void run_kernel(Kernel kernel, const Work& work, int64_t frames, double cost, int64_t scratch_floats, float* scratch) {
  const double all = static_cast<double>(frames) * cost;
  if (all < kShared || threads() == 1) return kernel(work, 0, frames, scratch);
  const auto item = std::max<int64_t>(static_cast<int64_t>(kItem / cost) / 8 * 8, 8), items = (frames + item - 1) / item;
  std::atomic<bool> failed{false};
  parallel(items, threads(), all < kLong ? 0 : all, [&](Items& left) {
    int64_t i;
    if (!left.next(&i)) return;
    try {
      const Scratch own(scratch_floats);
      do kernel(work, i * item, std::min((i + 1) * item, frames), own.data());
      while (left.next(&i));
    } catch (const std::bad_alloc&) {
      failed.store(true);
      while (left.next(&i)) {
      }
    }
  });
  if (failed.load()) throw std::bad_alloc();
}

}  // namespace

Program::Program(const gatewise_operation* given, int32_t count, const gatewise_value* given_inputs, int32_t input_count,
                 const int32_t* given_outputs, int32_t output_count) {
  for (int32_t i = 0; i < input_count; ++i) {
    const gatewise_value& value = given_inputs[i];
    if (value.number < 0 || index_of(value.number) >= 0)
      throw Invalid("input " + text(i) + " is value " + text(value.number) + ". Expected a number of its own, 0 or more.");
    if (value.width < 1 || value.width > INT32_MAX || value.dtype < GATEWISE_FLOAT32 || value.dtype > GATEWISE_BOOL) {
      throw Invalid("input " + text(i) + " has the width " + text(value.width) + ". Expected 1 or more.");
    }
    inputs.push_back(static_cast<int32_t>(values.size()));
    values.push_back({value.number, value.dtype, value.width, nullptr, 0, {1, 1}});
  }
  for (int32_t i = 0; i < count; ++i) add(given[i], i);
  for (int32_t i = 0; i < output_count; ++i) {
    const int32_t v = index_of(given_outputs[i]);
    if (v < 0 || values[static_cast<size_t>(v)].constant) {
      throw Invalid("output " + text(i) + " is value " + text(given_outputs[i]) +
                    ". Expected one that an operation computes, or an input.");
    }
    outputs.push_back(v);
  }
  std::stable_partition(operations.begin(), operations.end(), [&](const Operation& operation) {
    return !operation.in.empty() && operation.in[0] >= 0 && values[static_cast<size_t>(operation.in[0])].dtype == GATEWISE_INT64;
  });
  for (Operation& operation : operations) {
    operation.first_frames = static_cast<int32_t>(frames.size());
    frames.insert(frames.end(), operation.in.begin(), operation.in.end());
    frames.insert(frames.end(), operation.out.begin(), operation.out.end());
  }
  find_block();
  packed_ = std::make_shared<Packed>(kernels(), operations);
}

int32_t Program::index_of(int32_t number) const {
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].number == number) return static_cast<int32_t>(i);
  }
  return -1;
}

void Program::add(const gatewise_operation& given, int32_t place) {
  Operation operation{};
  operation.row = find_row(given.kind);
  if (!operation.row) throw Invalid("operation " + text(place) + " is '" + given.kind + "', which there is none of.");
  const Row& row = *operation.row;
  operation.kind = row.kind;
  operation.place = place;
  if (given.input_count > row.most_inputs || given.output_count < 1 || given.output_count > row.most_outputs) {
    operation.fail("has " + text(given.input_count) + " inputs and " + text(given.output_count) + " outputs. Expected at most " +
                   text(row.most_inputs) + ", and 1 to " + text(row.most_outputs) + ".");
  }
  for (int32_t i = 0; i < given.input_count; ++i) {
    const int32_t number = given.inputs[i], v = number < 0 ? -1 : index_of(number);
    if ((number >= 0 && v < 0) || (v < 0 && i < row.least_inputs))
      operation.fail("input " + text(i) + " is value " + text(number) + ", which nothing before it makes.");
    operation.in.push_back(v);
  }
  if (given.input_count < row.least_inputs) operation.fail("input " + text(given.input_count) + " is missing.");
  while (!operation.in.empty() && operation.in.back() < 0) operation.in.pop_back();
  for (int32_t i = 0; i < given.output_count; ++i) {
    const int32_t number = given.outputs[i];
    if (number >= 0 && index_of(number) >= 0)
      operation.fail("output " + text(i) + " is value " + text(number) + ", which there is already.");
    operation.out.push_back(number < 0 ? -1 : static_cast<int32_t>(values.size()));
    if (number >= 0) values.push_back({number, GATEWISE_FLOAT32, 0, nullptr, 0, {}});
  }
  Setter setter(operation, given, values, states);
  row.set(setter);
  setter.finish();
  if (row.kind == Kind::kCount && operation.recurrent.states == 0) return;  // a constant
  operations.push_back(operation);
}

void Program::find_block() {
  for (Value& value : values) {
    if (value.pace.steps < 1) continue;
    const int64_t shared = std::gcd(value.pace.steps, value.pace.of), of = value.pace.of / shared;
    block = std::min<int64_t>(std::lcm(block, of), INT32_MAX);
  }
}

void Program::plan(gatewise_chunk& chunk) {
  std::unique_ptr<CallPlan> plan;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (&packed_->isa != &kernels()) packed_ = std::make_shared<Packed>(kernels(), operations);
    auto at = std::find_if(free_.rbegin(), free_.rend(), [&](const auto& each) { return each->fits(chunk); });
    if (at == free_.rend() && free_.size() >= kSizes) at = std::prev(free_.rend());  // the oldest
    if (at != free_.rend()) {
      plan = std::move(*at);
      std::swap(*at, free_.back());
      free_.pop_back();
    }
    if (!plan) plan = std::make_unique<CallPlan>();
    if (plan->packed != packed_) plan->packed = packed_;
  }
  if (!plan->fits(chunk)) plan->make(*this, chunk);
  chunk.work = plan->work;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Frames& frames_of = plan->of_value[static_cast<size_t>(outputs[i])];
    chunk.outputs[i] = {nullptr, frames_of.steps, frames_of.width};
  }
  chunk.plan = plan.release();
}

void Program::give_back(gatewise_chunk& chunk) {
  std::unique_ptr<CallPlan> plan(static_cast<CallPlan*>(chunk.plan));
  chunk.plan = nullptr;
  if (plan->floats > kKeptFloats) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.capacity() == 0) free_.reserve(kKeptPlans);
  if (free_.size() < kKeptPlans) free_.push_back(std::move(plan));
}

void Program::take_states(const gatewise_chunk& chunk, CallPlan& plan) const {
  for (size_t k = 0; k < states.size(); ++k) {
    if (chunk.state_strides[k] < states[k].width) {
      throw Invalid("state " + text(static_cast<int64_t>(k)) + " has rows of " + text(chunk.state_strides[k]) + " numbers. Expected " +
                    text(states[k].width) + " at least.");
    }
    plan.states[k] = {chunk.states[k], chunk.state_strides[k], chunk.rows};
  }
}

void Program::run(gatewise_chunk& chunk) {
  CallPlan& plan = *static_cast<CallPlan*>(chunk.plan);
  if (plan.streams) take_states(chunk, plan);
  const auto value = [&](int32_t v) -> Frames& { return plan.of_value[static_cast<size_t>(v)]; };
  for (size_t i = outputs.size(); i-- > 0;) value(outputs[i]).data = chunk.outputs[i].data;
  for (size_t i = 0; i < inputs.size(); ++i) value(inputs[i]).data = chunk.inputs[i].data;
  for (size_t i = 0; i < frames.size(); ++i) {
    if (frames[i] >= 0) plan.frames[i].data = value(frames[i]).data;
  }
  for (size_t n = 0; n < operations.size(); ++n) run_operation(operations[n], n, plan);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Frames& from = value(outputs[i]);
    if (from.data == chunk.outputs[i].data) continue;
    const int32_t dtype = values[static_cast<size_t>(outputs[i])].dtype;
    const size_t size = dtype == GATEWISE_INT64 ? 8 : dtype == GATEWISE_BOOL ? 1 : 4;
    memcpy(chunk.outputs[i].data, from.data, static_cast<size_t>(plan.batch * from.steps * from.width) * size);
  }
}

void Program::run_operation(const Operation& operation, size_t index, CallPlan& plan) const {
  const Frames *const in = plan.frames.data() + operation.first_frames, *const out = in + operation.in.size();
  const StateRows* const states_of = plan.streams ? plan.states.data() + operation.first_state : nullptr;
  const float* const packed = plan.packed->of(index);
  if (plan.batch == 0) return;
  if (operation.recurrent.states > 0) return run_recurrent(operation, packed, in, out, states_of, plan.batch, plan.scratch);
  if (operation.kind == Kind::kEmbedding) check_ids(operation, in[0], plan.batch);
  const Work work{&operation.parameters,
                  packed,
                  in,
                  static_cast<int32_t>(operation.in.size()),
                  out,
                  static_cast<int32_t>(operation.out.size()),
                  operation.states > 0 ? states_of : nullptr,
                  plan.batch};
  run_kernel(plan.packed->isa.program->of[static_cast<size_t>(operation.kind)], work, plan.batch * out[0].steps,
             operation.row->cost(operation, in, out), operation.row->scratch(operation, in), plan.scratch);
  if (states_of && operation.states > 0) keep_tail(operation.parameters, in[0], states_of, operation.states, plan.batch);
}

}  // namespace gatewise
