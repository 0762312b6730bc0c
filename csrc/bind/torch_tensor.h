// SPDX-License-Identifier: Apache-2.0
// A tensor of torch as torch.cpp sees it: owned, made, measured, and checked against what an operation expects.
#pragma once

#include <stdint.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>

#include "bind/layer.h"
#include "bind/torch_shim.h"

namespace gatewise_torch {
namespace {

// --- Tensors -----------------------------------------------------------------------------------------------------------------------------

void check(int32_t error) {
  if (error) throw std::runtime_error("gatewise: torch could not serve a call; its log says why. Use a smaller batch.");
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
  static Tensor empty(int32_t dtype, const gatewise_bind::Shape& shape) { return empty(dtype, shape.rank, shape.size); }
  // In the shape of another; what stands for an absent one if there is none.
  static Tensor floats_like(const Tensor& other) {
    return other ? empty(aoti_torch_dtype_float32(), other.rank(), other.sizes().sizes) : absent();
  }
  // Of one axis without elements: the result that is none.
  static Tensor absent() {
    const int64_t none = 0;
    return empty(aoti_torch_dtype_float32(), 1, &none);
  }

  explicit operator bool() const { return handle_ != nullptr; }

  int64_t rank() const {
    int64_t rank = 0;
    check(aoti_torch_get_dim(handle_, &rank));
    return rank;
  }
  // Those of no axes without a tensor.
  gatewise_bind::Sizes sizes() const {
    int64_t* sizes = nullptr;
    if (!handle_) return {};
    check(aoti_torch_get_sizes(handle_, &sizes));
    return {rank(), sizes};
  }
  int32_t dtype() const {
    int32_t dtype = 0;
    check(aoti_torch_get_dtype(handle_, &dtype));
    return dtype;
  }

  // The elements, or null without a tensor.
  void* data() const {
    void* data = nullptr;
    if (handle_) check(aoti_torch_get_data_ptr(handle_, &data));
    return data;
  }
  float* floats() const { return static_cast<float*>(data()); }

  // Copies the elements into C order, unless they stand so. Of rank 8 at the most.
  void make_contiguous() {
    bool contiguous = false;
    check(aoti_torch_is_contiguous(handle_, &contiguous));
    if (contiguous) return;
    Tensor copy = empty(dtype(), rank(), sizes().sizes);
    check(aoti_torch_copy_(copy.handle_, handle_, 0));
    *this = std::move(copy);
  }

  // Hands the tensor over to torch, as a kernel's result.
  StableValue release() { return reinterpret_cast<StableValue>(std::exchange(handle_, nullptr)); }

 private:
  TensorHandle handle_ = nullptr;
};

// --- Checks ------------------------------------------------------------------------------------------------------------------------------

// Raises unless there is nothing to say.
void complain(const std::string& problem) {
  if (!problem.empty()) throw std::runtime_error(problem);
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

// Raises unless the tensor is of this type. An absent one passes.
void expect(const Tensor& tensor, const std::string& name, int32_t dtype) {
  if (!tensor || tensor.dtype() == dtype) return;
  complain(gatewise_bind::complaint(name, "has the wrong type", dtype_name(dtype), dtype_name(tensor.dtype()), "Convert it first."));
}

// Raises unless the tensor is of this type and shape, and brings it into C order. An absent one passes.
void expect(Tensor& tensor, const std::string& name, int32_t dtype, const gatewise_bind::Shape& shape) {
  if (!tensor) return;
  expect(tensor, name, dtype);
  if (!gatewise_bind::fits(shape, tensor.sizes())) complain(gatewise_bind::complaint(name, shape, tensor.sizes()));
  tensor.make_contiguous();
}

}  // namespace
}  // namespace gatewise_torch
