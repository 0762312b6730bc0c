// SPDX-License-Identifier: Apache-2.0
// A layer as torch hands it over: its arguments taken from a kernel's stack and checked.
//
//   inputs, of the backward pass workspace and the gradients of the outputs, options, and of it whether the gradient of x is wanted
//
// Each in the order of operands.h: what all directions share, then each direction's own. The gradient of an output that the cell has not is
// absent, or without elements as that output is.
#pragma once

#include <stdint.h>

#include <cmath>
#include <string>

#include "bind/layer.h"
#include "bind/torch_shim.h"
#include "bind/torch_tensor.h"
#include "engine.h"

namespace gatewise_torch {
namespace {

using gatewise_bind::kInputCount;
using gatewise_bind::kInputs;
using gatewise_bind::kMostDirections;
using gatewise_bind::kOptionCount;
using gatewise_bind::kOutputCount;
using gatewise_bind::kOutputs;

// A tensor for each row of the table and each direction.
template <size_t kCount>
class Tensors {
 public:
  explicit Tensors(const gatewise_bind::Operand (&rows)[kCount]) : rows_(rows) {}

  // That of all directions if it is shared.
  Tensor& at(size_t row, size_t direction) { return tensors_[rows_[row].owner == gatewise_bind::SHARED ? 0 : direction][row]; }

  // Calls visit(row, tensor) for all, in the order of an operation.
  template <class Visit>
  void each(size_t directions, Visit visit) {
    for (const auto owner : {gatewise_bind::SHARED, gatewise_bind::OWN}) {
      for (size_t d = 0; d < (owner == gatewise_bind::SHARED ? 1 : directions); ++d) {
        for (size_t i = 0; i < kCount; ++i) {
          if (rows_[i].owner == owner) visit(i, tensors_[d][i]);
        }
      }
    }
  }

 private:
  const gatewise_bind::Operand (&rows_)[kCount];
  Tensor tensors_[kMostDirections][kCount];
};

// The arguments of an operation.
struct Call {
  gatewise_bind::Layer layer;
  Tensors<kInputCount> inputs{kInputs};
  Tensors<kOutputCount> d_outputs{kOutputs};  // of the backward pass, as what follows
  Tensor workspace;
  bool x_gradient = false;

  // Takes them in the schema's order. All tensors are taken before anything can raise: they are then freed.
  Call(size_t directions, const StableValue* next, bool backward) {
    inputs.each(directions, [&next](size_t i, Tensor& input) {
      input = kInputs[i].presence == gatewise_bind::REQUIRED ? Tensor::required(*next++) : Tensor::optional(*next++);
    });
    if (backward) {
      workspace = Tensor::required(*next++);
      d_outputs.each(directions, [&next](size_t, Tensor& gradient) { gradient = Tensor::optional(*next++); });
    }
    layer.layer.directions = static_cast<int32_t>(directions);
    for (size_t i = 0; i < kOptionCount; ++i) gatewise_bind::set_option(layer.layer, i, static_cast<int32_t>(*next++));
    if (backward) x_gradient = *next != 0;
  }

  size_t directions() const { return static_cast<size_t>(layer.layer.directions); }

  // Takes the sizes from x and the first recurrent kernel, checks every input against them and brings it into C order.
  void check_inputs() {
    const size_t sizes_of[] = {gatewise_bind::kInput_x, gatewise_bind::kInput_recurrent_kernel};
    for (const size_t i : sizes_of) expect_type(i, 0);
    complain(layer.take_sizes(inputs.at(sizes_of[0], 0).sizes(), inputs.at(sizes_of[1], 0).sizes()));
    for (size_t d = 0; d < directions(); ++d) {
      for (size_t i = 0; i < kInputCount; ++i) {
        expect_type(i, d);
        Tensor& input = inputs.at(i, d);
        complain(layer.take(i, d, input.sizes(), input.data()));
        if (!input) continue;
        input.make_contiguous();
        gatewise_bind::set_input(layer.in[d], i, input.data());
      }
    }
  }

  // Likewise what the backward pass is given besides.
  void check_given() {
    expect(workspace, "workspace", aoti_torch_dtype_int32(), workspace_shape());
    for (size_t d = 0; d < directions(); ++d) {
      for (size_t i = 0; i < kOutputCount; ++i) {
        Tensor& gradient = d_outputs.at(i, d);
        if (!layer.exists(kOutputs[i]) && gradient && gradient.sizes().is_absent()) gradient = Tensor();
        expect(gradient, layer.name_of(kOutputs[i], d, "d_"), aoti_torch_dtype_float32(), shape_of(kOutputs[i]));
      }
    }
  }

  // The shape of an output; that of what stands for one that the cell has not.
  gatewise_bind::Shape shape_of(const gatewise_bind::Operand& output) const {
    if (layer.exists(output)) return layer.shape_of(output);
    gatewise_bind::Shape absent;
    absent.add("nothing", 0);
    return absent;
  }

  // The shape of `workspace`: all rows of the first direction, then those of the second. With `recompute` a step begins one chunk at the
  // most, before each of which the states are kept; no vector is wider than 16 floats.
  gatewise_bind::Shape workspace_shape() const {
    const gatewise_layer& s = layer.layer;
    gatewise_bind::Shape shape;
    shape.add("rows", s.directions * s.batch);
    shape.add("values", s.recompute ? layer.cell.states * (static_cast<int64_t>(std::sqrt(static_cast<double>(s.timesteps))) + 1)
                                    : layer.cell.workspace * s.timesteps);
    shape.add("padded units", (s.units + 15) / 16 * 16);
    return shape;
  }

  // Where a direction's part of it begins; null without it.
  float* part_of(const Tensor& of, size_t direction) const {
    if (!of) return nullptr;
    const int64_t floats = workspace_shape().elements() / layer.layer.directions;
    if (gatewise_workspace_floats(&layer.layer) > floats) {
      complain("gatewise: the engine keeps more than torch was told. This is a defect of gatewise: report it.");
    }
    return of.floats() + static_cast<int64_t>(direction) * floats;
  }

 private:
  void expect_type(size_t input, size_t direction) {
    const gatewise_bind::Operand& row = kInputs[input];
    expect(inputs.at(input, direction), layer.name_of(row, direction),
           row.type == gatewise_bind::BOOL ? aoti_torch_dtype_bool() : aoti_torch_dtype_float32());
  }
};

}  // namespace
}  // namespace gatewise_torch
