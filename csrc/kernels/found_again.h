// SPDX-License-Identifier: Apache-2.0
// What the way forward did not save of the gates of a chunk, found again on the way back (see engine.h): candidates from the states, which
// are the outputs, and reset gates by the products of the way forward, added up in its order, so that the same bits come out.
#pragma once

#include "chunk.h"
#include "preactivation.h"
#include "tile.h"

namespace gatewise {
namespace {

struct FoundAgain {
  const Chunk& chunk;
  const Problem& problem = chunk.problem;

  // Writes h_tilde, r * q and r of the panels [first_panel, last_panel) where the gradients will stand: chunk.gates, at kDh, kDq and kDr; r
  // of panels whose r is not saved. It takes inputs and, for r, states of all panels.
  void find(int64_t first_panel, int64_t last_panel) const {
    if (!problem.spec.reset_after) return find_candidates(first_panel, last_panel);
    const int64_t first_without = chunk.saved.reset_panels > first_panel ? chunk.saved.reset_panels : first_panel;
    if (first_without < last_panel) find_resets(first_without, last_panel);
    const Rows inputs{chunk.x_for[kCandidate], problem.kernel, problem.spec.features};
    add_up<kCandidate, kDq>(inputs, true, first_panel, last_panel, [&](int64_t first, int64_t end) { find_candidates(first, end); });
  }

 private:
  // Rows of a chunk, in panels, and the weights that they are multiplied with.
  struct Rows {
    const float* plane;    // (panels, slots, W)
    const float* weights;  // a kernel, packed for the way forward, gates apart
    int64_t count;         // of features or units
  };

  void find_resets(int64_t first_panel, int64_t last_panel) const {
    const Rows inputs{chunk.x_for[kReset], problem.kernel, problem.spec.features};
    const Rows states{chunk.h_for[kReset], problem.recurrent_kernel, problem.spec.units};
    add_up<kReset, kDr>(inputs, true, first_panel, last_panel, [](int64_t, int64_t) {});
    add_up<kReset, kDr>(states, false, first_panel, last_panel, [&](int64_t first, int64_t end) {
      for (int64_t p = first; p < end; ++p) {
        for (int64_t slot = 0; slot < chunk.slots(); ++slot) {
          float* r = chunk.gates(p, slot) + kDr * kLanes;
          store(r, sigmoid(load(r)));
        }
      }
    });
  }

  // With reset_after xh stands where r * q will.
  void find_candidates(int64_t first_panel, int64_t last_panel) const {
    for (int64_t p = first_panel; p < last_panel; ++p) {
      chunk.for_each_row([&](int64_t i, int64_t m) {
        const int64_t slot = chunk.offset[i] + m;
        float *h_tilde = chunk.gates(p, slot) + kDh * kLanes, *rq = chunk.gates(p, slot) + kDq * kLanes;
        const Vec z = load_unaligned(chunk.gates_at(i, p, m) + kSavedZ * kLanes);
        store(h_tilde, gru_candidate_again(chunk.state_after(i, p, m), z, load(chunk.panel(chunk.h_prev, p, slot))));
        if (problem.spec.reset_after) store(rq, gru_reset_product_again(load(h_tilde), load(rq)));
      });
    }
  }

  // Adds up the products of rows and a gate's weights, from its bias on if a sum begins, at `place` of the slots. The depth is counted in
  // panels of the rows.
  template <Gate kGate, GateGradient place, class Done>
  void add_up(const Rows& rows, bool begins, int64_t first_panel, int64_t last_panel, Done&& done) const {
    const int64_t panels = (rows.count + kLanes - 1) / kLanes;
    for_tiles<1>(
        {first_panel, last_panel, problem.spec.units, chunk.slots(), {0, panels}, kLanes, problem.far_weights},
        [&](auto P, auto M, int64_t panel, int64_t slot, Depth depth, Ahead ahead, int64_t) {
          multiply<kGate, place, typename decltype(P)::Vector, M.value, P.value>(rows, begins && depth.begin == 0, slot, panel, depth,
                                                                                 ahead);
        },
        done);
  }

  template <Gate kGate, GateGradient place, class V, int M, int P>
  __attribute__((noinline)) void multiply(const Rows& from, bool begins, int64_t slot, int64_t panel, Depth depth, Ahead ahead) const {
    const auto sum = [&](int m, int p) { return chunk.gates(panel + p, slot + m) + place * kLanes; };
    V acc[M][P];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) acc[m][p] = load<V>(begins ? problem.bias + ((panel + p) * 4 + kGate) * kLanes : sum(m, p));
    }
    const float* rows[M];
    const float* weights = from.weights + panel * from.count * 3 * kLanes;
    for (int64_t q = depth.begin; q < depth.end; ++q) {
      const int64_t first = q * kLanes, left = from.count - first, lanes = left < kLanes ? left : kLanes;
      rows_of(from.plane + q * chunk.capacity * kLanes, kLanes, slot, rows);
      multiply_add<1>(acc, rows, lanes, gate_weights<V, M, P, kGate, 1, true>(weights, from.count, first, ahead));
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) store(sum(m, p), acc[m][p]);
    }
  }
};

}  // namespace
}  // namespace gatewise
