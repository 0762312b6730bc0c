// SPDX-License-Identifier: Apache-2.0
// The gradients of the sums of one step that go back through the recurrent weights.
//
// A row's stand side by side in the order of the packed weights, so that their product is one loop; out of a time block's panels, which
// weight gradients want, it would begin anew every W numbers. Gates whose gradients do not go back together stand in *runs* of their own
// (see run_of). In a run: panel, gate, lane. (A training step on two threads: speech 0.97 to 1.00 of the time, of two rounds 0.96,
// under recurrent dropout 0.92, large there 0.89.)
#pragma once

#include "passes/problem.h"
#include "products/transposed.h"

namespace gatewise {
namespace {

// Two steps' gradients, in turn: the later step's are read while those of a step are written.
template <class Cell>
struct Flow {
  static constexpr int kGates = Cell::kInfo.gates;

  const Problem& problem;
  float* memory;         // (2, rows, stride)
  const float* weights;  // the recurrent ones, transposed

  static int64_t stride(const Problem& p) { return kGates * p.panels * kLanes; }
  static int64_t floats(const Problem& p) { return 2 * p.slab_rows * stride(p); }

  Run run(int place) const { return run_of(Cell::kInfo, problem.in.recurrent_dropout, place); }

  // Where the gradients of a gate stand, those of the first row; the other rows are a stride apart. Whole vectors are stored there: what a
  // last panel lacks of units is written over by the next gate, so those of a run are stored in their order.
  struct Place {
    float* begin;
    int64_t panel_stride, gate;  // the number of the gate in its run

    float* panel(int64_t p, int64_t lanes) const { return begin + p * panel_stride + gate * lanes; }
  };
  Place place(int64_t s, int place) const {
    const Run of = run(place);
    return {rows(s) + of.begin * problem.panels * kLanes, (of.end - of.begin) * kLanes, place - of.begin};
  }

  // The product of the rows at step s, for a run.
  RowProduct product_of(int64_t s, Run of) const {
    const int64_t units = problem.layer.units;
    return {rows(s) + of.begin * problem.panels * kLanes,
            stride(problem),
            weights + of.begin * units * kLanes,
            units,
            kGates,
            of.end - of.begin};
  }

 private:
  float* rows(int64_t s) const { return memory + (s & 1) * problem.slab_rows * stride(problem); }
};

}  // namespace
}  // namespace gatewise
