// SPDX-License-Identifier: Apache-2.0
// The engine as TensorFlow operations, through TensorFlow's C API: no mathematics, no TensorFlow header.
//
//   GatewiseGru       runs the layer:            x ... recurrent_dropout                        -> outputs, state
//   GatewiseGruTrain  the same, and saves:       x ... recurrent_dropout                        -> outputs, state, saved
//   GatewiseGruGrad   the way back:              x ... recurrent_dropout, saved, d_outputs, d_state
//                                                -> d_x, d_initial_state, d_kernel, d_recurrent_kernel, d_bias
//
// A layer has one direction or two, of which the second reads the other way. Each has its own initial_state, kernel, recurrent_kernel,
// bias, factors of dropout, state and saved, and their gradients: lists, of one or two. Their outputs stand side by side, (batch,
// timesteps, directions * units), all in the processing order of the first; d_x is the sum of theirs.
//
// Shapes are those of engine.h. An optional input that is absent is a tensor of shape (0,), and so is its gradient; d_x is (0,) as well
// unless the attribute x_gradient is set.
//
// `saved` holds the engine's floats and is declared bool, of one byte each: TensorFlow makes up a gradient of zeros for every unused
// output of a float type, which would be the largest array of the training step; for bool it makes none.
//
// The operations are registered when this library is loaded (tf.load_op_library does that, once). If TensorFlow lacks a function,
// nothing is registered and gatewise_tensorflow_problem() says why.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bind/tensorflow_c_api.h"
#include "bind/tensorflow_call.h"
#include "engine.h"

// --- Attributes --------------------------------------------------------------------------------------------------------------------------

typedef struct attributes {
  gatewise_layer layer;  // directions and sizes are set by each call
  bool x_gradient;
} attributes;

static const char* const kActivations[] = {"tanh", "sigmoid", "relu", "linear", "hard_sigmoid"};  // as enum gatewise_activation
enum { kActivationCount = 5 };

static bool read_flag(TF_OpKernelConstruction* construction, const char* name, TF_Status* status) {
  unsigned char flag = 0;
  if (TF_GetCode(status) == kOk) TF_OpKernelConstruction_GetAttrBool(construction, name, &flag, status);
  return flag != 0;
}

static int32_t read_activation(TF_OpKernelConstruction* construction, const char* name, TF_Status* status) {
  char text[16] = "";
  if (TF_GetCode(status) == kOk) TF_OpKernelConstruction_GetAttrString(construction, name, text, sizeof text - 1, status);
  for (int32_t i = 0; i < kActivationCount; ++i) {
    if (strcmp(text, kActivations[i]) == 0) return i;
  }
  return -1;  // the engine refuses it; the operation's definition allows no such text
}

static void* create_kernel(TF_OpKernelConstruction* construction, bool is_gradient) {
  attributes* kernel = calloc(1, sizeof *kernel);
  TF_Status* status = TF_NewStatus();
  if (!kernel) {
    TF_SetStatus(status, kResourceExhausted, "Gatewise: no memory for a kernel's attributes. Free memory and try again.");
  } else {
    kernel->layer.struct_size = sizeof kernel->layer;
    kernel->layer.cell = read_flag(construction, "reset_after", status) ? GATEWISE_GRU : GATEWISE_GRU_RESET_BEFORE;
    kernel->layer.activation = read_activation(construction, "activation", status);
    kernel->layer.recurrent_activation = read_activation(construction, "recurrent_activation", status);
    kernel->layer.go_backwards = read_flag(construction, "go_backwards", status);
    kernel->layer.return_sequences = read_flag(construction, "return_sequences", status);
    kernel->layer.zero_output_for_mask = read_flag(construction, "zero_output_for_mask", status);
    kernel->layer.recompute = read_flag(construction, "recompute", status);
    kernel->x_gradient = is_gradient && read_flag(construction, "x_gradient", status);
  }
  if (TF_GetCode(status) != kOk) TF_OpKernelConstruction_Failure(construction, status);
  TF_DeleteStatus(status);
  return kernel;
}

static void* create_layer(TF_OpKernelConstruction* construction) { return create_kernel(construction, false); }
static void* create_gradient(TF_OpKernelConstruction* construction) { return create_kernel(construction, true); }

// --- Kernels -----------------------------------------------------------------------------------------------------------------------------

static void run_layer(const attributes* kernel, TF_OpKernelContext* context, bool saves) {
  call c;
  if (open_call(&c, &kernel->layer, context, kLayerInputs) && check_layer(&c)) {
    const gatewise_layer* s = &c.layer;
    gatewise_outputs out[kMostDirections] = {0};
    const int64_t steps = s->return_sequences ? s->timesteps : 1;
    out->outputs = allocate(&c, 0, kFloat, 3, (int64_t[]){s->batch, steps, c.directions * s->units});
    for (c.direction = 0; c.direction < c.directions; ++c.direction) {
      out[c.direction].state[0] = allocate(&c, 1, kFloat, 2, (int64_t[]){s->batch, s->units});
      if (saves) out[c.direction].workspace = allocate(&c, 2, kBool, 1, (int64_t[]){saved_bytes(&c)});
    }
    read_inputs(&c);
    if (TF_GetCode(c.status) == kOk) report(&c, gatewise_forward(s, c.inputs, out));
  }
  close_call(&c);
}

static void compute_gru(void* kernel, TF_OpKernelContext* context) { run_layer(kernel, context, false); }
static void compute_gru_train(void* kernel, TF_OpKernelContext* context) { run_layer(kernel, context, true); }

static void compute_gru_grad(void* state, TF_OpKernelContext* context) {
  const attributes* kernel = state;
  call c;
  if (open_call(&c, &kernel->layer, context, kGradInputs) && check_gradient(&c)) {
    gatewise_output_gradients of[kMostDirections] = {0};
    gatewise_gradients out[kMostDirections] = {0};
    of->outputs = TF_TensorData(input_of(&c, kOutputsGradient));
    if (kernel->x_gradient)
      out->x = allocate_like(&c, 0, kX);
    else
      allocate(&c, 0, kFloat, 1, (int64_t[]){0});
    for (c.direction = 0; c.direction < c.directions; ++c.direction) {
      gatewise_gradients* own = &out[c.direction];
      own->initial_state[0] = allocate_like(&c, 1, kInitialState);
      own->kernel = allocate_like(&c, 2, kKernel);
      own->recurrent_kernel = allocate_like(&c, 3, kRecurrentKernel);
      own->bias = allocate_like(&c, 4, kBias);
      of[c.direction].workspace = TF_TensorData(input_of(&c, kSaved));
      of[c.direction].state[0] = TF_TensorData(input_of(&c, kStateGradient));
    }
    read_inputs(&c);
    if (TF_GetCode(c.status) == kOk) report(&c, gatewise_backward(&c.layer, c.inputs, of, out));
  }
  close_call(&c);
}

// --- Static shapes -----------------------------------------------------------------------------------------------------------------------

// outputs (batch, ?, units or, of two directions, ?), state (batch, units). The time axis hangs on an attribute, which a shape function of
// the C API cannot read, nor can it multiply; src/gatewise/ops/tensorflow/ fills both in.
static void infer_layer(TF_ShapeInferenceContext* context, TF_Status* status) {
  const int directions = directions_of(kLayerInputs, (int)TF_ShapeInferenceContextNumInputs(context));
  TF_ShapeHandle *batch = TF_NewShapeHandle(), *units = TF_NewShapeHandle(), *shape = TF_NewShapeHandle();
  TF_ShapeHandle* unknown = TF_ShapeInferenceContextVectorFromSize(context, (size_t)-1);
  TF_ShapeInferenceContextGetInput(context, kX, batch, status);
  if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextWithRank(context, batch, 3, batch, status);
  if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextSubshape(context, batch, 0, 1, batch, status);
  if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextGetInput(context, input_place(kRecurrentKernel, 0, directions), units, status);
  if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextWithRank(context, units, 2, units, status);
  if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextSubshape(context, units, 0, 1, units, status);
  if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextConcatenateShapes(context, batch, units, shape, status);
  for (int i = 0; i < directions && TF_GetCode(status) == kOk; ++i) {
    TF_ShapeInferenceContextSetOutput(context, output_place(1, i, directions), shape, status);
  }
  if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextConcatenateShapes(context, batch, unknown, shape, status);
  if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextConcatenateShapes(context, shape, directions > 1 ? unknown : units, shape, status);
  if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextSetOutput(context, 0, shape, status);
  TF_DeleteShapeHandle(batch);
  TF_DeleteShapeHandle(units);
  TF_DeleteShapeHandle(shape);
  TF_DeleteShapeHandle(unknown);
}

// Each gradient has the shape of its input; that of d_x hangs on an attribute too.
static void infer_gradient(TF_ShapeInferenceContext* context, TF_Status* status) {
  static const int kOf[kMostOutputs] = {kX, kInitialState, kKernel, kRecurrentKernel, kBias};
  const int directions = directions_of(kGradInputs, (int)TF_ShapeInferenceContextNumInputs(context));
  TF_ShapeHandle* shape = TF_NewShapeHandle();
  for (int i = 0; i < (kMostOutputs - 1) * directions && TF_GetCode(status) == kOk; ++i) {
    const int output = 1 + i / directions, direction = i % directions;
    TF_ShapeInferenceContextGetInput(context, input_place(kOf[output], direction, directions), shape, status);
    if (TF_GetCode(status) == kOk) TF_ShapeInferenceContextSetOutput(context, output_place(output, direction, directions), shape, status);
  }
  TF_DeleteShapeHandle(shape);
}

// --- Registration ------------------------------------------------------------------------------------------------------------------------

typedef struct operation {
  const char* name;
  int inputs;
  const char* outputs[kMostOutputs];
  bool is_gradient;
  compute_function compute;
} operation;

static const operation kOperations[] = {
    {"GatewiseGru", kLayerInputs, {"outputs: float", "state: directions * float"}, false, compute_gru},
    {"GatewiseGruTrain",
     kLayerInputs,
     {"outputs: float", "state: directions * float", "saved: directions * bool"},
     false,
     compute_gru_train},
    {"GatewiseGruGrad",
     kGradInputs,
     {"d_x: float", "d_initial_state: directions * float", "d_kernel: directions * float", "d_recurrent_kernel: directions * float",
      "d_bias: directions * float"},
     true,
     compute_gru_grad},
};

static char problem[256];

// What kept the operations from being registered, or null.
GATEWISE_API const char* gatewise_tensorflow_problem(void);
const char* gatewise_tensorflow_problem(void) { return problem[0] ? problem : NULL; }

static void register_operation(const operation* op, TF_Status* status) {
  TF_OpDefinitionBuilder* builder = TF_NewOpDefinitionBuilder(op->name);
  for (int i = 0; i < op->inputs; ++i) TF_OpDefinitionBuilderAddInput(builder, kInputs[i]);
  for (int i = 0; i < kMostOutputs && op->outputs[i]; ++i) TF_OpDefinitionBuilderAddOutput(builder, op->outputs[i]);
  static const char* const kAttributes[] = {"directions: int >= 1",
                                            "reset_after: bool",
                                            "go_backwards: bool",
                                            "return_sequences: bool",
                                            "zero_output_for_mask: bool",
                                            "recompute: bool",
                                            "activation: {'tanh', 'sigmoid', 'relu', 'linear', 'hard_sigmoid'}",
                                            "recurrent_activation: {'tanh', 'sigmoid', 'relu', 'linear', 'hard_sigmoid'}"};
  for (size_t i = 0; i < sizeof kAttributes / sizeof kAttributes[0]; ++i) TF_OpDefinitionBuilderAddAttr(builder, kAttributes[i]);
  if (op->is_gradient) TF_OpDefinitionBuilderAddAttr(builder, "x_gradient: bool");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(builder, op->is_gradient ? infer_gradient : infer_layer);
  TF_RegisterOpDefinition(builder, status);
  if (TF_GetCode(status) != kOk) return;
  create_function create = op->is_gradient ? create_gradient : create_layer;
  TF_RegisterKernelBuilder(op->name, TF_NewKernelBuilder(op->name, "CPU", create, op->compute, free), status);
}

__attribute__((constructor)) static void register_operations(void) {
  const char* missing = find_tensorflow();
  if (missing) {
    snprintf(problem, sizeof problem, "this TensorFlow lacks the function %s of its C API", missing);
    return;
  }
  TF_Status* status = TF_NewStatus();
  for (size_t i = 0; i < sizeof kOperations / sizeof kOperations[0] && TF_GetCode(status) == kOk; ++i) {
    register_operation(&kOperations[i], status);
  }
  if (TF_GetCode(status) != kOk) snprintf(problem, sizeof problem, "TensorFlow refused the operations: %s", TF_Message(status));
  TF_DeleteStatus(status);
}
