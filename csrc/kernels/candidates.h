// SPDX-License-Identifier: Apache-2.0
// The candidates of a chunk, found again on the way back where the way forward did not save them (see spec.candidates_again): the products
// of the chunk's inputs and states with the candidate's weights, added up in the way forward's order, so that the same bits come out.
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
  // states and inputs of all panels.
  void find(int64_t first_panel, int64_t last_panel) const {
    const int64_t features = problem.spec.features, units = problem.spec.units;
    const bool apart = problem.spec.reset_after;
    const Rows of_inputs{chunk.x_for[kCandidate], problem.kernel, features, kCandidate, kDh};
    const Rows of_states{chunk.h_for[kCandidate], problem.recurrent_kernel, units, apart ? kRecurrent : kNoBias, apart ? kDq : kDh};
    add_up(of_inputs, first_panel, last_panel, [](int64_t, int64_t) {});
    with_activations(problem.spec, [&](auto f) {
      add_up(of_states, first_panel, last_panel, [&](int64_t first, int64_t end) {
        for (int64_t p = first; p < end; ++p) {
          chunk.for_each_row([&](int64_t i, int64_t m) {
            float* slot = chunk.gates(p, chunk.offset[i] + m);
            Vec a = load(slot + kDh * kLanes);
            if (apart) a = gru_reset_after(a, load_unaligned(chunk.gates_at(i, p, m) + kSavedR * kLanes), load(slot + kDq * kLanes));
            store(slot + kDh * kLanes, f.candidate(a));
          });
        }
      });
    });
  }

 private:
  static constexpr int kNoBias = -1;

  // Rows of a chunk and the weights that they are multiplied with; a sum begins with a bias, or goes on from where it stands.
  struct Rows {
    const float* plane;    // (panels, slots, W)
    const float* weights;  // a kernel, packed for the way forward
    int64_t count;         // of features or units
    int bias;              // place among the biases of a panel, or kNoBias
    GateGradient place;    // of the sum, in a slot
  };

  // The depth is counted in panels of the rows.
  template <class Done>
  void add_up(const Rows& rows, int64_t first_panel, int64_t last_panel, Done&& done) const {
    const int64_t panels = (rows.count + kLanes - 1) / kLanes;
    for_tiles<1>(
        {first_panel, last_panel, problem.spec.units, chunk.slots(), {0, panels}, kLanes, problem.far_weights},
        [&](auto P, auto M, int64_t panel, int64_t slot, Depth depth, Ahead ahead, int64_t) {
          multiply<typename decltype(P)::Vector, M.value, P.value>(rows, slot, panel, depth, ahead);
        },
        done);
  }

  template <class V, int M, int P>
  __attribute__((noinline)) void multiply(const Rows& from, int64_t slot, int64_t panel, Depth depth, Ahead ahead) const {
    V acc[M][P];
    const bool begins = depth.begin == 0 && from.bias != kNoBias;
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        acc[m][p] = load<V>(begins ? problem.bias + ((panel + p) * 4 + from.bias) * kLanes
                                   : chunk.gates(panel + p, slot + m) + from.place * kLanes);
      }
    }
    const float* rows[M];
    const float* weights = from.weights + panel * from.count * 3 * kLanes;
    for (int64_t q = depth.begin; q < depth.end; ++q) {
      const int64_t first = q * kLanes, left = from.count - first, lanes = left < kLanes ? left : kLanes;
      rows_of(from.plane + q * chunk.capacity * kLanes, kLanes, slot, rows);
      multiply_add<1>(acc, rows, lanes, gate_weights<V, M, P, kCandidate, 1, true>(weights, from.count, first, ahead));
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) store(chunk.gates(panel + p, slot + m) + from.place * kLanes, acc[m][p]);
    }
  }
};

}  // namespace
}  // namespace gatewise
