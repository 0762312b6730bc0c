// SPDX-License-Identifier: Apache-2.0
// What a layer takes, gives and can be told: the only place where it stands. Plain C macros; the hooks of bind/, and through them Python,
// loop over these rows, so that a row more needs no line in them. What each array is says engine.h.
#pragma once

// X(name, member, axes, type, presence, owner, derivative)
//   member      of gatewise_inputs and, with a derivative, of gatewise_gradients
//   axes        a letter each, in Keras's layout: b = batch, t = timesteps, f = features, u = units, g = gates * units, n = gates,
//               m = 1 or gates, k = 2, input and recurrent: an axis that is there if the cell has both, e = 1
//   presence    REQUIRED, OPTIONAL, SECOND_STATE: optional, of cells with two states; BESIDE_BIAS: optional, in PyTorch's
//               layout, where there is a bias; NORMALISED, NORMALISED_STATE: optional, of cells that normalise, or that normalise a state
//   owner       SHARED by all directions, or each direction's OWN
//   derivative  DIFFERENTIABLE or CONSTANT
#define GATEWISE_INPUTS(X)                                                          \
  X(x, x, "btf", FLOAT, REQUIRED, SHARED, DIFFERENTIABLE)                           \
  X(mask, mask, "bt", BOOL, OPTIONAL, SHARED, CONSTANT)                             \
  X(starts, starts, "bt", BOOL, OPTIONAL, SHARED, CONSTANT)                         \
  X(initial_h, initial_state[0], "bu", FLOAT, OPTIONAL, OWN, DIFFERENTIABLE)        \
  X(initial_c, initial_state[1], "bu", FLOAT, SECOND_STATE, OWN, DIFFERENTIABLE)    \
  X(kernel, kernel, "fg", FLOAT, REQUIRED, OWN, DIFFERENTIABLE)                     \
  X(recurrent_kernel, recurrent_kernel, "ug", FLOAT, REQUIRED, OWN, DIFFERENTIABLE) \
  X(bias, bias, "kg", FLOAT, OPTIONAL, OWN, DIFFERENTIABLE)                         \
  X(recurrent_bias, recurrent_bias, "g", FLOAT, BESIDE_BIAS, OWN, DIFFERENTIABLE)   \
  X(gain, gain, "g", FLOAT, NORMALISED, OWN, DIFFERENTIABLE)                        \
  X(recurrent_gain, recurrent_gain, "g", FLOAT, NORMALISED, OWN, DIFFERENTIABLE)    \
  X(state_gain, state_gain, "u", FLOAT, NORMALISED_STATE, OWN, DIFFERENTIABLE)      \
  X(state_bias, state_bias, "u", FLOAT, NORMALISED_STATE, OWN, DIFFERENTIABLE)      \
  X(epsilon, epsilon, "e", FLOAT, NORMALISED, OWN, CONSTANT)                        \
  X(input_dropout, input_dropout, "mbf", FLOAT, OPTIONAL, OWN, CONSTANT)            \
  X(recurrent_dropout, recurrent_dropout, "nbu", FLOAT, OPTIONAL, OWN, CONSTANT)    \
  X(kept_h, kept[0], "btu", BOOL, OPTIONAL, OWN, CONSTANT)                          \
  X(kept_c, kept[1], "btu", BOOL, SECOND_STATE, OWN, CONSTANT)

// X(name, member, axes, presence, owner): of gatewise_outputs and gatewise_output_gradients. Letters besides: l = timesteps, or 1 without
// return_sequences; v = the units of all directions. SECOND_STATE: absent of cells with one state.
#define GATEWISE_OUTPUTS(X)                    \
  X(outputs, outputs, "blv", REQUIRED, SHARED) \
  X(h, state[0], "bu", REQUIRED, OWN)          \
  X(c, state[1], "bu", SECOND_STATE, OWN)

// X(name): of gatewise_layer, int32_t each.
#define GATEWISE_OPTIONS(X) \
  X(cell)                   \
  X(activation)             \
  X(recurrent_activation)   \
  X(go_backwards)           \
  X(return_sequences)       \
  X(zero_output_for_mask)   \
  X(recompute)              \
  X(torch_layout)           \
  X(zoneout_h)              \
  X(zoneout_c)
