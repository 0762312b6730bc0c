// SPDX-License-Identifier: Apache-2.0
// From the gradients of the sums of a time block to the gradients of weights and inputs, while they are in cache.
#pragma once

#include "passes/time_block.h"
#include "products/outer.h"
#include "products/transposed.h"

namespace gatewise {
namespace {

template <class Cell>
struct BlockGradients {
  static constexpr const CellInfo& kInfo = Cell::kInfo;

  const TimeBlock<Cell>& block;
  const Weights& weights;
  const Partial& partial;
  const Problem& problem = block.problem;

  // Adds the block to the weight gradients of the panels [first_panel, last_panel).
  void add_to_weights(int64_t first_panel, int64_t last_panel) const {
    add_outer_products(block.h_for, problem.layer.units, kInfo.recurrent_gradients, kInfo.recurrent_order, partial.recurrent_kernel,
                       first_panel, last_panel);
    add_outer_products(block.x_for, problem.layer.features, kInfo.input_gradients, kInfo.input_order, partial.kernel, first_panel,
                       last_panel);
    if (kInfo.normals > 0) return;  // the steps have found those of the biases
    constexpr int kGradients = kInfo.gradients;
    for (int64_t p = first_panel; p < last_panel; ++p) {
      float* to = partial.bias + p * kGradients * kLanes;
      Vec sum[kGradients];
      for (int g = 0; g < kGradients; ++g) sum[g] = load(to + g * kLanes);
      for (int64_t entry = 0; entry < block.entries(); ++entry) {
        for (int g = 0; g < kGradients; ++g) sum[g] += load(block.gradients(p, entry) + g * kLanes);
      }
      for (int g = 0; g < kGradients; ++g) store(to + g * kLanes, sum[g]);
    }
  }

  // Writes the gradients of the inputs of the entries [first, last), a few at a time, whose gradients stay in cache while all weights go by
  // (large: 3 % of a training step).
  void write_inputs(int64_t first, int64_t last) const {
    constexpr int64_t kAtOnce = 64;
    alignas(64) float sums[run_rows(kAtOnce) * kLanes];
    const bool apart = gates_see_different_inputs(problem.in);
    for (int64_t begin = first; begin < last; begin += kAtOnce) {
      const int64_t rows = last - begin < kAtOnce ? last - begin : kAtOnce;
      for (int g = 0; g < (apart ? kInfo.gates : 1); ++g) {
        const PanelProduct b{block.gradients(0, begin) + (kInfo.input_gradients + g) * kLanes,
                             block.capacity * kInfo.gradients * kLanes,
                             kInfo.gradients * kLanes,
                             weights.kernel_back,
                             problem.layer.units,
                             kInfo.gates,
                             g,
                             apart ? 1 : kInfo.gates};
        for_back_product(b, b.product(rows, problem.layer.features, problem.exceeds_l2), sums,
                         [&](int64_t p, int64_t m, Vec sum) { add_input_gradient(begin + m, g, p, sum); });
      }
    }
  }

 private:
  // Adds to sums whose rows are `n` states or inputs; `from[gate]` is what a gate's weights were multiplied with. Gate order[g] stands at g
  // in the sums and at first + g in an entry. Neighbours that were multiplied with the same are taken together.
  void add_outer_products(float* const from[], int64_t n, int first, const int order[], float* sums, int64_t first_panel,
                          int64_t last_panel) const {
    for (int g = 0, end; g < kInfo.gates; g = end) {
      for (end = g + 1; end < kInfo.gates && from[order[end]] == from[order[g]];) ++end;
      call_with_constant<kInfo.gates>(end - g, [&](auto gates) {
        add_outer_product<decltype(gates)::value>(from[order[g]], n, first + g, sums + g * kLanes, first_panel, last_panel);
      });
    }
  }

  // The same for G gates, from gradient `first` on.
  template <int G>
  void add_outer_product(const float* from, int64_t n, int first, float* sums, int64_t first_panel, int64_t last_panel) const {
    constexpr int64_t kRow = kInfo.gates * kLanes, kEntry = kInfo.gradients * kLanes;
    const int64_t sums_stride = round_up(n, kPartialRows) * kRow;
    const int64_t last_whole = last_panel - ends_in_half(last_panel, problem.layer.units);
    const auto add_panels = [&](int64_t p, auto panels) {
      const OuterProduct of{block.gradients(p, 0) + first * kLanes,
                            block.capacity * kEntry,
                            kEntry,
                            block.entries(),
                            sums + p * sums_stride,
                            sums_stride,
                            kRow};
      for (int64_t u = 0; u < n; u += kOuterRows) {
        outer_product<typename decltype(panels)::Vector, decltype(panels)::value, G>(of, lanes_at(from, u), u);
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

  // Units or features from u on of the first entry and, a vector apart each, of those after it.
  const float* lanes_at(const float* plane, int64_t u) const { return plane + u / kLanes * block.capacity * kLanes + u % kLanes; }

  // The first gate writes, unless there is a gradient already; the others add. They stand in the cell's input order.
  GATEWISE_INLINE void add_input_gradient(int64_t entry, int g, int64_t panel, Vec v) const {
    const int64_t left = problem.layer.features - panel * kLanes, lanes = left < kLanes ? left : kLanes;
    const float* factors = block.slab.input_factors(block.row_of[entry], kInfo.input_order[g]);
    float* to = problem.d.x + block.input_of[entry] + panel * kLanes;
    if (factors) v *= load_first(factors + panel * kLanes, lanes);
    store_first(to, g == 0 && !problem.adds_to_x ? v : load_first(to, lanes) + v, lanes);
  }
};

}  // namespace
}  // namespace gatewise
