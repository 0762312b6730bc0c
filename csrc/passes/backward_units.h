// SPDX-License-Identifier: Apache-2.0
// What a cell sees of a step of the backward pass: a vector of units of one row. See cells/cell.h.
#pragma once

#include "passes/time_block.h"

namespace gatewise {
namespace {

// Units of a panel and row in a round of the backward pass.
template <class Cell>
struct BackwardUnits {
  const TimeBlock<Cell>& block;
  const float* of_step;  // the workspace
  int64_t panel, m, entry;
  float* const* d_states;  // (states, P, rows, W): by state, the panel's row
  float* const* carried;   // by gate in recurrent order: where the gradient goes that goes back
  float* normals;          // of a cell that normalises: (normals, W), where gradients wait for the whole row
  Vec made;                // the gradient of what the round made

  GATEWISE_INLINE Vec kept(int i) const { return load_unaligned(of_step + i * kLanes); }
  GATEWISE_INLINE Vec state(int k) const { return load(block.state(k, panel, entry)); }
  GATEWISE_INLINE Vec d_made() const { return made; }
  GATEWISE_INLINE Vec d_state(int k) const { return load(d_states[k]); }
  GATEWISE_INLINE void set_d_state(int k, Vec v) const { store(d_states[k], v); }
  // Of a state after the step: of the first, which is the output too, with the gradient of that.
  GATEWISE_INLINE Vec d_next(int k) const { return k == 0 ? d_state(0) + load(block.panel(block.d_output, panel, entry)) : d_state(k); }
  // Keeps a gradient for the weights and, if it is one of those, for the state before.
  GATEWISE_INLINE void gradient(int i, Vec v) const {
    if constexpr (Cell::kInfo.normals > 0) {
      constexpr const CellInfo& kPlain = Cell::Plain::kInfo;
      const int of_inputs = i - kPlain.input_gradients, of_states = i - kPlain.recurrent_gradients;
      if (of_inputs >= 0 && of_inputs < kPlain.gates) store(normals + of_inputs * kLanes, v);
      if (of_states >= 0 && of_states < kPlain.gates) store(normals + (kPlain.gates + of_states) * kLanes, v);
      return;
    }
    store(block.gradients(panel, entry) + i * kLanes, v);
    const int place = i - Cell::kInfo.recurrent_gradients;
    if (place >= 0 && place < Cell::kInfo.gates) store_unaligned(carried[place], v);
  }
  GATEWISE_INLINE void d_normal(Vec v) const { store(normals + (Cell::kInfo.normals - 1) * kLanes, v); }
};

}  // namespace
}  // namespace gatewise
