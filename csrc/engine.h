// SPDX-License-Identifier: Apache-2.0
// The engine's C interface: everything that NumPy, TensorFlow, JAX and torch call.
//
// Letters: B = batch, T = timesteps, F = features, U = units. Arrays are float32, C-contiguous, in host memory, aligned to 4 bytes at
// least. Gates stand in the order z | r | h (update, reset, candidate), unless weights are in PyTorch's layout. The caller owns every
// array; the engine keeps no pointer after a call returns and writes only what is named an output. Outputs must not overlap anything, but
// `state` may be `initial_state`; inputs may overlap each other. Calls may run concurrently from any threads. No function throws, prints or
// aborts.
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
  GATEWISE_INVALID = 1,       // a size below its range, or an unknown activation
  GATEWISE_OUT_OF_MEMORY = 2  // scratch could not be allocated; outputs are undefined
};

enum gatewise_activation {
  GATEWISE_TANH = 0,
  GATEWISE_SIGMOID = 1,
  GATEWISE_RELU = 2,
  GATEWISE_LINEAR = 3,
  GATEWISE_HARD_SIGMOID = 4  // Keras 3: relu6(x + 3) / 6
};

// What is computed, apart from the numbers themselves.
typedef struct gatewise_gru_spec {
  int64_t batch;      // B >= 0
  int64_t timesteps;  // T >= 0
  int64_t features;   // F >= 1
  int64_t units;      // U >= 1
  int32_t reset_after;
  int32_t activation;            // of the candidate; enum gatewise_activation
  int32_t recurrent_activation;  // of the gates z and r; enum gatewise_activation
  int32_t go_backwards;          // inputs and mask are read from the last step to the first; outputs are in processing order
  int32_t return_sequences;      // 0: `outputs` holds the last output alone
  int32_t zero_output_for_mask;  // a masked step's output: 1 zeros; 0 the previous output (zeros before the first valid step)
  int32_t recompute;             // 1: the way back finds the gates again from a few saved states, in about a third more time
  int32_t torch_layout;          // weights and their gradients: 0 in Keras's layout, 1 in PyTorch's
} gatewise_gru_spec;

typedef struct gatewise_gru_inputs {
  const float* x;                  // (B, T, F); masked steps are never read
  const float* initial_state;      // (B, U), or null: zeros
  const uint8_t* mask;             // (B, T), nonzero = valid, or null: every step is valid. A masked step keeps the state.
  const float* kernel;             // (F, 3U); PyTorch's: (3U, F), gates r | z | h
  const float* recurrent_kernel;   // (U, 3U); PyTorch's: (3U, U), gates r | z | h
  const float* bias;               // (2, 3U) [input, recurrent] if reset_after, else (3U,); PyTorch's: (3U,), of the input; or null: zeros
  const float* recurrent_bias;     // PyTorch's, if there is a bias and reset_after: (3U,); else null
  const float* input_dropout;      // (input_dropout_masks, B, F), factors on x, the same at every step; or null
  int64_t input_dropout_masks;     // 1: one factor for all gates; 3: one for each gate
  const float* recurrent_dropout;  // (3, B, U), factors on the previous state, one for each gate; or null
  // What gatewise_gru_pack wrote of the weights, which a forward call then does not read, unless dropout gives each gate rows of its own;
  // or null.
  const float* packed;
} gatewise_gru_inputs;

typedef struct gatewise_gru_outputs {
  float* outputs;  // (B, T, U), or (B, 1, U) without return_sequences; or null: not wanted
  float* state;    // (B, U), the state after the last step
  float* saved;    // gatewise_gru_saved_floats() floats for the way back, or null: nothing is saved
} gatewise_gru_outputs;

typedef struct gatewise_gru_gradients {
  float* x;                 // (B, T, F), zeros in masked steps; or null: not wanted
  float* initial_state;     // (B, U), or null
  float* kernel;            // as the kernel
  float* recurrent_kernel;  // as the recurrent kernel
  float* bias;              // as the bias; null if there is none
  float* recurrent_bias;    // likewise
} gatewise_gru_gradients;

// How many floats a forward call saves for the backward call of the same spec: about 4 BTU; with `recompute` about BU sqrt(T). The layout
// is private to the instruction set in use.
GATEWISE_API int64_t gatewise_gru_saved_floats(const gatewise_gru_spec* spec);

// Weights in the engine's own layout, for calls that use the same weights again and again: gatewise_gru_packed_floats() floats, 64-byte
// aligned, private to the instruction set in use. Of the spec they read units, features, reset_after and torch_layout, of the inputs the
// weights.
GATEWISE_API int64_t gatewise_gru_packed_floats(const gatewise_gru_spec* spec);
GATEWISE_API int gatewise_gru_pack(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, float* packed);

// Runs the layer over the sequences. Returns a gatewise_status.
GATEWISE_API int gatewise_gru_forward(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, const gatewise_gru_outputs* out);

// The vector-Jacobian product of gatewise_gru_forward.
//   saved:     what the forward call with the same spec and inputs wrote
//   d_outputs: gradient of `outputs`, same shape, or null: zeros
//   d_state:   gradient of `state`, (B, U), or null: zeros
// Returns a gatewise_status.
GATEWISE_API int gatewise_gru_backward(const gatewise_gru_spec* spec, const gatewise_gru_inputs* in, const float* saved,
                                       const float* d_outputs, const float* d_state, const gatewise_gru_gradients* out);

// A layer of both directions: two calls as one, which computes what gatewise_gru_forward does with `in[0]` and, reading the other way, with
// `in[1]`. Both have the same x and mask. Outputs stand side by side, (B, T, 2U) or (B, 1, 2U), in the processing order of the first; they
// are out[0].outputs, which both halves are written to. Threads go from one direction to the other without waiting for each other.
GATEWISE_API int gatewise_gru_forward_both(const gatewise_gru_spec* spec, const gatewise_gru_inputs in[2],
                                           const gatewise_gru_outputs out[2]);

// The vector-Jacobian product of gatewise_gru_forward_both: saved, d_state and the gradients are those of each direction;
// d_outputs has both halves; out[0].x is the sum of both directions' gradients of x. Counts as two calls, as does the way forward.
GATEWISE_API int gatewise_gru_backward_both(const gatewise_gru_spec* spec, const gatewise_gru_inputs in[2], const float* const saved[2],
                                            const float* d_outputs, const float* const d_state[2], const gatewise_gru_gradients out[2]);

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

// How many forward and backward calls the engine has completed in this process.
GATEWISE_API int64_t gatewise_forward_calls(void);
GATEWISE_API int64_t gatewise_backward_calls(void);

#ifdef __cplusplus
}
#endif
