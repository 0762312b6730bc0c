// SPDX-License-Identifier: Apache-2.0
// The engine as XLA custom calls, for JAX: no mathematics. Shapes are checked here, since XLA hands over whatever a program was traced
// with.
//
//   gatewise_xla_gru        runs the layer:         x ... recurrent_dropout                        -> outputs, state
//   gatewise_xla_gru_train  the same, and saves:    x ... recurrent_dropout                        -> outputs, state, saved
//   gatewise_xla_gru_grad   the way back:           x ... recurrent_dropout, saved, outputs, d_outputs, d_state
//                                                   -> d_x, d_initial_state, d_kernel, d_recurrent_kernel, d_bias
//
// Shapes are those of engine.h. What is absent or not wanted is an array of shape (0,). `saved` is (batch, at least what a row needs), so
// that it can be cut along the batch; it is declared to hold whole numbers, which have no gradient and no NaN to look for.
#include <xla/ffi/api/ffi.h>

#include <cstdint>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>

#include "engine.h"

namespace ffi = xla::ffi;

namespace {

using Input = ffi::Buffer<ffi::F32>;
using Mask = ffi::Buffer<ffi::PRED>;
using Saved = ffi::Buffer<ffi::U32>;
using Output = ffi::ResultBuffer<ffi::F32>;
using SavedOutput = ffi::ResultBuffer<ffi::U32>;

// The attributes of every call, named as in gatewise_gru_spec.
struct Options {
  int32_t reset_after, activation, recurrent_activation, go_backwards, return_sequences, zero_output_for_mask, recompute, candidates_again;
};

// --- Shapes ------------------------------------------------------------------------------------------------------------------------------

struct Axis {
  const char* name;
  int64_t size = -1;  // negative: any
};
using Axes = std::initializer_list<Axis>;
using Sizes = ffi::Span<const int64_t>;

bool is_absent(Sizes sizes) { return sizes.size() == 1 && sizes[0] == 0; }

std::string expected_shape(Axes axes) {
  std::string text;
  for (const Axis& axis : axes) {
    text += (text.empty() ? "(" : ", ") + std::string(axis.name) + (axis.size < 0 ? "" : "=" + std::to_string(axis.size));
  }
  return text + ")";
}

std::string received_shape(Sizes sizes) {
  std::string text = "(";
  for (size_t i = 0; i < sizes.size(); ++i) text += (i ? ", " : "") + std::to_string(sizes[i]);
  return text + ")";
}

void check_shape(const char* name, Sizes sizes, Axes axes) {
  bool fits = sizes.size() == axes.size();
  size_t i = 0;
  for (const Axis& axis : axes) {
    fits = fits && (axis.size < 0 || axis.size == sizes[i]);
    ++i;
  }
  if (fits) return;
  throw std::invalid_argument("gatewise.ops.jax.gru: " + std::string(name) + " has the wrong shape. Expected " + expected_shape(axes) +
                              "; received " + received_shape(sizes) + ". Check what the layer was given.");
}

// The data of an input or an output, or null if it is absent; otherwise its shape must be the expected one.
template <class Buffer>
auto optional_data(const char* name, Buffer& buffer, Axes axes) -> decltype(buffer.typed_data()) {
  if (is_absent(buffer.dimensions())) return nullptr;
  check_shape(name, buffer.dimensions(), axes);
  return buffer.typed_data();
}

template <class Buffer>
auto required_data(const char* name, Buffer& buffer, Axes axes) {
  check_shape(name, buffer.dimensions(), axes);
  return buffer.typed_data();
}

// --- The layer ---------------------------------------------------------------------------------------------------------------------------

// The sizes of a call and its checked inputs.
struct Layer {
  gatewise_gru_spec spec{};
  gatewise_gru_inputs in{};

  Layer(const Options& o, Input x, Input initial_state, Input kernel, Input recurrent_kernel, Input bias, Mask mask, Input input_dropout,
        Input recurrent_dropout) {
    check_shape("x", x.dimensions(), {{"batch"}, {"timesteps"}, {"features"}});
    check_shape("recurrent_kernel", recurrent_kernel.dimensions(), {{"units"}, {"3 * units"}});
    const Sizes sizes = x.dimensions();
    spec = {sizes[0],
            sizes[1],
            sizes[2],
            recurrent_kernel.dimensions()[0],
            o.reset_after,
            o.activation,
            o.recurrent_activation,
            o.go_backwards,
            o.return_sequences,
            o.zero_output_for_mask,
            o.recompute,
            o.candidates_again,
            0};  // weights in Keras's layout
    in.x = x.typed_data();
    in.initial_state = optional_data("initial_state", initial_state, {batch(), units()});
    in.kernel = required_data("kernel", kernel, {features(), gates()});
    in.recurrent_kernel = required_data("recurrent_kernel", recurrent_kernel, {units(), gates()});
    in.bias = bias_data("bias", bias);
    in.mask = reinterpret_cast<const uint8_t*>(optional_data("mask", mask, {batch(), {"timesteps", spec.timesteps}}));
    const Sizes drop = input_dropout.dimensions();
    in.input_dropout_masks = drop.size() == 3 && drop[0] == 3 ? 3 : 1;
    in.input_dropout = optional_data("input_dropout", input_dropout, {{"masks", in.input_dropout_masks}, batch(), features()});
    in.recurrent_dropout = optional_data("recurrent_dropout", recurrent_dropout, {{"gates", 3}, batch(), units()});
  }

  Axis batch() const { return {"batch", spec.batch}; }
  Axis features() const { return {"features", spec.features}; }
  Axis units() const { return {"units", spec.units}; }
  Axis gates() const { return {"3 * units", 3 * spec.units}; }
  Axis steps() const { return {"timesteps", spec.return_sequences ? spec.timesteps : 1}; }

  template <class Buffer>
  auto bias_data(const char* name, Buffer& buffer) const -> decltype(buffer.typed_data()) {
    if (spec.reset_after) return optional_data(name, buffer, {{"input and recurrent", 2}, gates()});
    return optional_data(name, buffer, {gates()});
  }

  float* saved_data(Saved& saved) const {
    check_shape("saved", saved.dimensions(), {batch(), {"numbers a row"}});
    const int64_t needed = gatewise_gru_saved_floats(&spec);
    if (static_cast<int64_t>(saved.element_count()) < needed) {
      throw std::invalid_argument("gatewise.ops.jax.gru: saved is too small. Expected " + std::to_string(needed) + " numbers; received " +
                                  received_shape(saved.dimensions()) + ". Trace the function again: the instruction set has changed.");
    }
    return reinterpret_cast<float*>(saved.untyped_data());
  }
};

void check_status(int status) {
  if (status == GATEWISE_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status != GATEWISE_OK) {
    throw std::invalid_argument(
        "gatewise.ops.jax.gru: a size or an activation is out of range. Expected features and units of at least 1. "
        "Check the shapes of x and recurrent_kernel.");
  }
}

// Nothing may leave a handler as an exception.
template <class Run>
ffi::Error guarded(Run&& run) {
  try {
    run();
  } catch (const std::invalid_argument& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "gatewise.ops.jax.gru: there is no memory for the engine's scratch. Expected enough for the batch; received none. "
                      "Use a smaller batch.");
  }
  return ffi::Error::Success();
}

void run_forward(const Layer& layer, Output outputs, Output state, float* saved) {
  gatewise_gru_outputs out{};
  out.outputs = required_data("outputs", *outputs, {layer.batch(), layer.steps(), layer.units()});
  out.state = required_data("state", *state, {layer.batch(), layer.units()});
  out.saved = saved;
  check_status(gatewise_gru_forward(&layer.spec, &layer.in, &out));
}

// --- The handlers ------------------------------------------------------------------------------------------------------------------------

ffi::Error gru(Options options, Input x, Input initial_state, Input kernel, Input recurrent_kernel, Input bias, Mask mask,
               Input input_dropout, Input recurrent_dropout, Output outputs, Output state) {
  return guarded([&] {
    const Layer layer(options, x, initial_state, kernel, recurrent_kernel, bias, mask, input_dropout, recurrent_dropout);
    run_forward(layer, outputs, state, nullptr);
  });
}

ffi::Error gru_train(Options options, Input x, Input initial_state, Input kernel, Input recurrent_kernel, Input bias, Mask mask,
                     Input input_dropout, Input recurrent_dropout, Output outputs, Output state, SavedOutput saved) {
  return guarded([&] {
    const Layer layer(options, x, initial_state, kernel, recurrent_kernel, bias, mask, input_dropout, recurrent_dropout);
    run_forward(layer, outputs, state, layer.saved_data(*saved));
  });
}

ffi::Error gru_grad(Options options, Input x, Input initial_state, Input kernel, Input recurrent_kernel, Input bias, Mask mask,
                    Input input_dropout, Input recurrent_dropout, Saved saved, Input outputs, Input d_outputs, Input d_state, Output d_x,
                    Output d_initial_state, Output d_kernel, Output d_recurrent_kernel, Output d_bias) {
  return guarded([&] {
    const Layer layer(options, x, initial_state, kernel, recurrent_kernel, bias, mask, input_dropout, recurrent_dropout);
    const Axis batch = layer.batch(), features = layer.features(), units = layer.units(), gates = layer.gates();
    gatewise_gru_gradients out{};
    out.x = optional_data("d_x", *d_x, {batch, {"timesteps", layer.spec.timesteps}, features});
    out.initial_state = optional_data("d_initial_state", *d_initial_state, {batch, units});
    out.kernel = required_data("d_kernel", *d_kernel, {features, gates});
    out.recurrent_kernel = required_data("d_recurrent_kernel", *d_recurrent_kernel, {units, gates});
    out.bias = layer.bias_data("d_bias", *d_bias);
    const float* found = layer.spec.candidates_again ? required_data("outputs", outputs, {batch, layer.steps(), units}) : nullptr;
    const float* d_of_outputs = optional_data("d_outputs", d_outputs, {batch, layer.steps(), units});
    const float* d_of_state = optional_data("d_state", d_state, {batch, units});
    check_status(gatewise_gru_backward(&layer.spec, &layer.in, layer.saved_data(saved), found, d_of_outputs, d_of_state, &out));
  });
}

auto layer_call() {
  return ffi::Ffi::Bind()
      .Attrs<Options>()
      .Arg<Input>()   // x
      .Arg<Input>()   // initial_state
      .Arg<Input>()   // kernel
      .Arg<Input>()   // recurrent_kernel
      .Arg<Input>()   // bias
      .Arg<Mask>()    // mask
      .Arg<Input>()   // input_dropout
      .Arg<Input>();  // recurrent_dropout
}

}  // namespace

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(Options, ffi::StructMember<int32_t>("reset_after"), ffi::StructMember<int32_t>("activation"),
                                      ffi::StructMember<int32_t>("recurrent_activation"), ffi::StructMember<int32_t>("go_backwards"),
                                      ffi::StructMember<int32_t>("return_sequences"), ffi::StructMember<int32_t>("zero_output_for_mask"),
                                      ffi::StructMember<int32_t>("recompute"), ffi::StructMember<int32_t>("candidates_again"));

extern "C" {
GATEWISE_API XLA_FFI_Error* gatewise_xla_gru(XLA_FFI_CallFrame* frame);
GATEWISE_API XLA_FFI_Error* gatewise_xla_gru_train(XLA_FFI_CallFrame* frame);
GATEWISE_API XLA_FFI_Error* gatewise_xla_gru_grad(XLA_FFI_CallFrame* frame);
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(gatewise_xla_gru, gru, layer_call().Ret<Input>().Ret<Input>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(gatewise_xla_gru_train, gru_train, layer_call().Ret<Input>().Ret<Input>().Ret<Saved>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    gatewise_xla_gru_grad, gru_grad,
    layer_call().Arg<Saved>().Arg<Input>().Arg<Input>().Arg<Input>().Ret<Input>().Ret<Input>().Ret<Input>().Ret<Input>().Ret<Input>());
