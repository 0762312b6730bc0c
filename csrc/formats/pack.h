// SPDX-License-Identifier: Apache-2.0
// Float32 weights from the caller's layout into panels, for any vector width; and weight gradients back. The layouts of panels stand in
// format.h and problem.h, those of the caller in engine.h: "kernel" is either of the two, with F or U rows.
#pragma once

#include <stdint.h>

#include "cells/cell.h"
#include "engine.h"
#include "formats/panels.h"

namespace gatewise {

// How many threads bring so many floats of weights from one layout to another: one alone, unless they are many.
int threads_for_weights(int64_t floats);

// Where the weights of the forward pass stand in one array, in floats from its beginning.
struct PackedWeights {
  int64_t recurrent, bias, parameters, floats;

  PackedWeights(const CellInfo& cell, const gatewise_layer& layer, int64_t lanes);

  void set(Weights& weights, const float* packed) const {
    weights.kernel = packed;
    weights.recurrent_kernel = packed + recurrent;
    weights.bias = packed + bias;
    weights.parameters = packed + parameters;
  }
};

// Packs the weights of the forward pass. gates_apart: each gate is a group; see format.h. Throws std::system_error.
void pack_weights(const CellInfo& cell, const gatewise_layer& layer, const gatewise_inputs& in, int64_t lanes, bool gates_apart, float* to);

// Those of the backward pass.
struct TransposedWeights {
  int64_t recurrent, parameters, floats;

  TransposedWeights(const CellInfo& cell, const gatewise_layer& layer, int64_t lanes);

  void set(Weights& weights, const float* packed) const {
    weights.kernel_back = packed;
    weights.recurrent_kernel_back = packed + recurrent;
    weights.parameters = packed + parameters;
  }
};

void pack_transposed(const CellInfo& cell, const gatewise_layer& layer, const gatewise_inputs& in, int64_t lanes, float* to);

// One panel of a copy of the gradient of a kernel, (P, round_up(rows), gates, W) with gates in the order given: written to `kernel` if it
// is the first copy, else added.
void add_kernel_panel(const CellInfo& cell, const gatewise_layer& layer, const float* copy, int64_t panel, int64_t rows, int64_t lanes,
                      const int order[], bool first, float* kernel);

// One panel of a copy of the gradients of the biases, (P, gradients, W), or of all parameters of a cell that normalises: likewise.
void add_bias_panel(const CellInfo& cell, const gatewise_layer& layer, const float* copy, int64_t panel, int64_t lanes, bool first,
                    const gatewise_gradients& out);

}  // namespace gatewise
