// SPDX-License-Identifier: Apache-2.0
// The engine as torch operations on the CPU, through libtorch's stable C interface: no mathematics, no torch header.
//
//   gatewise::gru        runs the layer:        x ... recurrent_dropout, options                              -> outputs, state
//   gatewise::gru_train  the same, and saves:   x ... recurrent_dropout, options                              -> outputs, state, saved
//   gatewise::gru_grad   the way back:          x ... recurrent_dropout, saved, d_outputs, d_state, options, x_gradient
//                                               -> d_x, d_initial_state, d_kernel, d_recurrent_kernel, d_bias, d_recurrent_bias
//
// Shapes are those of engine.h, strides are free. src/gatewise/ops/torch/ declares the operations, their gradients and their shapes, and
// calls gatewise_torch_register() once, after torch is loaded. The gradient of an absent input, and d_x without x_gradient, have no
// element.
//
// `saved` is int32, because integers have no gradient that torch could make up, and (B, values * T, U rounded up to 16): its shape has to
// follow from those of the inputs by a formula that torch can trace, so it holds what the engine saves at the most.
#include <pthread.h>
#include <stdint.h>

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

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

// --- One call ----------------------------------------------------------------------------------------------------------------------------

// Takes the arguments from a kernel's stack, in the schema's order. All tensors are taken before anything can raise: they are then freed.
struct Layer {
  Tensor x, initial_state, kernel, recurrent_kernel, bias, recurrent_bias, mask, input_dropout, recurrent_dropout;
  gatewise_gru_spec spec{};

  static constexpr int kTensors = 9, kOptions = 8;

  Layer(const StableValue* tensors, const StableValue* options)
      : x(Tensor::required(tensors[0])),
        initial_state(Tensor::optional(tensors[1])),
        kernel(Tensor::required(tensors[2])),
        recurrent_kernel(Tensor::required(tensors[3])),
        bias(Tensor::optional(tensors[4])),
        recurrent_bias(Tensor::optional(tensors[5])),
        mask(Tensor::optional(tensors[6])),
        input_dropout(Tensor::optional(tensors[7])),
        recurrent_dropout(Tensor::optional(tensors[8])) {
    const auto option = [options](int i) { return static_cast<int32_t>(options[i]); };
    spec.reset_after = option(0);
    spec.activation = option(1);
    spec.recurrent_activation = option(2);
    spec.go_backwards = option(3);
    spec.return_sequences = option(4);
    spec.zero_output_for_mask = option(5);
    spec.recompute = option(6);
    spec.torch_layout = option(7);
  }

  // Sets the sizes from x and recurrent_kernel and checks every tensor against them.
  void check_shapes() {
    const int32_t real = aoti_torch_dtype_float32(), boolean = aoti_torch_dtype_bool();
    expect(x, "x", real, {{"batch"}, {"timesteps"}, {"features"}});
    expect_kernel(recurrent_kernel, "recurrent_kernel", {"units"}, {"3 * units"});
    spec.batch = x.sizes()[0];
    spec.timesteps = x.sizes()[1];
    spec.features = x.sizes()[2];
    spec.units = recurrent_kernel.sizes()[spec.torch_layout ? 1 : 0];
    const Axis batch{"batch", spec.batch}, timesteps{"timesteps", spec.timesteps}, features{"features", spec.features};
    const Axis units{"units", spec.units}, gates{"3 * units", 3 * spec.units};
    expect_kernel(recurrent_kernel, "recurrent_kernel", units, gates);
    expect_kernel(kernel, "kernel", features, gates);
    expect(initial_state, "initial_state", real, {batch, units});
    if (spec.reset_after && !spec.torch_layout)
      expect(bias, "bias", real, {{"input and recurrent", 2}, gates});
    else
      expect(bias, "bias", real, {gates});
    expect(recurrent_bias, "recurrent_bias", real, {gates});
    if (static_cast<bool>(recurrent_bias) != (bias && spec.reset_after && spec.torch_layout)) {
      throw std::runtime_error(
          "gatewise::gru: recurrent_bias stands beside bias with reset_after and torch_layout, and nowhere else. Give or leave out both.");
    }
    expect(mask, "mask", boolean, {batch, timesteps});
    expect(input_dropout, "input_dropout", real, {{"masks", dropout_masks()}, batch, features});
    expect(recurrent_dropout, "recurrent_dropout", real, {{"gates", 3}, batch, units});
  }

  gatewise_gru_inputs inputs() const {
    gatewise_gru_inputs in{};
    in.x = x.data<float>();
    in.initial_state = initial_state.data<float>();
    in.mask = mask.data<uint8_t>();
    in.kernel = kernel.data<float>();
    in.recurrent_kernel = recurrent_kernel.data<float>();
    in.bias = bias.data<float>();
    in.recurrent_bias = recurrent_bias.data<float>();
    in.input_dropout = input_dropout.data<float>();
    in.input_dropout_masks = dropout_masks();
    in.recurrent_dropout = recurrent_dropout.data<float>();
    return in;
  }

  // The shape of `saved`: gates and, before every chunk of steps, a state. A step begins one chunk at the most, and no vector is wider
  // than 16 floats.
  std::array<int64_t, 3> saved_shape() const {
    const int64_t values = spec.recompute ? static_cast<int64_t>(std::sqrt(static_cast<double>(spec.timesteps))) + 1
                                          : (spec.reset_after ? 5 : 4) * spec.timesteps;
    return {spec.batch, values, (spec.units + 15) / 16 * 16};
  }

  void check_saved_fits() const {
    const auto [batch, values, units] = saved_shape();
    if (gatewise_gru_saved_floats(&spec) > batch * values * units) {
      throw std::runtime_error("gatewise::gru: the engine saves more than torch was told. This is a defect of gatewise: report it.");
    }
  }

 private:
  void expect_kernel(Tensor& tensor, const char* name, Axis rows, Axis gates) const {
    if (spec.torch_layout)
      expect(tensor, name, aoti_torch_dtype_float32(), {gates, rows});
    else
      expect(tensor, name, aoti_torch_dtype_float32(), {rows, gates});
  }

  int64_t dropout_masks() const { return input_dropout && input_dropout.rank() == 3 && input_dropout.sizes()[0] == 3 ? 3 : 1; }
};

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

void run_layer(StableValue* stack, bool saves) {
  Layer layer(stack, stack + Layer::kTensors);
  layer.check_shapes();
  const gatewise_gru_spec& s = layer.spec;
  Tensor outputs = Tensor::floats({s.batch, s.return_sequences ? s.timesteps : 1, s.units}), state = Tensor::floats({s.batch, s.units});
  Tensor saved;
  if (saves) {
    layer.check_saved_fits();
    saved = Tensor::empty(aoti_torch_dtype_int32(), 3, layer.saved_shape().data());
  }
  const gatewise_gru_inputs in = layer.inputs();
  const gatewise_gru_outputs out{outputs.data<float>(), state.data<float>(), saved.data<float>()};
  const ThreadsOfTorch threads;
  check_engine(gatewise_gru_forward(&s, &in, &out));
  stack[0] = outputs.release();
  stack[1] = state.release();
  if (saves) stack[2] = saved.release();
}

void gru(StableValue* stack, uint64_t, uint64_t) { run_layer(stack, false); }
void gru_train(StableValue* stack, uint64_t, uint64_t) { run_layer(stack, true); }

void gru_grad(StableValue* stack, uint64_t, uint64_t) {
  const StableValue* const more = stack + Layer::kTensors;
  Tensor saved = Tensor::required(more[0]), d_outputs = Tensor::optional(more[1]), d_state = Tensor::optional(more[2]);
  Layer layer(stack, more + 3);
  const bool x_gradient = more[3 + Layer::kOptions] != 0;
  layer.check_shapes();
  layer.check_saved_fits();
  const gatewise_gru_spec& s = layer.spec;
  const auto [batch, values, padded] = layer.saved_shape();
  expect(saved, "saved", aoti_torch_dtype_int32(), {{"batch", batch}, {"values", values}, {"padded units", padded}});
  const Axis steps{"timesteps", s.return_sequences ? s.timesteps : 1}, units{"units", s.units};
  expect(d_outputs, "d_outputs", aoti_torch_dtype_float32(), {{"batch", s.batch}, steps, units});
  expect(d_state, "d_state", aoti_torch_dtype_float32(), {{"batch", s.batch}, units});

  Tensor gradients[] = {x_gradient ? Tensor::floats_like(layer.x) : Tensor::floats({0}),
                        Tensor::floats_like(layer.initial_state),
                        Tensor::floats_like(layer.kernel),
                        Tensor::floats_like(layer.recurrent_kernel),
                        Tensor::floats_like(layer.bias),
                        Tensor::floats_like(layer.recurrent_bias)};
  const auto& [d_x, d_initial_state, d_kernel, d_recurrent_kernel, d_bias, d_recurrent_bias] = gradients;
  const gatewise_gru_inputs in = layer.inputs();
  const gatewise_gru_gradients out{x_gradient ? d_x.data<float>() : nullptr,
                                   layer.initial_state ? d_initial_state.data<float>() : nullptr,
                                   d_kernel.data<float>(),
                                   d_recurrent_kernel.data<float>(),
                                   layer.bias ? d_bias.data<float>() : nullptr,
                                   layer.recurrent_bias ? d_recurrent_bias.data<float>() : nullptr};
  const ThreadsOfTorch threads;
  check_engine(gatewise_gru_backward(&s, &in, saved.data<float>(), nullptr, d_outputs.data<float>(), d_state.data<float>(), &out));
  for (Tensor& gradient : gradients) *stack++ = gradient.release();
}

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
  if (!error) error = aoti_torch_library_impl(library, "gru", gru);
  if (!error) error = aoti_torch_library_impl(library, "gru_train", gru_train);
  if (!error) error = aoti_torch_library_impl(library, "gru_grad", gru_grad);
  return error ? "torch refused the operations; its log says why" : nullptr;
}
