// SPDX-License-Identifier: Apache-2.0
// The gate gradients of one step that go back to the state before it: those of q, z and r, through the recurrent weights.
//
// A row's stand side by side in the order of the packed weights, so that their product is one loop; out of a chunk's panels, which weight
// gradients want, it would begin anew every W numbers. Gates whose gradients do not go back together stand in *runs* of their own: with
// recurrent dropout each saw other states, and with reset_after=False the candidate saw r * h_prev. In a run: panel, gate, lane. (A
// training step on two threads: speech 0.97 to 1.00 of the time, with reset_after=False 0.96, under recurrent dropout 0.92, large there
// 0.89.)
#pragma once

#include "cells/gru.h"
#include "problem.h"
#include "tile.h"

namespace gatewise {
namespace {

// The product of a run: rows of gradients times transposed weights.
struct FlowProduct {
  const float* gradients;  // (rows, ...), from the first of the run
  int64_t stride;          // floats between rows
  const float* weights;    // (P, 3U, W), from the first of the run
  int64_t units;
  int64_t gates;  // of the run

  int64_t output_stride() const { return units * 3 * kLanes; }

  // For the output panels [first, last).
  Product product(int64_t rows, int64_t first, int64_t last, bool far_weights) const {
    return {first, last, units, rows, {0, gates * units}, 1, far_weights};
  }

  template <class V, int M, int P>
  GATEWISE_INLINE void multiply(V (&acc)[M][P], int64_t row, int64_t panel, Depth depth, int64_t ahead) const {
    const float* rows[M];
    rows_of(gradients + depth.begin, stride, row, rows);
    multiply_add<1>(acc, rows, depth.end - depth.begin,
                    weights_from<kLanes, V, M, P, 1>(weights + panel * output_stride() + depth.begin * kLanes, output_stride(), ahead));
  }
};

// Two steps' gradients, in turn: the later step's are read while those of a step are written.
struct Flow {
  const Problem& problem;
  float* memory;  // (2, rows, stride)

  static int64_t stride(const Problem& p) { return 3 * p.panels * kLanes; }
  static int64_t floats(const Problem& p) { return 2 * p.slab_rows * stride(p); }

  // Where the gradients of a gate stand: those of the first row, the other rows a stride apart. Whole vectors are stored there: what a last
  // panel lacks of units is written over by the next gate, so q, z and r are stored in this order.
  struct Place {
    float* begin;
    int64_t panel_stride, gate;  // the number of the gate in its run

    float* panel(int64_t p, int64_t lanes) const { return begin + p * panel_stride + gate * lanes; }
  };
  Place place(int64_t s, int gate) const {
    const int first = run_begin(problem, gate);
    return {rows(s) + first * problem.panels * kLanes, (run_end(problem, gate) - first) * kLanes, gate - first};
  }

  // The product of the rows at step s, for the run that begins with a gate.
  FlowProduct product_of(int64_t s, int first) const {
    const int64_t units = problem.spec.units;
    return {rows(s) + first * problem.panels * kLanes, stride(problem), problem.recurrent_kernel_back + first * units * kLanes, units,
            run_end(problem, first) - first};
  }

 private:
  float* rows(int64_t s) const { return memory + (s & 1) * problem.slab_rows * stride(problem); }
};

}  // namespace
}  // namespace gatewise
