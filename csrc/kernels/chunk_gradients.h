// SPDX-License-Identifier: Apache-2.0
// From the gate gradients of a chunk to the gradients of weights and inputs, while they are in cache.
#pragma once

#include "back_products.h"
#include "chunk.h"
#include "tile.h"

namespace gatewise {
namespace {

struct ChunkGradients {
  const Chunk& chunk;
  const Partial& partial;
  const Problem& problem = chunk.problem;

  // Adds the chunk to the weight gradients of the panels [first_panel, last_panel).
  void add_to_weights(int64_t first_panel, int64_t last_panel) const {
    static constexpr int h_order[3] = {kCandidate, kUpdate, kReset}, x_order[3] = {kUpdate, kReset, kCandidate};
    add_outer_products(chunk.h_for, problem.spec.units, kDq, h_order, partial.recurrent_kernel, first_panel, last_panel);
    add_outer_products(chunk.x_for, problem.spec.features, kDz, x_order, partial.kernel, first_panel, last_panel);
    for (int64_t p = first_panel; p < last_panel; ++p) {
      float* to = partial.bias + p * 4 * kLanes;
      Vec sum[4] = {load(to), load(to + kLanes), load(to + 2 * kLanes), load(to + 3 * kLanes)};
      for (int64_t slot = 0; slot < chunk.slots(); ++slot) {
        for (int g = 0; g < 4; ++g) sum[g] += load(chunk.gates(p, slot) + g * kLanes);
      }
      for (int g = 0; g < 4; ++g) store(to + g * kLanes, sum[g]);
    }
  }

  // Writes the gradients of the inputs of the slots [first_slot, last_slot), a few at a time, whose gate gradients stay in cache while all
  // weights go by (large: 3 % of a training step).
  void write_inputs(int64_t first_slot, int64_t last_slot) const {
    constexpr int64_t kInputSlots = 64;
    alignas(64) float sums[run_rows(kInputSlots) * kLanes];
    const bool apart = gates_see_different_inputs(problem.in);
    for (int64_t begin = first_slot; begin < last_slot; begin += kInputSlots) {
      const int64_t rows = last_slot - begin < kInputSlots ? last_slot - begin : kInputSlots;
      for (int gate = 0; gate < (apart ? 3 : 1); ++gate) {
        const BackProduct b{chunk.gates(0, begin) + (kDz + gate) * kLanes,
                            chunk.capacity * 4 * kLanes,
                            problem.kernel_back,
                            problem.spec.units,
                            gate,
                            apart ? 1 : 3};
        for_back_product(b, b.product(rows, problem.spec.features, problem.far_weights), sums,
                         [&](int64_t p, int64_t m, Vec sum) { add_input_gradient(begin + m, gate, p, sum); });
      }
    }
  }

 private:
  // Adds to sums whose rows are `n` states or inputs; `from[gate]` is what a gate's weights were multiplied with. Gate order[g] stands at g
  // in the sums and at first + g in a slot. Neighbours that were multiplied with the same are taken together.
  void add_outer_products(float* const from[3], int64_t n, GateGradient first, const int order[3], float* sums, int64_t first_panel,
                          int64_t last_panel) const {
    for (int g = 0, end; g < 3; g = end) {
      for (end = g + 1; end < 3 && from[order[end]] == from[order[g]];) ++end;
      call_with_constant<3>(end - g, [&](auto gates) {
        add_outer_product<decltype(gates)::value>(from[order[g]], n, first + g, sums + g * kLanes, first_panel, last_panel);
      });
    }
  }

  // The same for G gates, from gradient `first` on. Of one gate a tile takes several panels, and uses a quarter of what comes into cache of
  // their gradients: so many slots at once that it stays in the first-level one. (Recurrent dropout, one thread: 0.94 to 0.97 of the time
  // that two panels take, which are too few for the multiply-adds not to wait for each other; all slots at once: 1.01 to 1.05.)
  template <int G>
  void add_outer_product(const float* from, int64_t n, int first, float* sums, int64_t first_panel, int64_t last_panel) const {
    constexpr int64_t kPartSlots = G == 1 ? 44 : kMaxSlots;
    const int64_t gates_stride = chunk.capacity * 4 * kLanes, sums_stride = round_up(n, kPartialRows) * 3 * kLanes;
    const int64_t last_whole = last_panel - ends_in_half(last_panel, problem.spec.units);
    for (int64_t slot = 0; slot < chunk.slots(); slot += kPartSlots) {
      const int64_t left = chunk.slots() - slot, slots = left < kPartSlots ? left : kPartSlots;
      const auto add_panels = [&](int64_t p, auto panels) {
        const float* gates = chunk.gates(p, slot) + first * kLanes;
        float* to = sums + p * sums_stride;
        for (int64_t u = 0; u < n; u += kOuterRows) {
          outer_product<typename decltype(panels)::Vector, decltype(panels)::value, G>(lanes_at(from, u, slot), gates, gates_stride, slots,
                                                                                       to + u * 3 * kLanes, sums_stride);
        }
      };
      for (int64_t p = first_panel; p < last_whole;) {
        p += with_constant<panels_per_tile(kOuterRows, G)>(last_whole - p,
                                                           [&](auto panels) { add_panels(p, Panels<Vec, decltype(panels)::value>{}); });
      }
      if constexpr (kHalves) {
        if (last_whole < last_panel) add_panels(last_whole, Panels<HalfVec, 1>{});
      }
    }
  }

  // Units or features from u on of a slot and, a vector apart each, of those after it.
  const float* lanes_at(const float* plane, int64_t u, int64_t slot) const {
    return plane + (u / kLanes * chunk.capacity + slot) * kLanes + u % kLanes;
  }

  // The first gate writes, unless there is a gradient already; the others add.
  GATEWISE_INLINE void add_input_gradient(int64_t slot, int gate, int64_t panel, Vec v) const {
    const int64_t left = problem.spec.features - panel * kLanes, lanes = left < kLanes ? left : kLanes;
    const float* factors = chunk.slab.input_factors(chunk.row_of[slot], gate);
    float* to = problem.d.x + chunk.input_of[slot] + panel * kLanes;
    if (factors) v *= load_first(factors + panel * kLanes, lanes);
    store_first(to, gate == 0 && !problem.adds_to_x ? v : load_first(to, lanes) + v, lanes);
  }
};

}  // namespace
}  // namespace gatewise
