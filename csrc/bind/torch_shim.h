// SPDX-License-Identifier: Apache-2.0
// The part of libtorch's stable C interface that torch.cpp uses, looked up in the running process: one binary serves every torch that has
// it and none is needed to build it. The declarations follow torch/csrc/inductor/aoti_torch/c/shim.h and torch/csrc/stable/c/shim.h.
//
// A kernel gets its arguments as 64-bit values on a stack, in the schema's order, and leaves its results there. Tensors in it are handles,
// owned by whoever takes them; an optional tensor is null or a heap-allocated value that holds a handle; booleans and integers are
// themselves.
#pragma once

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

#include <type_traits>

namespace gatewise_torch {

struct OpaqueTensor;
struct OpaqueLibrary;
using TensorHandle = OpaqueTensor*;
using LibraryHandle = OpaqueLibrary*;
using StableValue = uint64_t;
using Kernel = void (*)(StableValue* stack, uint64_t inputs, uint64_t outputs);

#define FOR_EACH_FUNCTION(X)                                                                                                \
  X(int32_t, aoti_torch_library_init_impl, (const char*, const char*, const char*, uint32_t, LibraryHandle*))               \
  X(int32_t, aoti_torch_library_impl, (LibraryHandle, const char*, Kernel))                                                 \
  X(int32_t, aoti_torch_dtype_bool, (void))                                                                                 \
  X(int32_t, aoti_torch_dtype_float32, (void))                                                                              \
  X(int32_t, aoti_torch_dtype_int32, (void))                                                                                \
  X(int32_t, aoti_torch_device_type_cpu, (void))                                                                            \
  X(int32_t, aoti_torch_get_dim, (TensorHandle, int64_t*))                                                                  \
  X(int32_t, aoti_torch_get_sizes, (TensorHandle, int64_t**))                                                               \
  X(int32_t, aoti_torch_get_dtype, (TensorHandle, int32_t*))                                                                \
  X(int32_t, aoti_torch_get_data_ptr, (TensorHandle, void**))                                                               \
  X(int32_t, aoti_torch_is_contiguous, (TensorHandle, bool*))                                                               \
  X(int32_t, aoti_torch_empty_strided, (int64_t, const int64_t*, const int64_t*, int32_t, int32_t, int32_t, TensorHandle*)) \
  X(int32_t, aoti_torch_copy_, (TensorHandle, TensorHandle, int32_t))                                                       \
  X(int32_t, aoti_torch_delete_tensor_object, (TensorHandle))

#define DECLARE(result, name, arguments) static result(*name) arguments;
FOR_EACH_FUNCTION(DECLARE)

// From torch 2.13 on an optional value is freed by torch; before, it is the kernel's to delete. Null where torch lacks it.
static int32_t (*torch_delete_stable_ivalue)(StableValue*);

// The start of a parallel region of the OpenMP library that torch runs on; null where torch has none that is called so.
static void (*start_parallel)(void (*work)(void*), void* context, unsigned threads, unsigned flags);

// Returns null, or the name of a function that this process lacks.
static const char* find_torch() {
  void* library = dlopen("libtorch_cpu.so", RTLD_NOLOAD | RTLD_LAZY);
  if (!library) library = dlopen("libtorch_cpu.dylib", RTLD_NOLOAD | RTLD_LAZY);
  if (!library) library = dlopen(nullptr, RTLD_LAZY);
  const auto find = [library](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    return function != nullptr;
  };
#define FIND(result, name, arguments) \
  if (!find(name, #name)) return #name;
  FOR_EACH_FUNCTION(FIND)
  find(torch_delete_stable_ivalue, "torch_delete_stable_ivalue");
  find(start_parallel, "GOMP_parallel");
  return nullptr;
}

}  // namespace gatewise_torch
