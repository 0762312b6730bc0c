// SPDX-License-Identifier: Apache-2.0
#include "plan.h"

#include <algorithm>
#include <numeric>

#include "problem.h"
#include "team.h"

namespace gatewise {
namespace {

constexpr int64_t kTileRows = 8;

// How many slabs a batch is cut into. Eight rows fill the widest tile; fewer than three make a slow one; at least four slabs give that many
// threads something to do. More rows share what they read: weights beyond the second-level cache (large, on a Xeon with 2 MB of it: 32 rows
// are 10 % faster than 16, and 16 are 20 % faster than 8), and on the way back the weight gradients of short sequences (quickstart: 15 %),
// as long as two slabs remain.
int64_t slab_count(const gatewise_gru_spec& spec, bool far_weights) {
  constexpr int64_t kMinRows = 3, kMinSlabs = 4, kMinSlots = 128;
  const int64_t batch = spec.batch;
  const int64_t short_rows = round_up((kMinSlots + spec.timesteps - 1) / std::max<int64_t>(spec.timesteps, 1), kTileRows);
  const int64_t wanted = far_weights ? kMaxSlabRows : std::clamp(short_rows, kTileRows, kMaxSlabRows);
  const int64_t rows = std::min(wanted, std::max(round_up((batch + 1) / 2, kTileRows), kTileRows));
  const int64_t slabs = (batch + rows - 1) / rows;
  return std::max({slabs, std::min(rows > kTileRows ? 2 : kMinSlabs, batch / kMinRows), int64_t{1}});
}

// A copy of the weight gradients for each group: at most 16, and no more than 32 MB of them.
int64_t group_count(const gatewise_gru_spec& spec, int64_t slabs) {
  constexpr int64_t kMaxGroups = 16, kMaxBytes = int64_t{32} << 20;
  const int64_t copy_bytes = 4 * 3 * spec.units * (spec.units + spec.features);
  int64_t groups = std::min(slabs, kMaxGroups);
  while (groups > 1 && groups * copy_bytes > kMaxBytes) groups = (groups + 1) / 2;
  return groups;
}

void find_valid_steps(const gatewise_gru_spec& spec, const uint8_t* mask, std::vector<int32_t>& step, std::vector<int32_t>& count) {
  const int64_t timesteps = spec.timesteps;
  step.resize(static_cast<size_t>(spec.batch * timesteps));
  for (int64_t b = 0; b < spec.batch; ++b) {
    const uint8_t* valid = mask + b * timesteps;
    int32_t* to = step.data() + b * timesteps;
    int32_t n = 0;
    for (int64_t position = 0; position < timesteps; ++position) {
      to[n] = static_cast<int32_t>(position);
      n += valid[spec.go_backwards ? timesteps - 1 - position : position] != 0;
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

int64_t chunk_steps(const gatewise_gru_spec& spec, bool far_weights) {
  const int64_t slabs = slab_count(spec, far_weights), rows = std::max<int64_t>((spec.batch + slabs - 1) / slabs, 1);
  return std::max<int64_t>(kMaxSlots / rows, 1);
}

int team_size(const gatewise_gru_spec& spec, const Plan& plan, int threads) {
  // Where meeting begins to pay, for two threads on a Xeon: one row from 128 units on (0.75 of one thread's time), four rows from 96 (0.8).
  constexpr int64_t kMinSteps = 16, kMinWork = 16000, kMinUnits = 48;
  if (spec.timesteps < kMinSteps || plan.slab_rows * spec.units * spec.units < kMinWork || !Team::advisable()) return 1;
  return static_cast<int>(std::clamp<int64_t>(std::min(threads / plan.slabs(), spec.units / kMinUnits), 1, Team::kMaxMembers));
}

Plan make_plan(const gatewise_gru_spec& spec, const uint8_t* mask, bool far_weights, bool with_groups) {
  Plan plan;
  const int64_t batch = spec.batch, slabs = slab_count(spec, far_weights);
  const auto rows = static_cast<size_t>(batch);
  plan.row.resize(rows);
  std::iota(plan.row.begin(), plan.row.end(), 0);
  plan.length.assign(rows, static_cast<int32_t>(spec.timesteps));
  if (mask) {
    std::vector<int32_t> count(rows);
    find_valid_steps(spec, mask, plan.step, count);
    std::stable_sort(plan.row.begin(), plan.row.end(),
                     [&](int32_t a, int32_t b) { return count[static_cast<size_t>(a)] > count[static_cast<size_t>(b)]; });
    if (slabs > 1 && batch > slabs * kTileRows) plan.row = dealt_out(plan.row, slabs);
    for (size_t i = 0; i < rows; ++i) plan.length[i] = count[static_cast<size_t>(plan.row[i])];
  }
  plan.slab_begin.resize(static_cast<size_t>(slabs) + 1);
  for (int64_t i = 0; i <= slabs; ++i) plan.slab_begin[static_cast<size_t>(i)] = first_row(i, batch, slabs);
  plan.slab_rows = plan.slab_begin[1];
  plan.chunk_steps = chunk_steps(spec, far_weights);
  if (with_groups) {
    const int64_t groups = group_count(spec, slabs);
    plan.groups.resize(static_cast<size_t>(groups));
    for (int64_t i = 0; i < slabs; ++i) {
      const int64_t place = i % groups;
      plan.groups[static_cast<size_t>(i / groups % 2 == 0 ? place : groups - 1 - place)].push_back(i);
    }
  }
  return plan;
}

}  // namespace gatewise
