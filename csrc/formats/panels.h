// SPDX-License-Identifier: Apache-2.0
// What stands in panels of W units: weights, packed for the passes, and copies of their gradients. Letters as in passes/problem.h.
#pragma once

#include <stdint.h>

#include "cells/cell.h"
#include "engine.h"

namespace gatewise {

constexpr int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Packed weights, 64-byte aligned; see pack.h. The backward pass has those of the forward pass with `recompute` only.
struct Weights {
  const float* kernel;            // (P, F rows): see formats/format.h
  const float* recurrent_kernel;  // (P, U rows): likewise
  const float* bias;              // (P, sums, W)
  const float* parameters;        // (P, parameters, W), of a cell that normalises, and epsilon after them; both passes have them

  const float* kernel_back;            // (PF, gates * U, W): rows by panel, gate in the cell's input order, lane
  const float* recurrent_kernel_back;  // (P, gates * U, W): rows by run of gates in its recurrent order (see runs), panel, gate, lane
};

// Rows of a partial weight gradient are padded to a multiple of this, which every row tile divides.
constexpr int64_t kPartialRows = 8;

// A private copy of the weight gradients, in panels; groups of slabs add to one each, and the copies are summed in order.
struct Partial {
  float* recurrent_kernel;  // (P, round_up(U), gates, W) in the cell's recurrent order
  float* kernel;            // (P, round_up(F), gates, W) in its input order
  float* bias;              // (P, gradients, W), or (P, parameters, W) of a cell that normalises
};

// Floats of the weights of a layer, without biases.
inline int64_t weights_of(const CellInfo& cell, const gatewise_layer& layer) {
  return cell.gates * layer.units * (layer.units + layer.features);
}

// Whether dropout gives the gates of a step different inputs, or different inputs or states: then each gate has a product of its own.
inline bool gates_see_different_inputs(const gatewise_inputs& in) { return in.input_dropout && in.input_dropout_masks > 1; }
inline bool gates_see_different_rows(const gatewise_inputs& in) { return in.recurrent_dropout || gates_see_different_inputs(in); }

}  // namespace gatewise
