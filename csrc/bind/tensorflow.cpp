// SPDX-License-Identifier: Apache-2.0
// The engine as TensorFlow operations, through TensorFlow's C API: no mathematics, no TensorFlow header.
//
//   GatewiseRnn       runs the layer:                                x, mask, each direction's inputs -> outputs, states
//   GatewiseRnnTrain  the same, and keeps what the backward pass needs:                               -> outputs, states, workspace
//   GatewiseRnnGrad   the backward pass: x, mask, d_outputs, each direction's inputs, workspace, d_states
//                                                                          -> d_x, the gradients of each direction's inputs
//
// Inputs, outputs and attributes are the rows of operands.h, in its order. What each direction has of its own is a list, of one element or
// two. Their outputs stand side by side; d_x is the sum of theirs.
//
// Shapes are those of engine.h. What is absent is a tensor of shape (0,), and so is its gradient; d_x is (0,) as well unless the attribute
// x_gradient is set.
//
// `workspace` holds the engine's floats and is declared bool, of one byte each: TensorFlow makes up a gradient of zeros for every unused
// output of a float type, which would be the largest array of the training step; for bool it makes none.
//
// The operations are registered when this library is loaded (tf.load_op_library does that, once). If TensorFlow lacks a function,
// nothing is registered and gatewise_tensorflow_problem() says why.
#include <stdint.h>
#include <stdio.h>

#include <new>
#include <string>

#include "bind/layer.h"
#include "bind/tensorflow_c_api.h"
#include "bind/tensorflow_call.h"
#include "engine.h"

namespace gatewise_bind {
namespace {

// --- Attributes --------------------------------------------------------------------------------------------------------------------------

struct Attributes {
  gatewise_layer layer{};  // directions and sizes are set by each call
  bool x_gradient = false;
};

template <bool is_gradient>
void* create(TF_OpKernelConstruction* construction) {
  auto* const kernel = new (std::nothrow) Attributes;
  TF_Status* const status = TF_NewStatus();
  if (kernel) {
    kernel->layer.struct_size = sizeof kernel->layer;
    for (size_t i = 0; i < kOptionCount && is_ok(status); ++i) {
      int32_t value = 0;
      TF_OpKernelConstruction_GetAttrInt32(construction, kOptions[i], &value, status);
      set_option(kernel->layer, i, value);
    }
    unsigned char x_gradient = 0;
    if (is_gradient && is_ok(status)) TF_OpKernelConstruction_GetAttrBool(construction, "x_gradient", &x_gradient, status);
    kernel->x_gradient = x_gradient != 0;
  } else {
    TF_SetStatus(status, kResourceExhausted, complaint(GATEWISE_OUT_OF_MEMORY));
  }
  if (!is_ok(status)) TF_OpKernelConstruction_Failure(construction, status);
  TF_DeleteStatus(status);
  return kernel;
}

void destroy(void* kernel) { delete static_cast<Attributes*>(kernel); }

// How many inputs that all directions share have a gradient.
constexpr size_t shared_gradients() {
  size_t count = 0;
  for (const Operand& row : kInputs) count += row.owner == SHARED && row.derivative == DIFFERENTIABLE;
  return count;
}

// --- Kernels -----------------------------------------------------------------------------------------------------------------------------

template <bool keeps_workspace>
void forward(const Attributes&, Call& call) {
  const Layer& layer = call.layer();
  gatewise_outputs out[kMostDirections]{};
  Places to(kSharedOutputs, call.directions());
  for (size_t i = 0; i < kOutputCount; ++i) {
    const size_t place = to.next(kOutputs[i].owner);
    for (size_t d = 0; d < call.count(kOutputs[i]); ++d) {
      set_output(out[d], i,
                 layer.exists(kOutputs[i]) ? call.allocate(place + d, layer.shape_of(kOutputs[i])) : call.allocate_absent(place + d));
    }
  }
  for (size_t d = 0; keeps_workspace && d < call.directions(); ++d) out[d].workspace = call.allocate_workspace(to.own + d);
  call.report(gatewise_forward(&layer.layer, layer.in, out));
}

void backward(const Attributes& kernel, Call& call) {
  const Layer& layer = call.layer();
  gatewise_output_gradients of[kMostDirections]{};
  gatewise_gradients out[kMostDirections]{};
  call.take_gradients(of);
  Places to(shared_gradients(), call.directions());
  for (size_t i = 0; i < kInputCount; ++i) {
    const Operand& row = kInputs[i];
    if (row.derivative == CONSTANT) continue;
    const size_t place = to.next(row.owner);
    for (size_t d = 0; d < call.count(row); ++d) {
      const bool is_wanted = call.has(i, d) && (i != kInput_x || kernel.x_gradient);
      set_gradient(out[d], i, is_wanted ? call.allocate(place + d, layer.shape_of(row)) : call.allocate_absent(place + d));
    }
  }
  call.report(gatewise_backward(&layer.layer, layer.in, of, out));
}

// What TensorFlow calls: no exception leaves it.
template <bool is_gradient, void (*run)(const Attributes&, Call&)>
void compute(void* state, TF_OpKernelContext* context) {
  const auto& kernel = *static_cast<const Attributes*>(state);
  TF_Status* const status = TF_NewStatus();
  try {
    Call call(context, status, kernel.layer, is_gradient);
    run(kernel, call);
  } catch (const Failed&) {
  } catch (const std::bad_alloc&) {
    TF_SetStatus(status, kResourceExhausted, complaint(GATEWISE_OUT_OF_MEMORY));
  }
  if (!is_ok(status)) TF_OpKernelContext_Failure(context, status);
  TF_DeleteStatus(status);
}

// --- Static shapes -----------------------------------------------------------------------------------------------------------------------

struct Handle {
  TF_ShapeHandle* const of;

  explicit Handle(TF_ShapeHandle* made = TF_NewShapeHandle()) : of(made) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { TF_DeleteShapeHandle(of); }
};

// Takes an axis of an input that has this rank, as a shape.
void take_axis(TF_ShapeInferenceContext* context, size_t place, int64_t rank, int64_t axis, Handle& shape, TF_Status* status) {
  if (is_ok(status)) TF_ShapeInferenceContextGetInput(context, static_cast<int>(place), shape.of, status);
  if (is_ok(status)) TF_ShapeInferenceContextWithRank(context, shape.of, rank, shape.of, status);
  if (is_ok(status)) TF_ShapeInferenceContextSubshape(context, shape.of, axis, axis + 1, shape.of, status);
}

size_t place_of(size_t input, Places places) {
  for (size_t i = 0; i < input; ++i) places.next(kInputs[i].owner);
  return places.next(kInputs[input].owner);
}

// What follows from the shapes of x and the recurrent kernel, which is in Keras's layout. All else hangs on attributes, which a shape
// function of the C API cannot read, nor can it multiply: src/gatewise/ops/tensorflow/ fills it in.
void infer_layer(TF_ShapeInferenceContext* context, TF_Status* status) {
  constexpr Counts kCounts(false);
  const size_t directions = kCounts.directions(TF_ShapeInferenceContextNumInputs(context));
  const Places inputs(kCounts.shared, directions);
  Handle batch, units, unknown(TF_ShapeInferenceContextVectorFromSize(context, static_cast<size_t>(-1)));
  take_axis(context, place_of(kInput_x, inputs), 3, 0, batch, status);
  take_axis(context, place_of(kInput_recurrent_kernel, inputs), 2, 0, units, status);
  Places outputs(kSharedOutputs, directions);
  for (const Operand& row : kOutputs) {
    const size_t place = outputs.next(row.owner);
    if (row.presence != REQUIRED) continue;
    Handle shape(TF_ShapeInferenceContextScalar(context));
    for (const char* axis = row.axes; *axis && is_ok(status); ++axis) {
      const bool is_units = *axis == 'u' || (*axis == 'v' && directions == 1);
      const Handle& next = *axis == 'b' ? batch : is_units ? units : unknown;
      TF_ShapeInferenceContextConcatenateShapes(context, shape.of, next.of, shape.of, status);
    }
    for (size_t d = 0; d < (row.owner == SHARED ? 1 : directions) && is_ok(status); ++d) {
      TF_ShapeInferenceContextSetOutput(context, static_cast<int>(place + d), shape.of, status);
    }
  }
}

// Each gradient has the shape of its input; that of x hangs on an attribute too.
void infer_gradient(TF_ShapeInferenceContext* context, TF_Status* status) {
  constexpr Counts kCounts(true);
  const size_t directions = kCounts.directions(TF_ShapeInferenceContextNumInputs(context));
  Places inputs(kCounts.shared, directions), outputs(shared_gradients(), directions);
  Handle shape;
  for (const Operand& row : kInputs) {
    const size_t from = inputs.next(row.owner);
    if (row.derivative == CONSTANT) continue;
    const size_t to = outputs.next(row.owner);
    for (size_t d = 0; row.owner == OWN && d < directions; ++d) {
      if (is_ok(status)) TF_ShapeInferenceContextGetInput(context, static_cast<int>(from + d), shape.of, status);
      if (is_ok(status)) TF_ShapeInferenceContextSetOutput(context, static_cast<int>(to + d), shape.of, status);
    }
  }
}

// --- Registration ------------------------------------------------------------------------------------------------------------------------

// An operation's definition, row by row.
class Definition {
 public:
  explicit Definition(const char* name) : builder_(TF_NewOpDefinitionBuilder(name)) {}

  void add_input(const Operand& row, const char* prefix = "") { TF_OpDefinitionBuilderAddInput(builder_, text_of(row, prefix).c_str()); }
  void add_output(const Operand& row, const char* prefix = "") { TF_OpDefinitionBuilderAddOutput(builder_, text_of(row, prefix).c_str()); }
  void add_attribute(const std::string& text) { TF_OpDefinitionBuilderAddAttr(builder_, text.c_str()); }
  void register_with(shape_function infer, TF_Status* status) {
    TF_OpDefinitionBuilderSetShapeInferenceFunction(builder_, infer);
    TF_RegisterOpDefinition(builder_, status);
  }

 private:
  static std::string text_of(const Operand& row, const char* prefix) {
    return std::string(prefix) + row.name + (row.owner == OWN ? ": directions * " : ": ") + (row.type == BOOL ? "bool" : "float");
  }

  TF_OpDefinitionBuilder* builder_;
};

struct Operation {
  const char* name;
  bool is_gradient, keeps_workspace;
  create_function create;
  compute_function compute;
};

constexpr Operation kOperations[] = {
    {"GatewiseRnn", false, false, create<false>, compute<false, forward<false>>},
    {"GatewiseRnnTrain", false, true, create<false>, compute<false, forward<true>>},
    {"GatewiseRnnGrad", true, false, create<true>, compute<true, backward>},
};

void register_operation(const Operation& operation, TF_Status* status) {
  Definition definition(operation.name);
  for (const Owner owner : {SHARED, OWN}) {
    for (const Operand& row : kInputs) {
      if (row.owner != owner) continue;
      definition.add_input(row);
      if (operation.is_gradient && row.derivative == DIFFERENTIABLE) definition.add_output(row, "d_");
    }
    if (operation.is_gradient && owner == OWN) definition.add_input(kWorkspace);
    for (const Operand& row : kOutputs) {
      if (row.owner != owner) continue;
      if (operation.is_gradient) definition.add_input(row, "d_");
      if (!operation.is_gradient) definition.add_output(row);
    }
  }
  if (operation.keeps_workspace) definition.add_output(kWorkspace);
  definition.add_attribute("directions: int >= 1");
  for (const char* option : kOptions) definition.add_attribute(std::string(option) + ": int");
  if (operation.is_gradient) definition.add_attribute("x_gradient: bool");
  definition.register_with(operation.is_gradient ? infer_gradient : infer_layer, status);
  if (!is_ok(status)) return;
  TF_RegisterKernelBuilder(operation.name, TF_NewKernelBuilder(operation.name, "CPU", operation.create, operation.compute, destroy),
                           status);
}

char problem[256];

__attribute__((constructor)) void register_operations() {
  if (const char* const missing = find_tensorflow()) {
    snprintf(problem, sizeof problem, "this TensorFlow lacks the function %s of its C API", missing);
    return;
  }
  TF_Status* const status = TF_NewStatus();
  try {
    for (const Operation& operation : kOperations) {
      if (is_ok(status)) register_operation(operation, status);
    }
    if (!is_ok(status)) snprintf(problem, sizeof problem, "TensorFlow refused the operations: %s", TF_Message(status));
  } catch (const std::bad_alloc&) {
    snprintf(problem, sizeof problem, "there is no memory for the operations' definitions");
  }
  TF_DeleteStatus(status);
}

}  // namespace
}  // namespace gatewise_bind

// What kept the operations from being registered, or null.
extern "C" GATEWISE_API const char* gatewise_tensorflow_problem() { return gatewise_bind::problem[0] ? gatewise_bind::problem : nullptr; }
