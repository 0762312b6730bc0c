// SPDX-License-Identifier: Apache-2.0
#include "program/plan.h"

#include <algorithm>
#include <new>
#include <string>

#include "program/body.h"
#include "program/recurrent.h"

namespace gatewise {
namespace {

constexpr int64_t kLine = 16;  // floats

int64_t floats_of(const Frames& frames, int32_t dtype, int64_t batch) {
  const int64_t numbers = batch * frames.steps * frames.width;
  const int64_t floats = dtype == GATEWISE_INT64 ? 2 * numbers : dtype == GATEWISE_BOOL ? (numbers + 3) / 4 : numbers;
  return (floats + kLine - 1) / kLine * kLine + kLine;  // never none, so that what is there has a place
}

// A stretch of memory, and the last operation that reads it.
struct Stretch {
  int64_t begin, end;
  size_t until;
};

}  // namespace

bool CallPlan::fits(const gatewise_chunk& chunk) const {
  if (batch != chunk.batch || streams != (chunk.states != nullptr)) return false;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] != chunk.inputs[i].steps) return false;
  }
  return true;
}

void CallPlan::make(const Program& program, const gatewise_chunk& chunk) {
  batch = -1;  // if this throws, the plan is none
  streams = chunk.states != nullptr;
  steps.resize(program.inputs.size());
  of_value.assign(program.values.size(), Frames{});
  frames.assign(program.frames.size(), Frames{});
  states.resize(program.states.size());
  work = 0;
  for (size_t v = 0; v < program.values.size(); ++v) {
    const Value& value = program.values[v];
    of_value[v].width = value.width;
    if (!value.constant) continue;
    of_value[v] = {const_cast<float*>(value.constant), value.constant_steps, value.width, true};  // nobody writes it
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    steps[i] = chunk.inputs[i].steps;
    Frames& value = of_value[static_cast<size_t>(program.inputs[i])];
    value.steps = steps[i];
    value.data = this;  // until the caller's is known: it is given
  }
  int64_t scratch_floats = kLine;
  for (const Operation& operation : program.operations) {
    if (streams && operation.whole) operation.fail(std::string("does not stream: ") + operation.whole + ".");
    Frames* const in = frames.data() + operation.first_frames;
    Frames* const out = in + operation.in.size();
    for (size_t i = 0; i < operation.in.size(); ++i) {
      if (operation.in[i] >= 0) in[i] = of_value[static_cast<size_t>(operation.in[i])];
    }
    const int64_t found = operation.row->steps(operation, in, streams);
    if (found > INT32_MAX) operation.fail("makes " + std::to_string(found) + " steps. Expected at most 2147483647.");
    for (size_t i = 0; i < operation.out.size(); ++i) {
      if (operation.out[i] < 0) continue;
      out[i] = of_value[static_cast<size_t>(operation.out[i])];
      if (out[i].same) continue;
      out[i].data = this;
      out[i].steps = i == 0 ? found : 1;
      if (i == 1 && out[i].width == 0) {  // attention's weights
        out[i].width = operation.parameters.heads * in[1].steps;
        out[i].steps = found;
      }
      constexpr double kMostNumbers = int64_t{1} << 48;  // there is no such memory
      if (static_cast<double>(chunk.batch) * static_cast<double>(out[i].steps) * static_cast<double>(out[i].width) > kMostNumbers) {
        throw std::bad_alloc();
      }
      of_value[static_cast<size_t>(operation.out[i])] = out[i];
    }
    const bool recurrent = operation.recurrent.states > 0;
    const int64_t frames_made = chunk.batch * (recurrent ? in[0].steps : out[0].steps);
    work += static_cast<double>(frames_made) * operation.row->cost(operation, in, out);
    const int64_t needed = recurrent ? recurrent_scratch(operation, in, chunk.batch, streams) : operation.row->scratch(operation, in);
    scratch_floats = std::max(scratch_floats, needed);
  }
  batch = chunk.batch;
  lay_out(program, scratch_floats);
}

// Gives every value a place in memory, where it lies as long as an operation reads it; inputs and outputs lie with the caller.
void CallPlan::lay_out(const Program& program, int64_t scratch_floats) {
  std::vector<size_t> until(program.values.size());
  for (size_t n = 0; n < program.operations.size(); ++n) {
    for (const int32_t v : program.operations[n].in) {
      if (v >= 0) until[static_cast<size_t>(v)] = n;
    }
  }
  std::vector<bool> elsewhere(program.values.size());
  for (const int32_t v : program.inputs) elsewhere[static_cast<size_t>(v)] = true;
  for (const int32_t v : program.outputs) elsewhere[static_cast<size_t>(v)] = true;
  const int64_t first = (scratch_floats + kLine - 1) / kLine * kLine;
  int64_t most = first;
  std::vector<Stretch> taken;  // in order of place
  std::vector<int64_t> at(program.values.size(), -1);
  for (size_t n = 0; n < program.operations.size(); ++n) {
    taken.erase(std::remove_if(taken.begin(), taken.end(), [&](const Stretch& s) { return s.until < n; }), taken.end());
    for (const int32_t v : program.operations[n].out) {
      if (v < 0 || elsewhere[static_cast<size_t>(v)] || of_value[static_cast<size_t>(v)].same) continue;
      const int64_t floats = floats_of(of_value[static_cast<size_t>(v)], program.values[static_cast<size_t>(v)].dtype, batch);
      int64_t begin = first;
      auto next = taken.begin();
      for (; next != taken.end() && next->begin < begin + floats; ++next) begin = std::max(begin, next->end);
      taken.insert(next, {begin, begin + floats, std::max(until[static_cast<size_t>(v)], n)});
      at[static_cast<size_t>(v)] = begin;
      most = std::max(most, begin + floats);
    }
  }
  if (!memory || floats < most) {
    memory.reset();
    memory.emplace(most);
    floats = most;
  }
  scratch = memory->data();
  for (size_t v = 0; v < at.size(); ++v) {
    if (at[v] >= 0) of_value[v].data = memory->data() + at[v];
  }
}

}  // namespace gatewise
