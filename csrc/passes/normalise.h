// SPDX-License-Identifier: Apache-2.0
// Layer normalisation of what a round finds: of each row and gate n = (a - mean) / sqrt(variance + epsilon) over the units, and on to
// n * gain + offset. See Normalises in cells/cell.h for what is normalised, and how it is numbered.
//
// A row's sums are added up panel by panel, in order, whoever has the panels: every member of a team does so for all rows of the step,
// which takes less time than to meet once more. Variances are those of what is left without the mean, so that a large one costs no digits.
#pragma once

#include "passes/backward_units.h"
#include "passes/forward_units.h"

namespace gatewise {
namespace {

// The numbers of a unit that a round normalises: where each stands among all those of its cell, in the order of its gates and in that of
// the gradients.
struct Numbers {
  int normal[2 * kMaxGates], gradient[2 * kMaxGates];
};
constexpr Numbers numbers_of(const CellInfo& cell, int number) {
  const Round& round = cell.round[number];
  Numbers numbers{};
  if (round.normalises == Normalises::kState) numbers.normal[0] = numbers.gradient[0] = cell.normals - 1;
  for (int place = 0, of_inputs = 0, of_states = 0; place < cell.gates && round.gates > 0; ++place) {
    if (cell.round_of(cell.input_order[place]) == number) numbers.gradient[of_inputs++] = place;
    if (cell.round_of(cell.recurrent_order[place]) == number) numbers.gradient[round.gates + of_states++] = cell.gates + place;
  }
  for (int i = 0; i < round.gates; ++i) {
    numbers.normal[i] = cell.input_order[numbers.gradient[i]];
    numbers.normal[round.gates + i] = cell.gates + cell.recurrent_order[numbers.gradient[round.gates + i] - cell.gates];
  }
  return numbers;
}

template <class Cell, int kRound>
struct Normals {
  static constexpr Round kOf = Cell::kInfo.round[kRound];
  static constexpr bool kState = kOf.normalises == Normalises::kState;
  static constexpr int kCount = kState ? 1 : 2 * kOf.gates;
  static constexpr Numbers kNumbers = numbers_of(Cell::kInfo, kRound);

  // Where number i of the round stands, in the order that a product finds them in.
  static constexpr int place(int i) {
    if (kState) return Cell::kInfo.normals - 1;
    return i < kOf.gates ? kOf.first + i : Cell::kInfo.gates + kOf.first + i - kOf.gates;
  }
};

// Vectors of gains and offsets of a panel.
template <class Cell>
struct PanelParameters {
  const float* data;

  PanelParameters(const Weights& weights, int64_t panel) : data(weights.parameters + panel * Cell::kInfo.parameters() * kLanes) {}
  GATEWISE_INLINE Vec gain(int normal) const { return load_unaligned(data + normal * kLanes); }
  GATEWISE_INLINE Vec input_offset(int gate) const { return load_unaligned(data + (Cell::kInfo.normals + gate) * kLanes); }
  GATEWISE_INLINE Vec state_offset() const { return input_offset(Cell::kInfo.gates); }
};

// The sums over the units of a row of kCount numbers each; term(panel, i) is a vector of them.
template <int kCount, class Term>
GATEWISE_INLINE void sums_over_units(int64_t units, float (&sums)[kCount], Term&& term) {
  Vec sum[kCount] = {};
  const int64_t whole = units / kLanes, rest = units % kLanes;
  for (int64_t p = 0; p < whole; ++p) {
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) sum[i] += term(p, i);
  }
  if (rest > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) sum[i] += first_lanes(term(whole, i), rest);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) sums[i] = sum_of(sum[i]);
}

// The forward pass: a round of a step.
template <class Cell, int kRound>
struct Normaliser {
  using Of = Normals<Cell, kRound>;
  static constexpr const CellInfo& kInfo = Cell::kInfo;
  static constexpr int kCount = Of::kCount;

  const Weights& weights;
  const StepRows& step;
  const float* raw;  // of the first row and panel
  int64_t row_stride, panel_stride;
  float mean[kMaxSlabRows][kCount], scale[kMaxSlabRows][kCount];

  // Finds the statistics of all rows of the step, and keeps them if asked to.
  Normaliser(const Weights& w, const StepRows& rows, const float* numbers, int64_t from_row, int64_t from_panel, int64_t units, bool keeps)
      : weights(w), step(rows), raw(numbers), row_stride(from_row), panel_stride(from_panel) {
    const float n = static_cast<float>(units), epsilon = weights.parameters[round_up(units, kLanes) * kInfo.parameters()];
    for (int64_t m = 0; m < step.count; ++m) {
      const float* const row = raw + m * row_stride;
      float sums[kCount], squares[kCount];
      sums_over_units(units, sums, [&](int64_t p, int i) { return load(row + p * panel_stride + i * kLanes); });
      for (int i = 0; i < kCount; ++i) mean[m][i] = sums[i] / n;
      sums_over_units(units, squares, [&](int64_t p, int i) {
        const Vec d = load(row + p * panel_stride + i * kLanes) - broadcast(mean[m][i]);
        return d * d;
      });
      for (int i = 0; i < kCount; ++i) {
        scale[m][i] = 1.0f / root(squares[i] / n + epsilon);
        if (keeps) step.kept_rows[m * Workspace::kRowFloats + Of::place(i)] = scale[m][i];
      }
    }
  }

  // Brings the panels [first, end) to the sums that the cell sees.
  void normalise(const Workspace& workspace, int64_t first, int64_t end, const Sums& sums) const {
    for (int64_t p = first; p < end; ++p) {
      const PanelParameters<Cell> of(weights, p);
      for (int64_t m = 0; m < step.count; ++m) {
        float* const kept = step.kept ? step.kept + workspace.place(p, m) + (kInfo.workspace - kInfo.normals) * kLanes : nullptr;
        normalise_units(of, p, m, kept, sums.at(p - first, m));
      }
    }
  }

 private:
  GATEWISE_INLINE void normalise_units(const PanelParameters<Cell>& of, int64_t p, int64_t m, float* kept, float* sum) const {
    const auto normal = [&](int i) {
      const Vec v = (load(raw + m * row_stride + p * panel_stride + i * kLanes) - broadcast(mean[m][i])) * broadcast(scale[m][i]);
      if (kept) store_unaligned(kept + Of::place(i) * kLanes, v);
      return v;
    };
    if constexpr (Of::kState) {
      store(sum, fma(normal(0), of.gain(Of::place(0)), of.state_offset()));
    } else {
      constexpr int kGates = Of::kOf.gates, kWhole = kGates - Of::kOf.apart;
#pragma GCC unroll 4
      for (int i = 0; i < kGates; ++i) {
        const Vec of_inputs = fma(normal(i), of.gain(Of::place(i)), of.input_offset(Of::kOf.first + i));
        const Vec states = normal(kGates + i), gain = of.gain(Of::place(kGates + i));
        store(sum + i * kLanes, i < kWhole ? fma(states, gain, of_inputs) : of_inputs);
        if (i >= kWhole) store(sum + (kGates + i - kWhole) * kLanes, states * gain);
      }
    }
  }
};

// The backward pass: a round of a step, from the gradients of what is normalised, times gain, plus offset, to those of the numbers before.
// With d = gradient * gain: scale * (d - mean(d) - n * mean(d * n)).
template <class Cell, int kRound>
struct NormaliserBack {
  using Of = Normals<Cell, kRound>;
  static constexpr const CellInfo& kInfo = Cell::kInfo;
  static constexpr int kCount = Of::kCount;

  const TimeBlock<Cell>& block;
  const Weights& weights;
  const Partial& partial;
  const float* given;  // (P, rows, normals, W), the gradients, in the order of the cell's gradients
  int64_t i, rows;     // the step of the block, and its live rows
  float mean[kMaxSlabRows][2 * kCount], scale[kMaxSlabRows][kCount];  // mean: of d, and of d * n

  GATEWISE_INLINE const float* gradients(int64_t p, int64_t m) const { return given + (p * block.slab.rows + m) * kInfo.normals * kLanes; }
  GATEWISE_INLINE const float* normals(int64_t p, int64_t m) const {
    return block.kept_at(i, p, m) + (kInfo.workspace - kInfo.normals) * kLanes;
  }

  NormaliserBack(const TimeBlock<Cell>& b, const Weights& w, const Partial& sums, const float* gradients_of, int64_t step)
      : block(b), weights(w), partial(sums), given(gradients_of), i(step), rows(b.live(step)) {
    const int64_t units = block.problem.layer.units;
    for (int64_t m = 0; m < rows; ++m) {
      sums_over_units(units, mean[m], [&](int64_t p, int k) {
        const int number = k % kCount;
        const int normal = Of::kNumbers.normal[number];
        const Vec d = load(gradients(p, m) + Of::kNumbers.gradient[number] * kLanes) * PanelParameters<Cell>(weights, p).gain(normal);
        return k < kCount ? d : d * load_unaligned(normals(p, m) + normal * kLanes);
      });
      for (int k = 0; k < 2 * kCount; ++k) mean[m][k] /= static_cast<float>(units);
      for (int k = 0; k < kCount; ++k) scale[m][k] = block.kept_rows_at(i)[m * Workspace::kRowFloats + Of::kNumbers.normal[k]];
    }
  }

  // Calls each(k, row, gradient) for the gradients of number k before, of all rows of a panel, and adds those of gain and offset.
  template <class Each>
  GATEWISE_INLINE void normalise(int64_t p, int k, Each&& each) const {
    const int normal = Of::kNumbers.normal[k];
    const Vec gain = PanelParameters<Cell>(weights, p).gain(normal);
    float* const parameters = partial.bias + p * kInfo.parameters() * kLanes;
    const bool has_offset = Of::kState || k < Of::kOf.gates;
    const int offset = kInfo.normals + (Of::kState ? kInfo.gates : normal);
    Vec d_gain = load(parameters + normal * kLanes), d_offset = has_offset ? load(parameters + offset * kLanes) : Vec{};
    for (int64_t m = 0; m < rows; ++m) {
      const Vec g = load(gradients(p, m) + Of::kNumbers.gradient[k] * kLanes), n = load_unaligned(normals(p, m) + normal * kLanes);
      d_gain = fma(g, n, d_gain);
      d_offset += g;
      each(m, fma(-n, broadcast(mean[m][kCount + k]), g * gain - broadcast(mean[m][k])) * broadcast(scale[m][k]));
    }
    store(parameters + normal * kLanes, d_gain);
    if (has_offset) store(parameters + offset * kLanes, d_offset);
  }
};

}  // namespace
}  // namespace gatewise
