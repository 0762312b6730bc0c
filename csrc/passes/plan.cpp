// SPDX-License-Identifier: Apache-2.0
#include "passes/plan.h"

#include <algorithm>
#include <numeric>

#include "passes/problem.h"
#include "threads/team.h"

namespace gatewise {
namespace {

constexpr int64_t kTileRows = 8;

// How many slabs a batch is cut into. Eight rows fill the widest tile; fewer than three make a slow one; at least four slabs give that many
// threads something to do. More rows share what they read: weights beyond the second-level cache (large, on a Xeon with 2 MB of it: 32 rows
// are 10 % faster than 16, and 16 are 20 % faster than 8), and in the backward pass the weight gradients of short sequences (quickstart: 15
// %), as long as two slabs remain.
int64_t slab_count(const gatewise_layer& layer, bool exceeds_l2) {
  constexpr int64_t kMinRows = 3, kMinSlabs = 4, kMinEntries = 128;
  const int64_t batch = layer.batch;
  const int64_t short_rows = round_up((kMinEntries + layer.timesteps - 1) / std::max<int64_t>(layer.timesteps, 1), kTileRows);
  const int64_t wanted = exceeds_l2 ? kMaxSlabRows : std::clamp(short_rows, kTileRows, kMaxSlabRows);
  const int64_t rows = std::min(wanted, std::max(round_up((batch + 1) / 2, kTileRows), kTileRows));
  const int64_t slabs = (batch + rows - 1) / rows;
  return std::max({slabs, std::min(rows > kTileRows ? 2 : kMinSlabs, batch / kMinRows), int64_t{1}});
}

// A copy of the weight gradients for each group: at most 16, and no more than 32 MB of them.
int64_t group_count(int64_t weight_floats, int64_t slabs) {
  constexpr int64_t kMaxGroups = 16, kMaxBytes = int64_t{32} << 20;
  int64_t groups = std::min(slabs, kMaxGroups);
  while (groups > 1 && groups * 4 * weight_floats > kMaxBytes) groups = (groups + 1) / 2;
  return groups;
}

void find_valid_steps(const gatewise_layer& layer, const uint8_t* mask, std::vector<int32_t>& step, std::vector<int32_t>& count) {
  const int64_t timesteps = layer.timesteps;
  step.resize(static_cast<size_t>(layer.batch * timesteps));
  for (int64_t b = 0; b < layer.batch; ++b) {
    const uint8_t* valid = mask + b * timesteps;
    int32_t* to = step.data() + b * timesteps;
    int32_t n = 0;
    for (int64_t position = 0; position < timesteps; ++position) {
      to[n] = static_cast<int32_t>(position);
      n += valid[layer.go_backwards ? timesteps - 1 - position : position] != 0;
    }
    count[static_cast<size_t>(b)] = n;
  }
}

int64_t first_row(int64_t slab, int64_t batch, int64_t slabs) { return slab * (batch / slabs) + std::min(slab, batch % slabs); }

// Rows in order of falling length, dealt out to slabs back and forth: where slabs are large and few, each gets the same work.
std::vector<int32_t> dealt_out(const std::vector<int32_t>& rows, int64_t slabs) {
  const auto batch = static_cast<int64_t>(rows.size());
  std::vector<int32_t> dealt(rows.size());
  std::vector<int64_t> next(static_cast<size_t>(slabs));
  for (int64_t slab = 0; slab < slabs; ++slab) next[static_cast<size_t>(slab)] = first_row(slab, batch, slabs);
  for (int64_t i = 0; i < batch; ++i) {
    const int64_t place = i % slabs;  // a last round that is not full goes to the first slabs, which have a row more
    const bool back = i / slabs % 2 == 1 && i < batch / slabs * slabs;
    const int64_t slab = back ? slabs - 1 - place : place;
    dealt[static_cast<size_t>(next[static_cast<size_t>(slab)]++)] = rows[static_cast<size_t>(i)];
  }
  return dealt;
}

}  // namespace

int64_t block_steps(const gatewise_layer& layer, bool exceeds_l2) {
  const int64_t slabs = slab_count(layer, exceeds_l2), rows = std::max<int64_t>((layer.batch + slabs - 1) / slabs, 1);
  return std::max<int64_t>(kMaxEntries / rows, 1);
}

int team_size(const gatewise_layer& layer, const Plan& plan, int threads) {
  // Where meeting begins to pay, for two threads on a Xeon: one row from 128 units on (0.75 of one thread's time), four rows from 96 (0.8).
  constexpr int64_t kMinSteps = 16, kMinWork = 16000, kMinUnits = 48;
  if (layer.timesteps < kMinSteps || plan.slab_rows * layer.units * layer.units < kMinWork || !Team::advisable()) return 1;
  return static_cast<int>(std::clamp<int64_t>(std::min(threads / plan.slabs(), layer.units / kMinUnits), 1, Team::kMaxMembers));
}

Plan make_plan(const gatewise_layer& layer, const uint8_t* mask, bool exceeds_l2, int64_t weight_floats) {
  Plan plan;
  const int64_t batch = layer.batch, slabs = slab_count(layer, exceeds_l2);
  const auto rows = static_cast<size_t>(batch);
  plan.row.resize(rows);
  std::iota(plan.row.begin(), plan.row.end(), 0);
  plan.length.assign(rows, static_cast<int32_t>(layer.timesteps));
  if (mask) {
    std::vector<int32_t> count(rows);
    find_valid_steps(layer, mask, plan.step, count);
    std::stable_sort(plan.row.begin(), plan.row.end(),
                     [&](int32_t a, int32_t b) { return count[static_cast<size_t>(a)] > count[static_cast<size_t>(b)]; });
    if (slabs > 1 && batch > slabs * kTileRows) plan.row = dealt_out(plan.row, slabs);
    for (size_t i = 0; i < rows; ++i) plan.length[i] = count[static_cast<size_t>(plan.row[i])];
  }
  plan.slab_begin.resize(static_cast<size_t>(slabs) + 1);
  for (int64_t i = 0; i <= slabs; ++i) plan.slab_begin[static_cast<size_t>(i)] = first_row(i, batch, slabs);
  plan.slab_rows = plan.slab_begin[1];
  plan.block_steps = block_steps(layer, exceeds_l2);
  if (weight_floats > 0) {
    const int64_t groups = group_count(weight_floats, slabs);
    plan.groups.resize(static_cast<size_t>(groups));
    for (int64_t i = 0; i < slabs; ++i) {
      const int64_t place = i % groups;
      plan.groups[static_cast<size_t>(i / groups % 2 == 0 ? place : groups - 1 - place)].push_back(i);
    }
  }
  return plan;
}

}  // namespace gatewise
