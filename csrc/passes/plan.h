// SPDX-License-Identifier: Apache-2.0
// The plan of a call: which rows travel together, in what order, and which slabs add to one copy of the weight gradients.
//
// It follows from the shapes, the mask and the instruction set alone, never from the number of threads, so that results are the same bits
// for any number of them.
#pragma once

#include <stdint.h>

#include <vector>

#include "engine.h"

namespace gatewise {

struct Plan {
  int64_t slab_rows;                // rows of the largest slab, at most 32
  int64_t block_steps;              // steps of a time block of the backward pass
  std::vector<int64_t> slab_begin;  // (slabs + 1,) rows in plan order
  std::vector<int32_t> row;         // (B,) batch indices; in a slab the longest row first, equals in the order of the batch
  std::vector<int32_t> length;      // (B,) valid steps of a row, in plan order
  std::vector<int32_t> step;        // (B, T) by batch index: processing positions of the valid steps; empty without a mask

  // (groups,) the slabs of each group, dealt out back and forth because they fall in length.
  std::vector<std::vector<int64_t>> groups;

  int64_t slabs() const { return static_cast<int64_t>(slab_begin.size()) - 1; }
};

// How many steps a time block of the backward pass has: what is saved depends on it and on the shapes alone. exceeds_l2: see problem.h.
int64_t block_steps(const gatewise_layer& layer, bool exceeds_l2);

// How many threads carry a slab together: more than one where there are fewer slabs than threads, and steps large enough to share.
int team_size(const gatewise_layer& layer, const Plan& plan, int threads);

// mask: (B, T) or null, as in gatewise_inputs. weight_floats: of a copy of the weight gradients, where the plan has groups; else 0.
// Throws std::bad_alloc.
Plan make_plan(const gatewise_layer& layer, const uint8_t* mask, bool exceeds_l2, int64_t weight_floats);

}  // namespace gatewise
