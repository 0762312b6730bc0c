// SPDX-License-Identifier: Apache-2.0
// The engine as torch operations on the CPU, through libtorch's stable C interface: no mathematics, no torch header.
//
//   gatewise::gru        runs the layer:        x ... recurrent_dropout, options                              -> outputs, state
//   gatewise::gru_train  the same, and saves:   x ... recurrent_dropout, options                              -> outputs, state, saved
//   gatewise::gru_grad   the way back:          x ... recurrent_dropout, saved, d_outputs, d_state, options, x_gradient
//                                               -> d_x, d_initial_state, d_kernel, d_recurrent_kernel, d_bias, d_recurrent_bias
//
// gru_both, gru_both_train and gru_both_grad are those of a layer of both directions, of which the second reads the other way. Each
// direction has a state of its own, and gradients but for d_x, which is the sum of theirs. Their outputs stand side by side, (batch,
// timesteps, 2 * units), in the processing order of the first.
//
// Shapes are those of engine.h, strides are free. src/gatewise/ops/torch/ declares the operations, their gradients and their shapes, and
// calls gatewise_torch_register() once, after torch is loaded. The gradient of an absent input, and d_x without x_gradient, have no
// element.
//
// `saved` is int32, because integers have no gradient that torch could make up, and (B, values * T, U rounded up to 16), twice as many
// rows for both directions: its shape has to follow from those of the inputs by a formula that torch can trace, so it holds what the
// engine saves at the most.
#include <pthread.h>
#include <stdint.h>

#include <array>
#include <stdexcept>
#include <string>

#include "bind/torch_layer.h"
#include "bind/torch_shim.h"
#include "bind/torch_tensor.h"
#include "engine.h"

namespace gatewise_torch {
namespace {

void check_engine(int status) {
  if (status == GATEWISE_OUT_OF_MEMORY) {
    throw std::runtime_error("gatewise::gru: no memory for the engine's scratch. Use a smaller batch.");
  }
  if (status != GATEWISE_OK) {
    throw std::runtime_error(
        "gatewise::gru: a size or an activation is out of range. Expected features and units of at least 1 and activations of 0 to 4. "
        "Check the shapes of x and recurrent_kernel.");
  }
}

// --- Threads -----------------------------------------------------------------------------------------------------------------------------

// OpenMP does not outlive a fork.
bool forked = false;

void on_threads_of_torch(int n, void (*work)(void*), void* context) { start_parallel(work, context, static_cast<unsigned>(n), 0); }

// Has torch's own threads serve the engine as long as it lives. They spin for milliseconds after every operation of torch's, and would
// leave the engine's pool half of the CPUs: a training step of `sensor` takes 3.1 ms on them and 4.3 ms beside them.
class ThreadsOfTorch {
 public:
  ThreadsOfTorch() {
    if (start_parallel && !forked) gatewise_use_threads(on_threads_of_torch);
  }
  ~ThreadsOfTorch() { gatewise_use_threads(nullptr); }
  ThreadsOfTorch(const ThreadsOfTorch&) = delete;
  ThreadsOfTorch& operator=(const ThreadsOfTorch&) = delete;
};

// --- Kernels -----------------------------------------------------------------------------------------------------------------------------

template <size_t kDirections, bool kSaves>
void run_layer(StableValue* stack, uint64_t, uint64_t) {
  Layer<kDirections> layer(stack, stack + Layer<kDirections>::kTensors);
  layer.check_shapes();
  const gatewise_layer& s = layer.layer;
  Tensor outputs = Tensor::empty(aoti_torch_dtype_float32(), layer.outputs_shape()), saved;
  if (kSaves) saved = Tensor::empty(aoti_torch_dtype_int32(), layer.saved_shape());
  const auto parts = layer.parts_of(saved);
  std::array<Tensor, kDirections> states;
  std::array<gatewise_outputs, kDirections> out;
  for (size_t i = 0; i < kDirections; ++i) {
    states[i] = Tensor::empty(aoti_torch_dtype_float32(), std::array{s.batch, s.units});
    out[i] = {outputs.data<float>(), {states[i].template data<float>()}, parts[i]};
  }
  const auto in = layer.inputs();
  const ThreadsOfTorch threads;
  check_engine(gatewise_forward(&s, in.data(), out.data()));
  *stack++ = outputs.release();
  for (Tensor& state : states) *stack++ = state.release();
  if (kSaves) *stack = saved.release();
}

template <size_t kDirections>
void run_way_back(StableValue* stack, uint64_t, uint64_t) {
  using Layer = Layer<kDirections>;
  const StableValue* const given = stack + Layer::kTensors;
  const StableValue* const options = given + 2 + kDirections;
  Tensor saved = Tensor::required(given[0]), d_outputs = Tensor::optional(given[1]);
  std::array<Tensor, kDirections> d_states;
  for (size_t i = 0; i < kDirections; ++i) d_states[i] = Tensor::optional(given[2 + i]);
  Layer layer(stack, options);
  const bool x_gradient = options[Layer::kOptions] != 0;
  layer.check_shapes();
  const gatewise_layer& s = layer.layer;
  const auto [rows, values, padded] = layer.saved_shape();
  const auto [batch, timesteps, width] = layer.outputs_shape();
  expect(saved, {"saved"}, aoti_torch_dtype_int32(), {{"rows", rows}, {"values", values}, {"padded units", padded}});
  expect(d_outputs, {"d_outputs"}, aoti_torch_dtype_float32(), {{"batch", batch}, {"timesteps", timesteps}, {"units", width}});

  std::array<Tensor, Layer::kDifferentiable> gradients;
  size_t made = 0;
  const auto gradient_of = [&](const Tensor& input) -> float* {
    Tensor& gradient = gradients[made++];
    gradient = Tensor::floats_like(input);
    return input ? gradient.data<float>() : nullptr;
  };
  const Tensor unwanted;
  float* const d_x = gradient_of(x_gradient ? layer.x : unwanted);
  std::array<gatewise_gradients, kDirections> out;
  std::array<gatewise_output_gradients, kDirections> of;
  const auto parts = layer.parts_of(saved);
  for (size_t i = 0; i < kDirections; ++i) {
    const Direction& own = layer.directions[i];
    expect(d_states[i], {"d_state", own.whose}, aoti_torch_dtype_float32(), {{"batch", s.batch}, {"units", s.units}});
    of[i] = {d_outputs.data<float>(), {d_states[i].template data<float>()}, parts[i]};
    out[i] = {d_x,
              {gradient_of(own.initial_state)},
              gradient_of(own.kernel),
              gradient_of(own.recurrent_kernel),
              gradient_of(own.bias),
              gradient_of(own.recurrent_bias)};
  }
  const auto in = layer.inputs();
  const ThreadsOfTorch threads;
  check_engine(gatewise_backward(&s, in.data(), of.data(), out.data()));
  for (Tensor& gradient : gradients) *stack++ = gradient.release();
}

// --- Registration ------------------------------------------------------------------------------------------------------------------------

struct Operation {
  const char* name;
  Kernel kernel;
};

constexpr Operation kOperations[] = {
    {"gru", run_layer<1, false>},      {"gru_train", run_layer<1, true>},      {"gru_grad", run_way_back<1>},
    {"gru_both", run_layer<2, false>}, {"gru_both_train", run_layer<2, true>}, {"gru_both_grad", run_way_back<2>},
};

}  // namespace
}  // namespace gatewise_torch

// Gives the declared operations their kernels. Returns null, or the reason why that cannot be done.
extern "C" GATEWISE_API const char* gatewise_torch_register(void) {
  using namespace gatewise_torch;
  static std::string problem;
  const char* missing = find_torch();
  if (missing) {
    problem = std::string("this torch lacks the function ") + missing + " of its C interface";
    return problem.c_str();
  }
  pthread_atfork(nullptr, nullptr, [] { forked = true; });
  LibraryHandle library = nullptr;  // stays: torch's registrations end when it is deleted
  int32_t error = aoti_torch_library_init_impl("gatewise", "CPU", "gatewise", 1, &library);
  for (const Operation& operation : kOperations) {
    if (!error) error = aoti_torch_library_impl(library, operation.name, operation.kernel);
  }
  return error ? "torch refused the operations; its log says why" : nullptr;
}
