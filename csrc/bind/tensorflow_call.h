// SPDX-License-Identifier: Apache-2.0
// One call of a TensorFlow kernel: its input tensors, their shapes checked, its output tensors, and its failure.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "bind/tensorflow_c_api.h"
#include "engine.h"

// The inputs, in order; the first kLayerInputs are those of the layer, the others come with the way back. Those that each direction has of
// its own stand one after the other, as many as there are directions.
enum {
  kX,
  kInitialState,
  kKernel,
  kRecurrentKernel,
  kBias,
  kMask,
  kInputDropout,
  kRecurrentDropout,
  kLayerInputs,
  kSaved = kLayerInputs,
  kOutputsGradient,
  kStateGradient,
  kGradInputs
};
enum { kMostOutputs = 5, kMostDirections = GATEWISE_MAX_DIRECTIONS };
static const char* const kInputs[] = {"x: float",
                                      "initial_state: directions * float",
                                      "kernel: directions * float",
                                      "recurrent_kernel: directions * float",
                                      "bias: directions * float",
                                      "mask: bool",
                                      "input_dropout: directions * float",
                                      "recurrent_dropout: directions * float",
                                      "saved: directions * bool",
                                      "d_outputs: float",
                                      "d_state: directions * float"};

static bool is_shared(int input) { return input == kX || input == kMask || input == kOutputsGradient; }

// How many of so many inputs all directions share.
static int shared(int inputs) {
  int count = 0;
  for (int i = 0; i < inputs; ++i) count += is_shared(i);
  return count;
}

static int directions_of(int inputs, int tensors) { return (tensors - shared(inputs)) / (inputs - shared(inputs)); }
static int input_place(int input, int direction, int directions) {
  return shared(input) + (input - shared(input)) * directions + (is_shared(input) ? 0 : direction);
}

// The first output belongs to all directions.
static int output_place(int output, int direction, int directions) { return output ? 1 + (output - 1) * directions + direction : 0; }

typedef struct call {
  TF_OpKernelContext* context;
  TF_Status* status;
  TF_Tensor* in[kGradInputs * kMostDirections];
  TF_Tensor* out[kMostOutputs * kMostDirections];
  int directions, direction;  // how many, and which one is asked about
  gatewise_layer layer;
  gatewise_inputs inputs[kMostDirections];
} call;

static bool open_call(call* c, const gatewise_layer* layer, TF_OpKernelContext* context, int inputs) {
  memset(c, 0, sizeof *c);
  c->context = context;
  c->status = TF_NewStatus();
  c->layer = *layer;
  const int tensors = TF_NumInputs(context);
  c->directions = directions_of(inputs, tensors);
  c->layer.directions = c->directions;
  if (c->directions > kMostDirections) {
    TF_SetStatus(c->status, kInvalidArgument,
                 "GatewiseGru: there are too many directions. Expected 1 or 2. Give one list element for each.");
  }
  for (int i = 0; i < tensors && TF_GetCode(c->status) == kOk; ++i) TF_GetInput(context, i, &c->in[i], c->status);
  return TF_GetCode(c->status) == kOk;
}

static TF_Tensor* input_of(const call* c, int input) { return c->in[input_place(input, c->direction, c->directions)]; }

// Hands a failure, if there was one, to TensorFlow.
static void close_call(call* c) {
  if (TF_GetCode(c->status) != kOk) TF_OpKernelContext_Failure(c->context, c->status);
  for (int i = 0; i < kGradInputs * kMostDirections; ++i) {
    if (c->in[i]) TF_DeleteTensor(c->in[i]);
  }
  for (int i = 0; i < kMostOutputs * kMostDirections; ++i) {
    if (c->out[i]) TF_DeleteTensor(c->out[i]);
  }
  TF_DeleteStatus(c->status);
}

// --- Shapes ------------------------------------------------------------------------------------------------------------------------------

typedef struct axis {
  const char* name;
  int64_t size;  // negative: any
} axis;

static bool is_absent(const call* c, int input) { return TF_NumDims(input_of(c, input)) == 1 && TF_Dim(input_of(c, input), 0) == 0; }

static void write_shape(char* text, size_t size, int rank, const axis* axes, const TF_Tensor* tensor) {
  size_t at = (size_t)snprintf(text, size, "(");
  for (int i = 0; i < rank && at < size; ++i) {
    const char* comma = i ? ", " : "";
    if (tensor)
      at += (size_t)snprintf(text + at, size - at, "%s%lld", comma, (long long)TF_Dim(tensor, i));
    else if (axes[i].size < 0)
      at += (size_t)snprintf(text + at, size - at, "%s%s", comma, axes[i].name);
    else
      at += (size_t)snprintf(text + at, size - at, "%s%s=%lld", comma, axes[i].name, (long long)axes[i].size);
  }
  if (at < size) snprintf(text + at, size - at, ")");
}

static bool has_shape(call* c, int input, int rank, const axis* axes) {
  const TF_Tensor* tensor = input_of(c, input);
  bool fits = TF_NumDims(tensor) == rank;
  for (int i = 0; i < rank && fits; ++i) fits = axes[i].size < 0 || axes[i].size == TF_Dim(tensor, i);
  if (fits) return true;
  char expected[160], received[160], which[16] = "", message[512];
  const int name = (int)strcspn(kInputs[input], ":");
  write_shape(expected, sizeof expected, rank, axes, NULL);
  write_shape(received, sizeof received, TF_NumDims(tensor), NULL, tensor);
  if (c->directions > 1 && !is_shared(input)) snprintf(which, sizeof which, "[%d]", c->direction);
  snprintf(message, sizeof message, "GatewiseGru: %.*s%s has the wrong shape. Expected %s; received %s. Check what the layer was given.",
           name, kInputs[input], which, expected, received);
  TF_SetStatus(c->status, kInvalidArgument, message);
  return false;
}

#define SHAPE(c, input, ...) has_shape(c, input, (int)(sizeof((axis[]){__VA_ARGS__}) / sizeof(axis)), (axis[]){__VA_ARGS__})

// Sets the sizes from x and recurrent_kernel.
static bool take_sizes(call* c) {
  if (!SHAPE(c, kX, {"batch", -1}, {"timesteps", -1}, {"features", -1}) || !SHAPE(c, kRecurrentKernel, {"units", -1}, {"3 * units", -1}))
    return false;
  gatewise_layer* s = &c->layer;
  s->batch = TF_Dim(input_of(c, kX), 0);
  s->timesteps = TF_Dim(input_of(c, kX), 1);
  s->features = TF_Dim(input_of(c, kX), 2);
  s->units = TF_Dim(input_of(c, kRecurrentKernel), 0);
  return true;
}

static int64_t dropout_masks(const call* c) {
  const TF_Tensor* factors = input_of(c, kInputDropout);
  return TF_NumDims(factors) == 3 && TF_Dim(factors, 0) == 3 ? 3 : 1;
}

// Checks every input of the layer, in a direction, against the sizes.
static bool check_direction(call* c) {
  const gatewise_layer* s = &c->layer;
  const axis batch = {"batch", s->batch}, timesteps = {"timesteps", s->timesteps}, features = {"features", s->features};
  const axis units = {"units", s->units}, gates = {"3 * units", 3 * s->units}, three = {"gates", 3}, masks = {"masks", dropout_masks(c)};
  return SHAPE(c, kRecurrentKernel, units, gates) && SHAPE(c, kKernel, features, gates) &&
         (is_absent(c, kInitialState) || SHAPE(c, kInitialState, batch, units)) &&
         (is_absent(c, kBias) || (s->cell == GATEWISE_GRU ? SHAPE(c, kBias, {"input and recurrent", 2}, gates) : SHAPE(c, kBias, gates))) &&
         (is_absent(c, kMask) || SHAPE(c, kMask, batch, timesteps)) &&
         (is_absent(c, kInputDropout) || SHAPE(c, kInputDropout, masks, batch, features)) &&
         (is_absent(c, kRecurrentDropout) || SHAPE(c, kRecurrentDropout, three, batch, units));
}

static bool check_layer(call* c) {
  bool fits = take_sizes(c);
  for (c->direction = 0; fits && c->direction < c->directions; ++c->direction) fits = check_direction(c);
  return fits;
}

static int64_t saved_bytes(const call* c) { return gatewise_workspace_floats(&c->layer) * (int64_t)sizeof(float); }

static bool check_gradient(call* c) {
  if (!check_layer(c)) return false;
  const axis batch = {"batch", c->layer.batch}, units = {"units", c->layer.units};
  const axis steps = {"timesteps", c->layer.return_sequences ? c->layer.timesteps : 1},
             all_units = {"units", c->directions * c->layer.units};
  bool fits = SHAPE(c, kOutputsGradient, batch, steps, all_units);
  for (c->direction = 0; fits && c->direction < c->directions; ++c->direction) {
    fits = SHAPE(c, kSaved, {"bytes", saved_bytes(c)}) && SHAPE(c, kStateGradient, batch, units);
  }
  return fits;
}

// --- Data --------------------------------------------------------------------------------------------------------------------------------

static void* data(const call* c, int input) { return is_absent(c, input) ? NULL : TF_TensorData(input_of(c, input)); }

static void read_inputs(call* c) {
  for (c->direction = 0; c->direction < c->directions; ++c->direction) {
    gatewise_inputs* in = &c->inputs[c->direction];
    in->x = TF_TensorData(input_of(c, kX));
    in->initial_state[0] = data(c, kInitialState);
    in->mask = data(c, kMask);
    in->kernel = TF_TensorData(input_of(c, kKernel));
    in->recurrent_kernel = TF_TensorData(input_of(c, kRecurrentKernel));
    in->bias = data(c, kBias);
    in->input_dropout = data(c, kInputDropout);
    in->input_dropout_masks = dropout_masks(c);
    in->recurrent_dropout = data(c, kRecurrentDropout);
  }
}

static void* allocate(call* c, int output, int type, int rank, const int64_t* shape) {
  if (TF_GetCode(c->status) != kOk) return NULL;
  size_t bytes = type == kFloat ? sizeof(float) : 1;
  for (int i = 0; i < rank; ++i) bytes *= (size_t)shape[i];
  const int at = output_place(output, c->direction, c->directions);
  c->out[at] = TF_AllocateOutput(c->context, at, type, shape, rank, bytes, c->status);
  return TF_GetCode(c->status) == kOk ? TF_TensorData(c->out[at]) : NULL;
}

// Allocates an output in the shape of an input.
static void* allocate_like(call* c, int output, int input) {
  int64_t shape[3] = {0};
  const int rank = TF_NumDims(input_of(c, input));
  for (int i = 0; i < rank; ++i) shape[i] = TF_Dim(input_of(c, input), i);
  void* memory = allocate(c, output, kFloat, rank, shape);
  return is_absent(c, input) ? NULL : memory;
}

static void report(call* c, int engine_status) {
  if (engine_status == GATEWISE_OUT_OF_MEMORY) {
    TF_SetStatus(c->status, kResourceExhausted, "GatewiseGru: no memory for the engine's scratch. Use a smaller batch.");
  } else if (engine_status != GATEWISE_OK) {
    TF_SetStatus(c->status, kInvalidArgument,
                 "GatewiseGru: a size is out of range. Expected features and units of at least 1. "
                 "Check the shapes of x and recurrent_kernel.");
  }
}
