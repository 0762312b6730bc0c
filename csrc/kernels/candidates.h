// SPDX-License-Identifier: Apache-2.0
// The candidates of a chunk, found again on the way back where the way forward did not save them (see spec.candidates_again): from the
// states, which are the outputs, and with reset_after from the product of the chunk's inputs and the candidate's weights.
#pragma once

#include "chunk.h"
#include "preactivation.h"
#include "tile.h"

namespace gatewise {
namespace {

struct Candidates {
  const Chunk& chunk;
  const Problem& problem = chunk.problem;

  // Writes h_tilde and q of the panels [first_panel, last_panel) where their gradients will stand: chunk.gates, at kDh and kDq. It takes
  // inputs of all panels.
  void find(int64_t first_panel, int64_t last_panel) const {
    if (!problem.spec.reset_after) return find_from_states(first_panel, last_panel);
    for_tiles<1>(
        {first_panel, last_panel, problem.spec.units, chunk.slots(), {0, problem.feature_panels}, kLanes, problem.far_weights},
        [&](auto P, auto M, int64_t panel, int64_t slot, Depth depth, Ahead ahead, int64_t) {
          multiply_inputs<typename decltype(P)::Vector, M.value, P.value>(slot, panel, depth, ahead);
        },
        [&](int64_t first, int64_t end) { find_from_states(first, end); });
  }

 private:
  void find_from_states(int64_t first_panel, int64_t last_panel) const {
    for (int64_t p = first_panel; p < last_panel; ++p) {
      chunk.for_each_row([&](int64_t i, int64_t m) {
        const int64_t slot = chunk.offset[i] + m;
        const float* saved = chunk.gates_at(i, p, m);
        float* to = chunk.gates(p, slot);
        const Vec z = load_unaligned(saved + kSavedZ * kLanes), r = load_unaligned(saved + kSavedR * kLanes);
        const Vec h_tilde = gru_candidate_again(chunk.state_after(i, p, m), z, load(chunk.panel(chunk.h_prev, p, slot)));
        store(to + kDh * kLanes, h_tilde);
        if (problem.spec.reset_after) store(to + kDq * kLanes, gru_recurrent_again(h_tilde, load(to + kDq * kLanes), r));
      });
    }
  }

  // Adds up xh, with its bias, at kDq. The depth is counted in panels of features.
  template <class V, int M, int P>
  __attribute__((noinline)) void multiply_inputs(int64_t slot, int64_t panel, Depth depth, Ahead ahead) const {
    const int64_t features = problem.spec.features;
    const auto sum = [&](int m, int p) { return chunk.gates(panel + p, slot + m) + kDq * kLanes; };
    V acc[M][P];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        acc[m][p] = load<V>(depth.begin == 0 ? problem.bias + ((panel + p) * 4 + kCandidate) * kLanes : sum(m, p));
      }
    }
    const float* rows[M];
    for (int64_t q = depth.begin; q < depth.end; ++q) {
      const int64_t first = q * kLanes, left = features - first, lanes = left < kLanes ? left : kLanes;
      rows_of(chunk.x_for[kCandidate] + q * chunk.capacity * kLanes, kLanes, slot, rows);
      multiply_add<1>(acc, rows, lanes,
                      gate_weights<V, M, P, kCandidate, 1, true>(problem.kernel + panel * features * 3 * kLanes, features, first, ahead));
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
