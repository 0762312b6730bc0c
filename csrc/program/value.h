// SPDX-License-Identifier: Apache-2.0
// Operations and values as a program keeps them between calls.
#pragma once

#include <stdint.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "engine.h"
#include "program.h"
#include "program/operation.h"

namespace gatewise {

// What is wrong with a program or with what it is given; becomes GATEWISE_INVALID with these words.
struct Invalid : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// How many steps a value has for each of the chunk's: steps / of; 0 of a value that does not advance with it.
struct Pace {
  int64_t steps = 1, of = 1;
};

struct Value {
  int32_t number;
  int32_t dtype;          // enum gatewise_dtype
  int64_t width;          // 0: known when it runs
  const float* constant;  // or null
  int64_t constant_steps;
  Pace pace;
};

// A recurrent layer: its weights are packed once, and the engine does the rest.
struct Recurrent {
  gatewise_layer layer;
  gatewise_inputs weights;
  float epsilon;       // of a cell that normalises
  int32_t states;      // of the cell
  int32_t keeps_seen;  // whether a state says that a valid step has come: from then on a masked step repeats an output
};

struct Row;

struct Operation {
  const Row* row;
  Kind kind;
  int32_t place;                 // in the caller's list
  std::vector<int32_t> in, out;  // indices of values; -1: not given, not wanted
  Parameters parameters;
  Recurrent recurrent;
  int32_t first_state, states;
  int32_t first_frames;  // in a plan's list
  const char* whole;     // why it takes whole sequences alone; or null: it streams
  ProductLayout layout;  // of packed weights, if it has a product's; lanes apart

  std::string where() const;
  [[noreturn]] void fail(const std::string& problem) const { throw Invalid(where() + ": " + problem); }
};

struct State {
  int32_t operation;
  const char* name;
  int64_t width;
};

}  // namespace gatewise
