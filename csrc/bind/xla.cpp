// SPDX-License-Identifier: Apache-2.0
// The engine as XLA custom calls, for JAX: no mathematics. Shapes are checked here, since XLA hands over whatever a program was traced
// with.
//
//   gatewise_xla_gru        runs the layer:         x, mask                      -> outputs
//                                                   a direction's: initial_state ... recurrent_dropout -> state
//   gatewise_xla_gru_train  the same, and saves:    a direction's besides        -> saved
//   gatewise_xla_gru_grad   the way back:           x, mask, d_outputs           -> d_x
//                                                   a direction's: initial_state ... recurrent_dropout, saved, d_state
//                                                                                -> d_initial_state, d_kernel, d_recurrent_kernel, d_bias
//
// A layer has one direction or two: what they share comes first, then what the first has of its own, then the second's. Shapes are those
// of engine.h. What is absent or not wanted is an array of shape (0,). `saved` is (batch, more than what a row needs), so that it can be
// cut along the batch; it is declared to hold whole numbers, which have no gradient and no NaN to look for. It is of no use to a call for
// other rows than those that it was saved for, and says which they are.
#include <xla/ffi/api/ffi.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine.h"

namespace ffi = xla::ffi;

namespace {

using Floats = ffi::Buffer<ffi::F32>;
using Mask = ffi::Buffer<ffi::PRED>;
using Saved = ffi::Buffer<ffi::U32>;

constexpr size_t kMostDirections = GATEWISE_MAX_DIRECTIONS;

// The places of operands and results; the first kSharedInputs and kOwnInputs are those of the layer, the others come with the way back.
enum SharedOperand { kX, kMask, kSharedInputs, kOutputsGradient = kSharedInputs, kSharedOperands };
enum OwnOperand {
  kInitialState,
  kKernel,
  kRecurrentKernel,
  kBias,
  kInputDropout,
  kRecurrentDropout,
  kOwnInputs,
  kSavedInput = kOwnInputs,
  kStateGradient,
  kOwnOperands
};
enum OwnResult { kState, kSaved };
enum OwnGradient { kInitialStateGradient, kKernelGradient, kRecurrentKernelGradient, kBiasGradient, kOwnGradients };

// The attributes of every call, named as in gatewise_layer.
struct Options {
  int32_t reset_after, activation, recurrent_activation, go_backwards, return_sequences, zero_output_for_mask, recompute;
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
auto optional_data(const char* name, Buffer buffer, Axes axes) -> decltype(buffer.typed_data()) {
  if (is_absent(buffer.dimensions())) return nullptr;
  check_shape(name, buffer.dimensions(), axes);
  return buffer.typed_data();
}

template <class Buffer>
auto required_data(const char* name, Buffer buffer, Axes axes) {
  check_shape(name, buffer.dimensions(), axes);
  return buffer.typed_data();
}

// --- The layer ---------------------------------------------------------------------------------------------------------------------------

// The operands or the results of a call: so many that all directions share, then so many of each direction.
template <class Values>
class Call {
 public:
  Call(const Values& values, size_t shared, size_t own) : values_(values), shared_(shared), own_(own) {
    if (values.size() != shared + own * directions() || directions() < 1 || directions() > kMostDirections) {
      throw std::invalid_argument("gatewise.ops.jax.gru: a handler was called with " + std::to_string(values.size()) +
                                  " arrays. Expected those of one direction or of two. This is a defect of gatewise: report it.");
    }
  }

  size_t directions() const { return (values_.size() - shared_) / own_; }

  template <class Buffer>
  auto shared(size_t place) const {
    return at<Buffer>(place);
  }
  template <class Buffer>
  auto own(size_t direction, size_t place) const {
    return at<Buffer>(shared_ + direction * own_ + place);
  }

 private:
  template <class Buffer>
  auto at(size_t i) const {
    auto buffer = values_.template get<Buffer>(i);
    if (buffer.has_error()) throw std::invalid_argument(buffer.error().message());
    return *buffer;
  }

  const Values& values_;
  const size_t shared_, own_;
};
using Operands = Call<ffi::RemainingArgs>;
using Results = Call<ffi::RemainingRets>;

// The sizes of a call and its checked inputs.
struct Layer {
  const size_t directions;
  gatewise_layer layer{};
  gatewise_inputs in[kMostDirections]{};

  Layer(const Options& o, const Operands& operands) : directions(operands.directions()) {
    Floats x = operands.shared<Floats>(kX), recurrent_kernel = operands.own<Floats>(0, kRecurrentKernel);
    check_shape("x", x.dimensions(), {{"batch"}, {"timesteps"}, {"features"}});
    check_shape("recurrent_kernel", recurrent_kernel.dimensions(), {{"units"}, {"3 * units"}});
    const Sizes sizes = x.dimensions();
    layer.struct_size = sizeof layer;
    layer.cell = o.reset_after ? GATEWISE_GRU : GATEWISE_GRU_RESET_BEFORE;
    layer.directions = static_cast<int32_t>(directions);
    layer.activation = o.activation;
    layer.recurrent_activation = o.recurrent_activation;
    layer.go_backwards = o.go_backwards;
    layer.return_sequences = o.return_sequences;
    layer.zero_output_for_mask = o.zero_output_for_mask;
    layer.recompute = o.recompute;
    layer.batch = sizes[0];
    layer.timesteps = sizes[1];
    layer.features = sizes[2];
    layer.units = recurrent_kernel.dimensions()[0];
    for (size_t i = 0; i < directions; ++i) in[i] = inputs(operands, i);
  }

  Axis batch() const { return {"batch", layer.batch}; }
  Axis features() const { return {"features", layer.features}; }
  Axis units() const { return {"units", layer.units}; }
  Axis gates() const { return {"3 * units", 3 * layer.units}; }
  Axis steps() const { return {"timesteps", layer.return_sequences ? layer.timesteps : 1}; }
  Axis width() const { return {directions > 1 ? "2 * units" : "units", static_cast<int64_t>(directions) * layer.units}; }

  template <class Buffer>
  auto bias_data(const char* name, Buffer buffer) const -> decltype(buffer.typed_data()) {
    if (layer.cell == GATEWISE_GRU) return optional_data(name, buffer, {{"input and recurrent", 2}, gates()});
    return optional_data(name, buffer, {gates()});
  }

  float* saved_data(Saved saved) const {
    check_shape("saved", saved.dimensions(), {batch(), {"numbers a row"}});
    const int64_t needed = gatewise_workspace_floats(&layer) + 1;
    if (layer.batch > 0 && static_cast<int64_t>(saved.element_count()) < needed) {
      throw std::invalid_argument("gatewise.ops.jax.gru: saved is too small. Expected " + std::to_string(needed) + " numbers; received " +
                                  received_shape(saved.dimensions()) + ". Trace the function again: the instruction set has changed.");
    }
    return reinterpret_cast<float*>(saved.untyped_data());
  }

  // Writes behind what was saved how many rows it is for.
  void mark(Saved saved) const {
    if (layer.batch == 0) return;
    uint32_t* data = saved.typed_data();
    std::fill(data + gatewise_workspace_floats(&layer), data + saved.element_count(), rows_mark());
  }
  bool is_marked(Saved saved) const { return layer.batch == 0 || saved.typed_data()[saved.element_count() - 1] == rows_mark(); }

 private:
  // A NaN that no calculation makes, so that it is not taken for a number that was saved.
  uint32_t rows_mark() const { return 0xffc00000u | static_cast<uint32_t>(layer.batch & 0x3fffff); }

  gatewise_inputs inputs(const Operands& operands, size_t direction) const {
    const auto own = [&](size_t place) { return operands.own<Floats>(direction, place); };
    const Mask mask = operands.shared<Mask>(kMask);
    const Sizes drop = own(kInputDropout).dimensions();
    gatewise_inputs of{};
    of.x = operands.shared<Floats>(kX).typed_data();
    of.initial_state[0] = optional_data("initial_state", own(kInitialState), {batch(), units()});
    of.kernel = required_data("kernel", own(kKernel), {features(), gates()});
    of.recurrent_kernel = required_data("recurrent_kernel", own(kRecurrentKernel), {units(), gates()});
    of.bias = bias_data("bias", own(kBias));
    of.mask = reinterpret_cast<const uint8_t*>(optional_data("mask", mask, {batch(), {"timesteps", layer.timesteps}}));
    of.input_dropout_masks = drop.size() == 3 && drop[0] == 3 ? 3 : 1;
    of.input_dropout = optional_data("input_dropout", own(kInputDropout), {{"masks", of.input_dropout_masks}, batch(), features()});
    of.recurrent_dropout = optional_data("recurrent_dropout", own(kRecurrentDropout), {{"gates", 3}, batch(), units()});
    return of;
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

// Saves what a way back needs whose rows are not those of the way forward: XLA has cut the batch up in another way.
std::vector<float> save_again(const Layer& layer, gatewise_output_gradients* of) {
  const auto floats = static_cast<size_t>(gatewise_workspace_floats(&layer.layer));
  const auto states = static_cast<size_t>(layer.layer.batch * layer.layer.units);
  std::vector<float> memory(layer.directions * (floats + states));
  gatewise_outputs out[kMostDirections]{};
  for (size_t i = 0; i < layer.directions; ++i) {
    out[i].workspace = memory.data() + i * (floats + states);
    out[i].state[0] = out[i].workspace + floats;
    of[i].workspace = out[i].workspace;
  }
  check_status(gatewise_forward(&layer.layer, layer.in, out));
  return memory;
}

// --- The handlers ------------------------------------------------------------------------------------------------------------------------

ffi::Error run_forward(const Options& options, const ffi::RemainingArgs& arguments, const ffi::RemainingRets& returned, bool saves) {
  return guarded([&] {
    const Layer layer(options, Operands(arguments, kSharedInputs, kOwnInputs));
    const Results results(returned, 1, saves ? 2 : 1);
    gatewise_outputs out[kMostDirections]{};
    for (size_t i = 0; i < layer.directions; ++i) {
      out[i].outputs = required_data("outputs", *results.shared<Floats>(0), {layer.batch(), layer.steps(), layer.width()});
      out[i].state[0] = required_data("state", *results.own<Floats>(i, kState), {layer.batch(), layer.units()});
      out[i].workspace = saves ? layer.saved_data(*results.own<Saved>(i, kSaved)) : nullptr;
    }
    check_status(gatewise_forward(&layer.layer, layer.in, out));
    for (size_t i = 0; saves && i < layer.directions; ++i) layer.mark(*results.own<Saved>(i, kSaved));
  });
}

ffi::Error gru(Options options, ffi::RemainingArgs operands, ffi::RemainingRets results) {
  return run_forward(options, operands, results, false);
}

ffi::Error gru_train(Options options, ffi::RemainingArgs operands, ffi::RemainingRets results) {
  return run_forward(options, operands, results, true);
}

ffi::Error gru_grad(Options options, ffi::RemainingArgs arguments, ffi::RemainingRets returned) {
  return guarded([&] {
    const Operands operands(arguments, kSharedOperands, kOwnOperands);
    const Results results(returned, 1, kOwnGradients);
    const Layer layer(options, operands);
    const Axis batch = layer.batch(), features = layer.features(), units = layer.units(), gates = layer.gates();
    gatewise_output_gradients of[kMostDirections]{};
    gatewise_gradients out[kMostDirections]{};
    bool is_for_these_rows = true;
    for (size_t i = 0; i < layer.directions; ++i) {
      const auto result = [&](size_t place) { return *results.own<Floats>(i, place); };
      const Saved given = operands.own<Saved>(i, kSavedInput);
      of[i].workspace = layer.saved_data(given);
      is_for_these_rows = is_for_these_rows && layer.is_marked(given);
      of[i].state[0] = optional_data("d_state", operands.own<Floats>(i, kStateGradient), {batch, units});
      out[i].x = optional_data("d_x", *results.shared<Floats>(0), {batch, {"timesteps", layer.layer.timesteps}, features});
      out[i].initial_state[0] = optional_data("d_initial_state", result(kInitialStateGradient), {batch, units});
      out[i].kernel = required_data("d_kernel", result(kKernelGradient), {features, gates});
      out[i].recurrent_kernel = required_data("d_recurrent_kernel", result(kRecurrentKernelGradient), {units, gates});
      out[i].bias = layer.bias_data("d_bias", result(kBiasGradient));
    }
    const std::vector<float> again = is_for_these_rows ? std::vector<float>() : save_again(layer, of);
    of->outputs = optional_data("d_outputs", operands.shared<Floats>(kOutputsGradient), {batch, layer.steps(), layer.width()});
    check_status(gatewise_backward(&layer.layer, layer.in, of, out));
  });
}

auto layer_call() { return ffi::Ffi::Bind().Attrs<Options>().RemainingArgs().RemainingRets(); }

}  // namespace

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(Options, ffi::StructMember<int32_t>("reset_after"), ffi::StructMember<int32_t>("activation"),
                                      ffi::StructMember<int32_t>("recurrent_activation"), ffi::StructMember<int32_t>("go_backwards"),
                                      ffi::StructMember<int32_t>("return_sequences"), ffi::StructMember<int32_t>("zero_output_for_mask"),
                                      ffi::StructMember<int32_t>("recompute"));

extern "C" {
GATEWISE_API XLA_FFI_Error* gatewise_xla_gru(XLA_FFI_CallFrame* frame);
GATEWISE_API XLA_FFI_Error* gatewise_xla_gru_train(XLA_FFI_CallFrame* frame);
GATEWISE_API XLA_FFI_Error* gatewise_xla_gru_grad(XLA_FFI_CallFrame* frame);
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(gatewise_xla_gru, gru, layer_call());
XLA_FFI_DEFINE_HANDLER_SYMBOL(gatewise_xla_gru_train, gru_train, layer_call());
XLA_FFI_DEFINE_HANDLER_SYMBOL(gatewise_xla_gru_grad, gru_grad, layer_call());
