// SPDX-License-Identifier: Apache-2.0
// One call of a TensorFlow kernel: its tensors in the order of the operation's definition, their shapes checked, and its failure.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <string>

#include "bind/layer.h"
#include "bind/tensorflow_c_api.h"
#include "engine.h"

namespace gatewise_bind {

// What an operation is given and gives, apart from the workspace, of which each direction has one.
constexpr size_t kSharedInputs = count_of(kInputs, SHARED), kOwnInputs = count_of(kInputs, OWN);
constexpr size_t kSharedOutputs = count_of(kOutputs, SHARED), kOwnOutputs = count_of(kOutputs, OWN);
constexpr size_t kMostTensors = kSharedInputs + kSharedOutputs + kMostDirections * (kOwnInputs + kOwnOutputs + 1);

constexpr Operand kWorkspace{"workspace", "", BOOL, REQUIRED, OWN, CONSTANT};

inline bool is_ok(const TF_Status* status) { return TF_GetCode(status) == kOk; }

// How many inputs of an operation are shared, and how many lists there are with an element for each direction.
struct Counts {
  size_t shared, own;

  explicit constexpr Counts(bool is_gradient)
      : shared(kSharedInputs + (is_gradient ? kSharedOutputs : 0)), own(kOwnInputs + (is_gradient ? kOwnOutputs + 1 : 0)) {}

  size_t directions(int64_t tensors) const { return (static_cast<size_t>(tensors) - shared) / own; }
};

// Goes through an operation's inputs or outputs: what is shared stands first, then the lists one after the other.
struct Places {
  size_t shared, own, directions;

  Places(size_t all_shared, size_t n) : shared(0), own(all_shared), directions(n) {}

  // Where the next one stands, or the next list begins.
  size_t next(Owner owner) {
    size_t& at = owner == SHARED ? shared : own;
    const size_t place = at;
    at += owner == SHARED ? 1 : directions;
    return place;
  }
};

// An input tensor.
struct Given {
  int64_t size[254];  // TensorFlow's highest rank
  Sizes sizes;
  const void* data;

  explicit Given(const TF_Tensor* tensor) : sizes{TF_NumDims(tensor), size}, data(TF_TensorData(tensor)) {
    for (int i = 0; i < sizes.rank; ++i) size[i] = TF_Dim(tensor, i);
    static const char kNothing = 0;
    if (!data) data = &kNothing;  // it has no elements, but is there
  }
  Given(const Given&) = delete;
  Given& operator=(const Given&) = delete;
};

// Ends a call whose status says why.
struct Failed {};

class Call {
 public:
  // Takes the inputs of the layer. Throws Failed, as all that follow.
  Call(TF_OpKernelContext* context, TF_Status* status, const gatewise_layer& options, bool is_gradient)
      : context_(context),
        status_(status),
        tensors_(TF_NumInputs(context)),
        directions_(Counts(is_gradient).directions(tensors_.count)),
        places_(Counts(is_gradient).shared, directions_) {
    if (directions_ > kMostDirections) {
      complain(complaint("directions", "are too many", "1 or 2", std::to_string(directions_), "Give one list element for each."));
    }
    for (int i = 0; i < tensors_.count; ++i) {
      TF_GetInput(context, i, &tensors_.of[i], status);
      require_success();
    }
    layer_.layer = options;
    layer_.layer.directions = static_cast<int32_t>(directions_);
    take_inputs();
  }

  const Layer& layer() const { return layer_; }
  size_t directions() const { return directions_; }

  // Whether an input is there.
  bool has(size_t input, size_t direction) const { return has_[input][direction]; }

  // How many tensors stand for a row.
  size_t count(const Operand& row) const { return row.owner == SHARED ? 1 : directions_; }

  // Takes what stands after the inputs of the layer: the workspaces, and the gradients of its outputs.
  void take_gradients(gatewise_output_gradients* of) {
    const size_t first = places_.next(OWN);
    for (size_t d = 0; d < directions_; ++d) point(of[d].workspace, take(first + d, layer_.name_of(kWorkspace, d), shape_of_workspace()));
    for (size_t i = 0; i < kOutputCount; ++i) {
      const Operand& row = kOutputs[i];
      const size_t place = places_.next(row.owner);
      for (size_t d = 0; d < count(row); ++d) {
        const void* const data = take(place + d, layer_.name_of(row, d, "d_"), layer_.exists(row) ? layer_.shape_of(row) : absent());
        set_output(of[d], i, layer_.exists(row) ? data : nullptr);
      }
    }
  }

  // Allocates an output tensor.
  float* allocate(size_t place, const Shape& shape) { return static_cast<float*>(allocate(place, kFloat, shape, sizeof(float))); }
  float* allocate_workspace(size_t place) { return static_cast<float*>(allocate(place, kBool, shape_of_workspace(), 1)); }

  // Allocates one that stands for nothing, and returns null.
  float* allocate_absent(size_t place) {
    allocate(place, absent());
    return nullptr;
  }

  // Fails if the engine has.
  void report(int engine_status) {
    if (const char* const problem = complaint(engine_status)) {
      fail(engine_status == GATEWISE_OUT_OF_MEMORY ? kResourceExhausted : kInvalidArgument, problem);
    }
  }

 private:
  struct Tensors {
    int count;
    TF_Tensor* of[kMostTensors] = {};

    explicit Tensors(int n) : count(n) {}
    Tensors(const Tensors&) = delete;
    Tensors& operator=(const Tensors&) = delete;
    ~Tensors() {
      for (TF_Tensor* tensor : of) {
        if (tensor) TF_DeleteTensor(tensor);
      }
    }
  };

  static Shape absent() {
    Shape shape;
    shape.add("absent", 0);
    return shape;
  }
  Shape shape_of_workspace() const {
    Shape shape;
    shape.add("bytes", gatewise_workspace_floats(&layer_.layer) * static_cast<int64_t>(sizeof(float)));
    return shape;
  }

  [[noreturn]] void fail(int code, const char* message) {
    TF_SetStatus(status_, code, message);
    throw Failed();
  }
  void complain(const std::string& problem) {
    if (!problem.empty()) fail(kInvalidArgument, problem.c_str());
  }
  void require_success() const {
    if (!is_ok(status_)) throw Failed();
  }

  void take_inputs() {
    size_t place[kInputCount];
    for (size_t i = 0; i < kInputCount; ++i) place[i] = places_.next(kInputs[i].owner);
    {
      const Given x(tensors_.of[place[kInput_x]]), recurrent_kernel(tensors_.of[place[kInput_recurrent_kernel]]);
      complain(layer_.take_sizes(x.sizes, recurrent_kernel.sizes));
    }
    for (size_t i = 0; i < kInputCount; ++i) {
      const Operand& row = kInputs[i];
      for (size_t d = 0; d < directions_; ++d) {
        const Given given(tensors_.of[place[i] + (row.owner == SHARED ? 0 : d)]);
        has_[i][d] = row.presence == REQUIRED || !given.sizes.is_absent();
        complain(layer_.take(i, d, given.sizes, has_[i][d] ? given.data : nullptr));
      }
    }
  }

  const void* take(size_t place, const std::string& name, const Shape& shape) {
    const Given given(tensors_.of[place]);
    if (!fits(shape, given.sizes)) complain(complaint(name, shape, given.sizes));
    return given.data;
  }

  void* allocate(size_t place, int type, const Shape& shape, size_t element) {
    const size_t bytes = static_cast<size_t>(shape.elements()) * element;
    TF_Tensor* const made = TF_AllocateOutput(context_, static_cast<int>(place), type, shape.size, shape.rank, bytes, status_);
    require_success();
    void* const data = TF_TensorData(made);
    TF_DeleteTensor(made);  // the context keeps the memory
    return data;
  }

  TF_OpKernelContext* context_;
  TF_Status* status_;
  Tensors tensors_;
  size_t directions_;
  Places places_;  // of the next inputs
  Layer layer_;
  bool has_[kInputCount][kMostDirections] = {};
};

}  // namespace gatewise_bind
