// SPDX-License-Identifier: Apache-2.0
// The C interface: no exception passes it.
#include <stdio.h>

#include <new>
#include <system_error>

#include "program.h"
#include "program/body.h"
#include "threads/float_mode.h"

using namespace gatewise;

struct gatewise_program {
  Program program;
};

namespace {

template <class Run>
int guarded(gatewise_problem* problem, Run&& run) {
  const FloatMode mode;
  try {
    run();
    return GATEWISE_OK;
  } catch (const Invalid& invalid) {
    snprintf(problem->text, sizeof problem->text, "%s", invalid.what());
    return GATEWISE_INVALID;
  } catch (const std::bad_alloc&) {
    return GATEWISE_OUT_OF_MEMORY;
  } catch (const std::length_error&) {  // of a container
    return GATEWISE_OUT_OF_MEMORY;
  } catch (const std::system_error&) {
    return GATEWISE_OUT_OF_MEMORY;
  }
}

bool known(const gatewise_chunk& chunk) {
  return chunk.struct_size == sizeof(gatewise_chunk) && chunk.batch >= 0 && chunk.batch <= INT32_MAX;
}

}  // namespace

int gatewise_program_make(const gatewise_operation* operations, int32_t count, const gatewise_value* inputs, int32_t input_count,
                          const int32_t* outputs, int32_t output_count, gatewise_program** program, gatewise_problem* problem) {
  return guarded(problem, [&] { *program = new gatewise_program{{operations, count, inputs, input_count, outputs, output_count}}; });
}

void gatewise_program_free(gatewise_program* program) { delete program; }

int32_t gatewise_program_states(const gatewise_program* program, gatewise_state* states) {
  for (const State& state : program->program.states) {
    if (states) *states++ = {state.operation, state.name, state.width};
  }
  return static_cast<int32_t>(program->program.states.size());
}

int32_t gatewise_program_outputs(const gatewise_program* program, gatewise_value* outputs) {
  for (const int32_t v : program->program.outputs) {
    const Value& value = program->program.values[static_cast<size_t>(v)];
    if (outputs) *outputs++ = {value.number, value.dtype, value.width};
  }
  return static_cast<int32_t>(program->program.outputs.size());
}

int64_t gatewise_program_block(const gatewise_program* program) { return program->program.block; }

int gatewise_program_plan(gatewise_program* program, gatewise_chunk* chunk, gatewise_problem* problem) {
  return guarded(problem, [&] {
    if (!known(*chunk)) throw Invalid("the batch has " + std::to_string(chunk->batch) + " rows. Expected 0 to 2147483647.");
    for (size_t i = 0; i < program->program.inputs.size(); ++i) {
      const gatewise_frames& given = chunk->inputs[i];
      const Value& value = program->program.values[static_cast<size_t>(program->program.inputs[i])];
      if (given.width != value.width || given.steps < 0 || given.steps > INT32_MAX) {
        throw Invalid("input " + std::to_string(i) + " has " + std::to_string(given.steps) + " steps of " + std::to_string(given.width) +
                      " numbers. Expected a width of " + std::to_string(value.width) + ".");
      }
    }
    program->program.plan(*chunk);
  });
}

int gatewise_program_run(gatewise_program* program, gatewise_chunk* chunk, gatewise_problem* problem) {
  return guarded(problem, [&] { program->program.run(*chunk); });
}

void gatewise_program_leave(gatewise_program* program, gatewise_chunk* chunk) {
  gatewise_problem problem;
  if (guarded(&problem, [&] { program->program.give_back(*chunk); }) != GATEWISE_OK) chunk->plan = nullptr;
}
