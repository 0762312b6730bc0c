// SPDX-License-Identifier: Apache-2.0
// What a kernel sees of a call: plain sizes and pointers. pass.cpp fills it in, the kernels read it, nobody owns anything through it.
//
// Letters as in engine.h, and: W = lanes of a vector, P = ceil(U / W) unit panels, PF = ceil(F / W) feature panels. A *panel* is W
// neighbouring units (or features); lanes beyond the last unit are padding, whose weights are zero.
#pragma once

#include <stdint.h>

#include "cells/cell.h"
#include "engine.h"
#include "formats/panels.h"

namespace gatewise {

struct Problem {
  gatewise_layer layer;
  gatewise_inputs in;
  const CellInfo* cell;
  int64_t panels;          // P
  int64_t feature_panels;  // PF
  bool exceeds_l2;         // the weights come from beyond the second-level cache

  // The plan: which rows travel together. In a slab they stand in order of falling length; see plan.h.
  const int32_t* row;         // (B,) the batch index of a row
  const int32_t* length;      // (B,) how many valid steps it has
  const int32_t* step;        // (B, T) by batch index: the processing positions of the valid steps; or null: all of them
  const int64_t* slab_begin;  // (slabs + 1,)
  int64_t slab_rows;          // rows of the largest slab
  int64_t block_steps;        // steps of a time block of the backward pass

  int64_t output_stride;  // floats from one output to the next, and from one gradient to the next
  bool outputs_reversed;  // they stand in the reverse of processing order

  // Where the states of a row stand in the arrays of states, and its inputs in x. Strides in floats.
  const int64_t* state_row;  // (B,) by batch index; or null: where it stands in the batch
  int64_t state_stride, x_stride;

  // By state of the cell: rows of U, or null for zeros. The first is the one whose steps are the outputs.
  const float* initial_state[kMaxStates];

  // The forward pass.
  float* outputs;
  float* state[kMaxStates];  // after the last step
  float* workspace;          // or null; see checkpoint.h

  // The backward pass.
  const float* kept;  // the workspace, filled
  const float* d_outputs;
  const float* d_state[kMaxStates];    // or null: zeros
  float* d_initial_state[kMaxStates];  // or null: not wanted
  gatewise_gradients d;
  bool adds_to_x;  // d.x holds a gradient, which this one is added to

  float zoneout[kMaxStates];  // by state: what part of it a step keeps, where in.kept does not say
};

// A time block of the backward pass has at most this many entries, an entry being one row at one step: what stays in cache. (256 entries:
// text 2 % slower, quickstart 3 %.)
constexpr int64_t kMaxEntries = 128;

// A slab has at most this many rows.
constexpr int64_t kMaxSlabRows = 32;

class Team;

// What an instruction set has of a cell in a weight format. Scratch is 64-byte aligned, belongs to the caller and is the same for all
// members of a team; nothing here allocates, locks or throws.
struct CellKernels {
  const CellInfo* cell;
  int64_t (*workspace_floats)(const gatewise_layer& layer, int64_t block_steps);
  int64_t (*forward_scratch_floats)(const Problem& problem, int members);
  int64_t (*backward_scratch_floats)(const Problem& problem, int members);
  void (*forward_slab)(const Problem& problem, const Weights& weights, int64_t slab, float* scratch, Team& team, int member);
  void (*backward_slab)(const Problem& problem, const Weights& weights, int64_t slab, float* scratch, const Partial& partial, Team& team,
                        int member);
};

struct ProgramKernels;

// One instruction set's kernels.
struct Kernels {
  const char* name;
  int64_t lanes;
  int64_t cache_bytes;       // the second-level cache that is reckoned with
  const CellKernels* cells;  // by enum gatewise_cell
  int32_t cell_count;
  const ProgramKernels* program;  // see program/operation.h

  const CellKernels& of(const gatewise_layer& layer) const { return cells[layer.cell]; }
  bool exceeded_by(const gatewise_layer& layer) const { return 4 * weights_of(*of(layer).cell, layer) > cache_bytes; }
};

}  // namespace gatewise
