// SPDX-License-Identifier: Apache-2.0
// The C interface of programs, version 1: operations in order over numbered values, run over a chunk of steps in one call.
//
// A value is a frame array (B, T, width), C-contiguous: B rows of the batch, T steps, each of `width` float32, int64 (ids) or bytes that
// are 0 or 1 (masks). T is the value's own: that of what it is made from, or 1 after `last`, or that of a context. What each kind of
// operation takes, by name, stands in docs/program.md.
//
// The caller owns every array. A program reads constants where they lie: they must outlive it and never change. Calls may run concurrently,
// on one program too, as long as no two write the same state. No function throws, prints or aborts.
#pragma once

#include "engine.h"

#ifdef __cplusplus
extern "C" {
#endif

enum gatewise_dtype { GATEWISE_FLOAT32 = 0, GATEWISE_INT64 = 1, GATEWISE_BOOL = 2 };

// What is wrong, in words, where a function returns GATEWISE_INVALID: ends with a zero.
typedef struct gatewise_problem {
  char text[512];
} gatewise_problem;

typedef struct gatewise_option {
  const char* name;
  const char* text;  // or null: it is a number
  double number;     // of a flag 0 or 1
} gatewise_option;

typedef struct gatewise_constant {
  const char* name;
  int32_t dtype;  // enum gatewise_dtype
  int32_t rank;
  const int64_t* sizes;  // (rank,)
  const void* data;      // C-contiguous
} gatewise_constant;

typedef struct gatewise_operation {
  const char* kind;
  int32_t input_count, output_count, option_count, constant_count;
  const int32_t* inputs;   // numbers of values; -1: an optional one that is not given
  const int32_t* outputs;  // numbers that no value has yet
  const gatewise_option* options;
  const gatewise_constant* constants;
} gatewise_operation;

typedef struct gatewise_value {
  int32_t number;
  int32_t dtype;  // enum gatewise_dtype
  int64_t width;  // of an output, 0: as many as heads, times the steps of another value
} gatewise_value;

typedef struct gatewise_state {
  int32_t operation;  // its place in the list
  const char* name;   // the program's
  int64_t width;
} gatewise_state;

typedef struct gatewise_program gatewise_program;

// Makes a program. Returns a gatewise_status; what is INVALID is said in `problem`.
GATEWISE_API int gatewise_program_make(const gatewise_operation* operations, int32_t count, const gatewise_value* inputs,
                                       int32_t input_count, const int32_t* outputs, int32_t output_count, gatewise_program** program,
                                       gatewise_problem* problem);
GATEWISE_API void gatewise_program_free(gatewise_program* program);

// The states, in the order of the operations that have them; returns their number. `states` may be null.
GATEWISE_API int32_t gatewise_program_states(const gatewise_program* program, gatewise_state* states);

// The outputs; returns their number.
GATEWISE_API int32_t gatewise_program_outputs(const gatewise_program* program, gatewise_value* outputs);

// How many steps a stream takes at once, or a multiple: the product of the strides along time.
GATEWISE_API int64_t gatewise_program_block(const gatewise_program* program);

typedef struct gatewise_frames {
  void* data;
  int64_t steps;  // T
  int64_t width;
} gatewise_frames;

// A chunk of the batch. A state is an array of rows of float32, `state_strides` apart, at least its width; what lies beyond the width is
// neither read nor written. Where a stream begins, all states are zeros, unless it begins with initial states of a cell.
typedef struct gatewise_chunk {
  int64_t struct_size;            // sizeof(gatewise_chunk)
  int64_t batch;                  // B
  const gatewise_frames* inputs;  // as many as the program has, of B rows each
  gatewise_frames* outputs;       // likewise; gatewise_program_plan sets steps and width, the caller then data
  float* const* states;           // or null: from zeros, and forgotten: a whole sequence
  const int64_t* state_strides;   // likewise
  const int64_t* rows;            // (B,) the place of each row in the states, all different; or null: 0, 1, 2 ...
  double work;                    // set by gatewise_program_plan: about so many multiply-adds
  void* plan;                     // the program's, between the two calls
} gatewise_chunk;

// Finds how large the outputs are. After GATEWISE_OK gatewise_program_leave has to follow with the same chunk, when it has been run, or
// without that. Returns a gatewise_status.
GATEWISE_API int gatewise_program_plan(gatewise_program* program, gatewise_chunk* chunk, gatewise_problem* problem);

// Runs the program over the chunk: writes the outputs and, where there are states, replaces those of these rows. Whatever it returns but
// GATEWISE_OUT_OF_MEMORY, the states have all advanced or none has. Returns a gatewise_status.
GATEWISE_API int gatewise_program_run(gatewise_program* program, gatewise_chunk* chunk, gatewise_problem* problem);
GATEWISE_API void gatewise_program_leave(gatewise_program* program, gatewise_chunk* chunk);

#ifdef __cplusplus
}
#endif
