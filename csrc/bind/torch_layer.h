// SPDX-License-Identifier: Apache-2.0
// The inputs of a layer as torch hands them over: taken from a kernel's stack, checked, and given to the engine.
//
//   x, of every direction: initial_state ... recurrent_bias, mask, of every direction: input_dropout, recurrent_dropout, options
#pragma once

#include <stdint.h>

#include <array>
#include <cmath>
#include <stdexcept>

#include "bind/torch_shim.h"
#include "bind/torch_tensor.h"
#include "engine.h"

namespace gatewise_torch {
namespace {

// What a direction has of its own.
struct Direction {
  const char* whose = "";  // begins the names in errors
  Tensor initial_state, kernel, recurrent_kernel, bias, recurrent_bias, input_dropout, recurrent_dropout;

  static constexpr size_t kDifferentiable = 5, kFactors = 2;

  Direction() = default;
  Direction(const char* whose_, const StableValue* differentiable, const StableValue* factors)
      : whose(whose_),
        initial_state(Tensor::optional(differentiable[0])),
        kernel(Tensor::required(differentiable[1])),
        recurrent_kernel(Tensor::required(differentiable[2])),
        bias(Tensor::optional(differentiable[3])),
        recurrent_bias(Tensor::optional(differentiable[4])),
        input_dropout(Tensor::optional(factors[0])),
        recurrent_dropout(Tensor::optional(factors[1])) {}

  // The number of units that the recurrent kernel tells, once its rank is checked.
  int64_t units(bool torch_layout) {
    expect_kernel(recurrent_kernel, "recurrent_kernel", {"units"}, {"3 * units"}, torch_layout);
    return recurrent_kernel.sizes()[torch_layout ? 1 : 0];
  }

  // Checks every tensor against the sizes.
  void check_shapes(const gatewise_layer& layer) {
    const int32_t real = aoti_torch_dtype_float32();
    const Axis batch{"batch", layer.batch}, features{"features", layer.features};
    const Axis units{"units", layer.units}, gates{"3 * units", 3 * layer.units};
    expect_kernel(recurrent_kernel, "recurrent_kernel", units, gates, layer.torch_layout);
    expect_kernel(kernel, "kernel", features, gates, layer.torch_layout);
    expect(initial_state, {"initial_state", whose}, real, {batch, units});
    if (layer.cell == GATEWISE_GRU && !layer.torch_layout)
      expect(bias, {"bias", whose}, real, {{"input and recurrent", 2}, gates});
    else
      expect(bias, {"bias", whose}, real, {gates});
    expect(recurrent_bias, {"recurrent_bias", whose}, real, {gates});
    if (static_cast<bool>(recurrent_bias) != (bias && layer.cell == GATEWISE_GRU && layer.torch_layout)) {
      throw std::runtime_error(
          "gatewise::gru: recurrent_bias stands beside bias with reset_after and torch_layout, and nowhere else. Give or leave out both.");
    }
    expect(input_dropout, {"input_dropout", whose}, real, {{"masks", dropout_masks()}, batch, features});
    expect(recurrent_dropout, {"recurrent_dropout", whose}, real, {{"gates", 3}, batch, units});
  }

  gatewise_inputs inputs(const Tensor& x, const Tensor& mask) const {
    gatewise_inputs in{};
    in.x = x.data<float>();
    in.initial_state[0] = initial_state.data<float>();
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

 private:
  void expect_kernel(Tensor& tensor, const char* name, Axis rows, Axis gates, bool torch_layout) const {
    if (torch_layout)
      expect(tensor, {name, whose}, aoti_torch_dtype_float32(), {gates, rows});
    else
      expect(tensor, {name, whose}, aoti_torch_dtype_float32(), {rows, gates});
  }

  int64_t dropout_masks() const { return input_dropout && input_dropout.rank() == 3 && input_dropout.sizes()[0] == 3 ? 3 : 1; }
};

// A layer of one direction or two, of which the second reads the other way.
template <size_t kDirections>
struct Layer {
  static constexpr size_t kDifferentiable = 1 + kDirections * Direction::kDifferentiable;
  static constexpr size_t kTensors = kDifferentiable + 1 + kDirections * Direction::kFactors, kOptions = 8;
  static constexpr int64_t kCount = kDirections;

  Tensor x, mask;
  std::array<Direction, kDirections> directions;
  gatewise_layer layer{};

  // Takes the arguments in the schema's order. All tensors are taken before anything can raise: they are then freed.
  Layer(const StableValue* tensors, const StableValue* options)
      : x(Tensor::required(tensors[0])), mask(Tensor::optional(tensors[kDifferentiable])) {
    static const char* const kWhose[] = {kDirections > 1 ? "first." : "", "second."};
    for (size_t i = 0; i < kDirections; ++i) {
      directions[i] =
          Direction(kWhose[i], tensors + 1 + i * Direction::kDifferentiable, tensors + kDifferentiable + 1 + i * Direction::kFactors);
    }
    const auto option = [options](int i) { return static_cast<int32_t>(options[i]); };
    layer.struct_size = sizeof layer;
    layer.directions = kCount;
    layer.cell = option(0) ? GATEWISE_GRU : GATEWISE_GRU_RESET_BEFORE;
    layer.activation = option(1);
    layer.recurrent_activation = option(2);
    layer.go_backwards = option(3);
    layer.return_sequences = option(4);
    layer.zero_output_for_mask = option(5);
    layer.recompute = option(6);
    layer.torch_layout = option(7);
  }

  // Sets the sizes from x and the first recurrent_kernel and checks every tensor against them.
  void check_shapes() {
    expect(x, {"x"}, aoti_torch_dtype_float32(), {{"batch"}, {"timesteps"}, {"features"}});
    layer.batch = x.sizes()[0];
    layer.timesteps = x.sizes()[1];
    layer.features = x.sizes()[2];
    layer.units = directions[0].units(layer.torch_layout);
    for (Direction& direction : directions) direction.check_shapes(layer);
    expect(mask, {"mask"}, aoti_torch_dtype_bool(), {{"batch", layer.batch}, {"timesteps", layer.timesteps}});
  }

  std::array<gatewise_inputs, kDirections> inputs() const {
    std::array<gatewise_inputs, kDirections> in;
    for (size_t i = 0; i < kDirections; ++i) in[i] = directions[i].inputs(x, mask);
    return in;
  }

  // The shape of `outputs`: the directions' side by side.
  std::array<int64_t, 3> outputs_shape() const { return {layer.batch, layer.return_sequences ? layer.timesteps : 1, kCount * layer.units}; }

  // The shape of `saved`: gates and, before every chunk of steps, a state; all rows of the first direction, then those of the second. A
  // step begins one chunk at the most, and no vector is wider than 16 floats.
  std::array<int64_t, 3> saved_shape() const {
    const int64_t values = layer.recompute ? static_cast<int64_t>(std::sqrt(static_cast<double>(layer.timesteps))) + 1
                                           : (layer.cell == GATEWISE_GRU ? 5 : 4) * layer.timesteps;
    return {kCount * layer.batch, values, (layer.units + 15) / 16 * 16};
  }

  // Where each direction's part of `saved` begins; null without it.
  std::array<float*, kDirections> parts_of(const Tensor& saved) const {
    if (!saved) return {};
    const auto [rows, values, units] = saved_shape();
    const int64_t floats = rows * values * units / kCount;
    if (gatewise_workspace_floats(&layer) > floats) {
      throw std::runtime_error("gatewise::gru: the engine saves more than torch was told. This is a defect of gatewise: report it.");
    }
    std::array<float*, kDirections> parts;
    for (int64_t i = 0; i < kCount; ++i) parts[static_cast<size_t>(i)] = saved.data<float>() + i * floats;
    return parts;
  }
};

}  // namespace
}  // namespace gatewise_torch
