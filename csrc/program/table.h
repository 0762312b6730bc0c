// SPDX-License-Identifier: Apache-2.0
// The table of operations: for each kind its name, what it takes, how many steps it makes and what that costs.
#pragma once

#include "program/setter.h"

namespace gatewise {

struct Row {
  const char* name;
  Kind kind;  // kCount: no kernel; a recurrent layer, or a constant
  int32_t least_inputs, most_inputs, most_outputs;
  void (*set)(Setter& setter);
  // Steps of the first output, from the frames of the inputs. Throws Invalid.
  int64_t (*steps)(const Operation& operation, const Frames* in, bool streams);
  // Multiply-adds, or what takes as long, of a frame of the first output.
  double (*cost)(const Operation& operation, const Frames* in, const Frames* out);
  // What a thread works in.
  int64_t (*scratch)(const Operation& operation, const Frames* in);
};

// Returns null for a name that is unknown.
const Row* find_row(const char* name);

// The number of a cell by its name; -1 if it is none.
int32_t cell_of(const char* name);

}  // namespace gatewise
