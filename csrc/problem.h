// SPDX-License-Identifier: Apache-2.0
// What a kernel sees of a call: plain sizes and pointers. engine.cpp fills it in, the kernels read it, nobody owns anything through it.
//
// Letters as in engine.h, and: W = lanes of a vector, P = ceil(U / W) unit panels, PF = ceil(F / W) feature panels. A *panel* is W
// neighbouring units (or features); lanes beyond the last unit are padding, whose weights are zero.
#pragma once

#include <stdint.h>

#include "engine.h"

namespace gatewise {

// Rows of a partial weight gradient are padded to a multiple of this, which every row tile divides.
constexpr int64_t kPartialRows = 8;

struct Problem {
  gatewise_gru_spec spec;
  gatewise_gru_inputs in;
  int64_t panels;          // P
  int64_t feature_panels;  // PF
  bool far_weights;        // they come from beyond the second-level cache

  // Packed weights, 64-byte aligned; see pack.h.
  // Those of the way forward are there on the way back with `recompute`.
  const float* kernel;                 // (P, 3F, W): see pack.h
  const float* recurrent_kernel;       // (P, 3U, W): likewise
  const float* bias;                   // (P, 4, W): z, r, h of the input, h of the recurrence
  const float* kernel_back;            // (PF, 3U, W): rows by panel, gate z r h, lane; or null on the way forward
  const float* recurrent_kernel_back;  // (P, 3U, W): rows by run of gates h z r, panel, gate, lane; or null on the way forward

  // The plan: which rows travel together. In a slab they stand in order of falling length; see plan.h.
  const int32_t* row;         // (B,) the batch index of a row
  const int32_t* length;      // (B,) how many valid steps it has
  const int32_t* step;        // (B, T) by batch index: the processing positions of the valid steps; or null: all of them
  const int64_t* slab_begin;  // (slabs + 1,)
  int64_t slab_rows;          // rows of the largest slab
  int64_t chunk_steps;        // steps of a chunk of the way back

  int64_t output_stride;  // floats from one output to the next, and from one gradient to the next
  bool outputs_reversed;  // they stand in the reverse of processing order

  // The way forward.
  float* outputs;
  float* state;
  float* saved;  // or null; see kernels/slab.h

  // The way back.
  const float* saved_in;
  const float* d_outputs;
  const float* d_state;
  gatewise_gru_gradients d;
  bool adds_to_x;  // d.x holds a gradient, which this one is added to
};

// A private copy of the weight gradients, in panels; groups of slabs add to one each, and the copies are summed in order.
struct Partial {
  float* recurrent_kernel;  // (P, round_up(U), 3, W): gates h z r
  float* kernel;            // (P, round_up(F), 3, W): gates z r h
  float* bias;              // (P, 4, W): sums of the gate gradients q z r h
};

// The gates h z r, numbers 0 1 2, whose gradients go back through the recurrent weights together: the run [begin, end) that a gate is in.
inline int run_begin(const Problem& p, int gate) { return p.in.recurrent_dropout ? gate : p.spec.reset_after || gate == 0 ? 0 : 1; }
inline int run_end(const Problem& p, int gate) { return p.in.recurrent_dropout ? gate + 1 : p.spec.reset_after || gate > 0 ? 3 : 1; }

// A chunk of the way back has at most this many slots, a slot being one row at one step: what stays in cache. (256 slots: text 2 %
// slower, quickstart 3 %.)
constexpr int64_t kMaxSlots = 128;

// A slab has at most this many rows.
constexpr int64_t kMaxSlabRows = 32;

// Whether a panel of weights of the way forward holds the candidate's apart from those of the other two gates; see pack.h.
constexpr bool candidate_apart(int64_t lanes) { return lanes < 16; }

// Whether dropout gives the gates of a step different inputs, or different inputs or states: then each gate has a product of its own.
inline bool gates_see_different_inputs(const gatewise_gru_inputs& in) { return in.input_dropout && in.input_dropout_masks == 3; }
inline bool gates_see_different_rows(const gatewise_gru_inputs& in) { return in.recurrent_dropout || gates_see_different_inputs(in); }

// Whether the weights exceed a second-level cache of so many bytes.
inline bool weights_exceed(const gatewise_gru_spec& spec, int64_t cache_bytes) {
  return 12 * spec.units * (spec.units + spec.features) > cache_bytes;
}

class Team;

// One instruction set's kernels. Scratch is 64-byte aligned, belongs to the caller and is the same for all members of a team; nothing here
// allocates, locks or throws.
struct Kernels {
  const char* name;
  int64_t lanes;
  int64_t cache_bytes;  // the second-level cache that is reckoned with
  int64_t (*saved_floats)(const gatewise_gru_spec& spec, int64_t chunk_steps);
  int64_t (*forward_scratch_floats)(const Problem& problem, int members);
  int64_t (*backward_scratch_floats)(const Problem& problem, int members);
  void (*forward_slab)(const Problem& problem, int64_t slab, float* scratch, Team& team, int member);
  void (*backward_slab)(const Problem& problem, int64_t slab, float* scratch, const Partial& partial, Team& team, int member);
};

constexpr int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace gatewise
