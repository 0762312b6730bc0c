// SPDX-License-Identifier: Apache-2.0
// A tensor of torch as torch.cpp sees it: owned, made, measured, and checked against what an operation expects.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>

#include "bind/torch_shim.h"

namespace gatewise_torch {
namespace {

// --- Tensors -----------------------------------------------------------------------------------------------------------------------------

void check(int32_t error) {
  if (error) throw std::runtime_error("gatewise::gru: torch could not serve a call; its log says why. Use a smaller batch.");
}

// A tensor of torch, owned; or none.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(TensorHandle handle) : handle_(handle) {}
  Tensor(Tensor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Tensor& operator=(Tensor&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Tensor() {
    if (handle_) aoti_torch_delete_tensor_object(handle_);
  }

  // Takes over the handle in a kernel's argument `Tensor` or `Tensor?`.
  static Tensor required(StableValue value) { return Tensor(reinterpret_cast<TensorHandle>(value)); }
  static Tensor optional(StableValue value) {
    auto* inner = reinterpret_cast<StableValue*>(value);
    if (!inner) return {};
    Tensor tensor = required(*inner);
    if (torch_delete_stable_ivalue)
      torch_delete_stable_ivalue(inner);
    else
      delete inner;
    return tensor;
  }

  // Makes a contiguous tensor on the CPU, not filled.
  static Tensor empty(int32_t dtype, int64_t rank, const int64_t* sizes) {
    std::array<int64_t, 8> strides{};
    int64_t stride = 1;
    for (int64_t i = rank - 1; i >= 0; --i) {
      strides[static_cast<size_t>(i)] = stride;
      stride *= std::max<int64_t>(sizes[i], 1);
    }
    TensorHandle handle = nullptr;
    check(aoti_torch_empty_strided(rank, sizes, strides.data(), dtype, aoti_torch_device_type_cpu(), -1, &handle));
    return Tensor(handle);
  }
  template <size_t kRank>
  static Tensor empty(int32_t dtype, const std::array<int64_t, kRank>& sizes) {
    return empty(dtype, static_cast<int64_t>(kRank), sizes.data());
  }
  // In the shape of another; of one axis without elements if there is none.
  static Tensor floats_like(const Tensor& other) {
    const int64_t none = 0, rank = other ? other.rank() : 1;
    return empty(aoti_torch_dtype_float32(), rank, other ? other.sizes() : &none);
  }

  explicit operator bool() const { return handle_ != nullptr; }

  int64_t rank() const {
    int64_t rank = 0;
    check(aoti_torch_get_dim(handle_, &rank));
    return rank;
  }
  const int64_t* sizes() const {
    int64_t* sizes = nullptr;
    check(aoti_torch_get_sizes(handle_, &sizes));
    return sizes;
  }
  int32_t dtype() const {
    int32_t dtype = 0;
    check(aoti_torch_get_dtype(handle_, &dtype));
    return dtype;
  }

  // The elements, or null without a tensor.
  template <class T>
  T* data() const {
    void* data = nullptr;
    if (handle_) check(aoti_torch_get_data_ptr(handle_, &data));
    return static_cast<T*>(data);
  }

  // Copies the elements into C order, unless they stand so. Of rank 8 at the most.
  void make_contiguous() {
    bool contiguous = false;
    check(aoti_torch_is_contiguous(handle_, &contiguous));
    if (contiguous) return;
    Tensor copy = empty(dtype(), rank(), sizes());
    check(aoti_torch_copy_(copy.handle_, handle_, 0));
    *this = std::move(copy);
  }

  // Hands the tensor over to torch, as a kernel's result.
  StableValue release() { return reinterpret_cast<StableValue>(std::exchange(handle_, nullptr)); }

 private:
  TensorHandle handle_ = nullptr;
};

// --- Checks ------------------------------------------------------------------------------------------------------------------------------

struct Axis {
  const char* name;
  int64_t size = -1;  // negative: any
};

std::string joined(std::initializer_list<Axis> axes) {
  std::string text;
  for (const Axis& axis : axes) {
    if (!text.empty()) text += ", ";
    text += axis.name;
    if (axis.size >= 0) text += "=" + std::to_string(axis.size);
  }
  return "(" + text + ")";
}

std::string shape_of(const Tensor& tensor) {
  std::string text;
  for (int64_t i = 0; i < tensor.rank(); ++i) text += (i ? ", " : "") + std::to_string(tensor.sizes()[i]);
  return "(" + text + ")";
}

// By the numbers of torch's ScalarType.
const char* dtype_name(int32_t dtype) {
  static const char* const kNames[] = {
      "uint8",     "int8",       "int16",   "int32", "int64",  "float16",     "float32",       "float64",         "complex32",
      "complex64", "complex128", "bool",    "qint8", "quint8", "qint32",      "bfloat16",      "quint4x2",        "quint2x4",
      "bits1x8",   "bits2x4",    "bits4x2", "bits8", "bits16", "float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz",
      "uint16",    "uint32",     "uint64"};
  return dtype >= 0 && dtype < static_cast<int32_t>(std::size(kNames)) ? kNames[dtype] : "another";
}

// What an argument is called; before it, whose it is, where two are called so.
struct Name {
  const char* text;
  const char* whose = "";
};

// Raises unless the tensor is of this type and shape, and brings it into C order. An absent tensor passes.
void expect(Tensor& tensor, Name name, int32_t dtype, std::initializer_list<Axis> axes) {
  if (!tensor) return;
  const auto where = [name] { return std::string("gatewise::gru: ") + name.whose + name.text; };
  if (tensor.dtype() != dtype) {
    throw std::runtime_error(where() + " has the wrong type. Expected " + dtype_name(dtype) + "; received " + dtype_name(tensor.dtype()) +
                             ". Convert it first.");
  }
  bool fits = tensor.rank() == static_cast<int64_t>(axes.size());
  for (size_t i = 0; fits && i < axes.size(); ++i) {
    const int64_t size = axes.begin()[i].size;
    fits = size < 0 || size == tensor.sizes()[i];
  }
  if (!fits) {
    throw std::runtime_error(where() + " has the wrong shape. Expected " + joined(axes) + "; received " + shape_of(tensor) +
                             ". Check what the layer was given.");
  }
  tensor.make_contiguous();
}

}  // namespace
}  // namespace gatewise_torch
