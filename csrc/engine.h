// SPDX-License-Identifier: Apache-2.0
// The engine's C interface, version 2: everything that NumPy, TensorFlow, JAX and torch call.
//
// Letters: B = batch, T = timesteps, F = features, U = units, G = gates of the cell. Arrays are float32, C-contiguous, in host memory,
// aligned to 4 bytes at least. Gates stand in the cell's order, unless weights are in PyTorch's layout. The caller owns every array; the
// engine keeps no pointer after a call returns and writes only what is named an output. Outputs must not overlap anything, but a state may
// be its initial state; inputs may overlap each other. Calls may run concurrently from any threads. No function throws, prints or aborts.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define GATEWISE_API __attribute__((visibility("default")))
#else
#define GATEWISE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum gatewise_status {
  GATEWISE_OK = 0,
  GATEWISE_INVALID = 1,       // a size out of its range, an unknown cell, format or activation, or a layer of another version
  GATEWISE_OUT_OF_MEMORY = 2  // scratch could not be allocated; outputs are undefined
};

// What is computed at a step; see csrc/cells/.
enum gatewise_cell {
  GATEWISE_GRU = 0,                          // gates z | r | h; PyTorch's order r | z | n. Keras's reset_after=True, and PyTorch's
  GATEWISE_GRU_RESET_BEFORE = 1,             // likewise; Keras's reset_after=False
  GATEWISE_LSTM = 2,                         // gates i | f | g | o, here and in PyTorch; states h, c
  GATEWISE_SIMPLE_RNN = 3,                   // one gate
  GATEWISE_LAYER_NORM_GRU = 4,               // as GATEWISE_GRU, with each gate's products normalised over its units; one bias a gate
  GATEWISE_LAYER_NORM_GRU_RESET_BEFORE = 5,  // as GATEWISE_GRU_RESET_BEFORE; likewise
  GATEWISE_LAYER_NORM_LSTM = 6               // as GATEWISE_LSTM; likewise, and the new c before its activation
};

// In what words packed weights stand; see csrc/formats/.
enum gatewise_format { GATEWISE_F32 = 0 };

enum gatewise_activation {
  GATEWISE_TANH = 0,
  GATEWISE_SIGMOID = 1,
  GATEWISE_RELU = 2,
  GATEWISE_LINEAR = 3,
  GATEWISE_HARD_SIGMOID = 4  // Keras 3: relu6(x + 3) / 6
};

enum { GATEWISE_MAX_DIRECTIONS = 2, GATEWISE_MAX_STATES = 2 };

// What a caller has to know of a cell to lay out its arrays.
typedef struct gatewise_cell_facts {
  int32_t gates;             // G, 1 to 4: column blocks of both kernels
  int32_t states;            // 1 or 2
  int32_t recurrent_bias;    // whether the recurrent weights have a bias of their own
  int32_t workspace;         // floats a unit and step that are kept for the backward pass, at most
  int32_t normalises;        // whether it normalises the products of its gates, and so has gains
  int32_t normalises_state;  // whether it normalises its second state, too
} gatewise_cell_facts;

// A layer and its options: what is computed, apart from the numbers themselves.
typedef struct gatewise_layer {
  int64_t struct_size;           // sizeof(gatewise_layer), by which the engine tells the version of its caller
  int32_t cell;                  // enum gatewise_cell
  int32_t format;                // enum gatewise_format
  int32_t directions;            // 1; or 2, of which the second reads the other way
  int32_t activation;            // of the candidate; enum gatewise_activation
  int32_t recurrent_activation;  // of the gates; enum gatewise_activation
  int32_t go_backwards;          // inputs and mask are read from the last step to the first; outputs are in processing order
  int32_t return_sequences;      // 0: `outputs` holds the last output alone
  int32_t zero_output_for_mask;  // a masked step's output: 1 zeros; 0 the previous output (zeros before the first valid step)
  int32_t recompute;             // 1: the backward pass runs the forward pass again, from a few kept states, in about a third more time
  int32_t torch_layout;          // weights and their gradients: 0 in Keras's layout, 1 in PyTorch's
  int32_t zoneout_h;             // what part of h, 0 to 1, a step keeps as it was before: the bits of a float32. See `kept`
  int32_t zoneout_c;             // likewise, of the second state
  int64_t batch;                 // B, 0 to 2**31 - 1
  int64_t timesteps;             // T, likewise
  int64_t features;              // F >= 1
  int64_t units;                 // U >= 1
} gatewise_layer;

// The inputs of a direction. States are by number; the first is h. Those that a cell does not have are not looked at.
typedef struct gatewise_inputs {
  const float* x;                                   // (B, T, F), the same for both directions; masked steps are never read
  const uint8_t* mask;                              // (B, T), the same for both, nonzero = valid, or null: every step is valid. A masked
                                                    // step keeps the states.
  const uint8_t* starts;                            // (B, T), the same for both, nonzero = a boundary before that step in time, masked
                                                    // or not, which no state and no gradient crosses: whoever reads on beyond it
                                                    // begins with the initial state, and no output repeats one from before it. Or null
  const float* initial_state[GATEWISE_MAX_STATES];  // (B, U) each, or null: zeros
  const float* kernel;                              // (F, GU); PyTorch's: (GU, F)
  const float* recurrent_kernel;                    // (U, GU); PyTorch's: (GU, U)
  const float* bias;                                // (GU,), or (2, GU) [input, recurrent] of a cell with both; PyTorch's: (GU,), of the
                                                    // input; or null: zeros
  const float* recurrent_bias;                      // PyTorch's, beside a bias: (GU,), which a cell with one adds to it; or null
  // Of a cell that normalises, or null:
  const float* gain;               // (GU,), of the products with x; null: ones
  const float* recurrent_gain;     // (GU,), of the products with h; null: ones
  const float* state_gain;         // (U,), of the second state; null: ones
  const float* state_bias;         // (U,), likewise; null: zeros
  const float* epsilon;            // (1,), what is added to variances, above 0; null: 0.001
  const float* input_dropout;      // (input_dropout_masks, B, F), factors on x, the same at every step; or null
  int64_t input_dropout_masks;     // 1: one factor for all gates; G: one for each gate
  const float* recurrent_dropout;  // (G, B, U), factors on h before a step, one for each gate; or null
  // Zoneout: (B, T, U) by state, nonzero = the step keeps the state as it was before; of h, the output too. Or null: a step gives
  // part * before + (1 - part) * after, by the layer's zoneout_h and zoneout_c. Either way h follows from c as the cell computed it.
  const uint8_t* kept[GATEWISE_MAX_STATES];
  int64_t restarts_with_zeros;  // 1: what is behind a start begins with zeros, not with initial_state; of a forward call alone
  // What gatewise_pack wrote of the weights, which a forward call then does not read, unless dropout gives each gate rows of its own; or
  // null.
  const float* packed;
} gatewise_inputs;

// The outputs of a direction.
typedef struct gatewise_outputs {
  float* outputs;                     // (B, T, U), or (B, 1, U) without return_sequences; or null: not wanted. Of two directions (B, T, 2U)
                                      // or (B, 1, 2U), in the processing order of the first; the second's pointer is not looked at.
  float* state[GATEWISE_MAX_STATES];  // (B, U) each, after the last step
  float* workspace;                   // gatewise_workspace_floats() floats for the backward pass, or null: nothing is kept
} gatewise_outputs;

// The gradients of these, in the same shapes; null: zeros.
typedef struct gatewise_output_gradients {
  const float* outputs;
  const float* state[GATEWISE_MAX_STATES];
  const float* workspace;  // what the forward call with the same layer and inputs wrote; not null
} gatewise_output_gradients;

typedef struct gatewise_gradients {
  float* x;                                   // (B, T, F), zeros in masked steps; or null: not wanted. Of two directions the sum, in the
                                              // first's
  float* initial_state[GATEWISE_MAX_STATES];  // (B, U) each, or null; with starts the sum over what began with it
  float* kernel;                              // as the kernel
  float* recurrent_kernel;                    // as the recurrent kernel
  float* bias;                                // as the bias; null if there is none
  float* recurrent_bias;                      // likewise
  float* gain;                                // (GU,), or null
  float* recurrent_gain;                      // (GU,), or null
  float* state_gain;                          // (U,), or null
  float* state_bias;                          // (U,), or null
} gatewise_gradients;

// Tells what a cell is. Returns a gatewise_status.
GATEWISE_API int gatewise_facts_of(int32_t cell, gatewise_cell_facts* facts);

// How many floats a direction keeps from the forward to the backward pass: some 4 BTU; with `recompute` about BU sqrt(T). Their layout is
// private to the instruction set in use. 0 if the layer is invalid.
GATEWISE_API int64_t gatewise_workspace_floats(const gatewise_layer* layer);

// The weights of a direction as the engine multiplies with them, for calls that use them again and again: gatewise_packed_floats() floats,
// 64-byte aligned, private to the instruction set in use. Of the layer they read cell, format, units, features and torch_layout, of the
// inputs the weights.
GATEWISE_API int64_t gatewise_packed_floats(const gatewise_layer* layer);
GATEWISE_API int gatewise_pack(const gatewise_layer* layer, const gatewise_inputs* in, float* packed);

// Runs the layer over the sequences; `in` and `out` have an element for each direction. Returns a gatewise_status. Threads go from one
// direction to the other without waiting for each other.
GATEWISE_API int gatewise_forward(const gatewise_layer* layer, const gatewise_inputs* in, const gatewise_outputs* out);

// The vector-Jacobian product of gatewise_forward. Returns a gatewise_status.
GATEWISE_API int gatewise_backward(const gatewise_layer* layer, const gatewise_inputs* in, const gatewise_output_gradients* of,
                                   const gatewise_gradients* out);

// One step of many streams, whose states stand in arrays of the caller's and are replaced in place. Strides in floats.
typedef struct gatewise_streams {
  const float* x;                     // B rows of F
  int64_t x_stride;                   // from a row to the next
  const int64_t* row;                 // (B,) the place of each row in the state arrays, all different; or null: 0, 1, 2 ...
  float* state[GATEWISE_MAX_STATES];  // rows of U
  int64_t state_stride;               // from a row to the next, at least U
  float* outputs;                     // (B, U), the first states once more; or null
} gatewise_streams;

// Runs a step of the layer, of one direction: the bits of gatewise_forward over one step, and no other row changes. Of the layer it does
// not read timesteps, go_backwards, return_sequences, zero_output_for_mask and recompute. `packed` is what gatewise_pack wrote. Returns a
// gatewise_status.
GATEWISE_API int gatewise_step(const gatewise_layer* layer, const float* packed, const gatewise_streams* streams);

// The number of threads a call may use, the caller's included. n >= 1 is honoured as given; n = 0 restores the default: the
// GATEWISE_NUM_THREADS variable, else the number of CPUs that affinity and cgroup quota allow. Results do not depend on it, bit for bit.
GATEWISE_API void gatewise_set_num_threads(int n);
GATEWISE_API int gatewise_num_threads(void);

// Threads of someone else's: calls work(context) on up to n threads at once, the caller's included, and returns when all calls have.
typedef void (*gatewise_threads)(int n, void (*work)(void* context), void* context);

// Chooses whose threads serve the calls that this thread makes from now on; null, the default, is the engine's own pool. For a framework
// whose idle threads spin: a second pool would have to share the CPUs with them. Results do not depend on it, bit for bit.
GATEWISE_API void gatewise_use_threads(gatewise_threads threads);

// The instruction set in use: "generic", "avx2" or "avx512". GATEWISE_ISA in the environment overrides the choice if the CPU has it.
GATEWISE_API const char* gatewise_isa(void);

// Chooses the instruction set for the calls that follow, for tests. What was saved under another one cannot be used. Returns 0 if the
// name is unknown or the CPU lacks it, else 1.
GATEWISE_API int gatewise_set_isa(const char* name);

// How many forward and backward calls the engine has completed in this process; one of two directions counts as two.
GATEWISE_API int64_t gatewise_forward_calls(void);
GATEWISE_API int64_t gatewise_backward_calls(void);

#ifdef __cplusplus
}
#endif
