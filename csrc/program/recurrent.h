// SPDX-License-Identifier: Apache-2.0
// A recurrent layer as an operation: the engine's passes over a chunk, from states that stand among others', and back.
#pragma once

#include "program/value.h"

namespace gatewise {

// Floats that a call works in.
int64_t recurrent_scratch(const Operation& operation, const Frames* in, int64_t batch, bool streams);

// `states` are the operation's, or null. Throws std::bad_alloc.
void run_recurrent(const Operation& operation, const float* packed, const Frames* in, const Frames* out, const StateRows* states,
                   int64_t batch, float* scratch);

}  // namespace gatewise
