// SPDX-License-Identifier: Apache-2.0
// The part of TensorFlow's C API that tensorflow.cpp uses, looked up in the running process: one binary serves every TensorFlow and none is
// needed to build it. The declarations follow tensorflow/c/{tf_status,tf_datatype,tf_tensor,kernels,ops}.h.
#pragma once

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>

struct TF_Status;
struct TF_Tensor;
struct TF_KernelBuilder;
struct TF_OpKernelConstruction;
struct TF_OpKernelContext;
struct TF_OpDefinitionBuilder;
struct TF_ShapeHandle;
struct TF_ShapeInferenceContext;
using create_function = void* (*)(TF_OpKernelConstruction*);
using compute_function = void (*)(void*, TF_OpKernelContext*);
using delete_function = void (*)(void*);
using shape_function = void (*)(TF_ShapeInferenceContext*, TF_Status*);

enum { kFloat = 1, kBool = 10 };                                 // TF_DataType
enum { kOk = 0, kInvalidArgument = 3, kResourceExhausted = 8 };  // TF_Code

#define FOR_EACH_FUNCTION(X)                                                                                                             \
  X(TF_Status*, TF_NewStatus, ())                                                                                                        \
  X(void, TF_DeleteStatus, (TF_Status*))                                                                                                 \
  X(void, TF_SetStatus, (TF_Status*, int, const char*))                                                                                  \
  X(int, TF_GetCode, (const TF_Status*))                                                                                                 \
  X(const char*, TF_Message, (const TF_Status*))                                                                                         \
  X(void, TF_DeleteTensor, (TF_Tensor*))                                                                                                 \
  X(void*, TF_TensorData, (const TF_Tensor*))                                                                                            \
  X(int, TF_NumDims, (const TF_Tensor*))                                                                                                 \
  X(int64_t, TF_Dim, (const TF_Tensor*, int))                                                                                            \
  X(int, TF_NumInputs, (TF_OpKernelContext*))                                                                                            \
  X(void, TF_GetInput, (TF_OpKernelContext*, int, TF_Tensor**, TF_Status*))                                                              \
  X(TF_Tensor*, TF_AllocateOutput, (TF_OpKernelContext*, int, int, const int64_t*, int, size_t, TF_Status*))                             \
  X(void, TF_OpKernelContext_Failure, (TF_OpKernelContext*, TF_Status*))                                                                 \
  X(void, TF_OpKernelConstruction_Failure, (TF_OpKernelConstruction*, TF_Status*))                                                       \
  X(void, TF_OpKernelConstruction_GetAttrBool, (TF_OpKernelConstruction*, const char*, unsigned char*, TF_Status*))                      \
  X(void, TF_OpKernelConstruction_GetAttrInt32, (TF_OpKernelConstruction*, const char*, int32_t*, TF_Status*))                           \
  X(TF_KernelBuilder*, TF_NewKernelBuilder, (const char*, const char*, create_function, compute_function, delete_function))              \
  X(void, TF_RegisterKernelBuilder, (const char*, TF_KernelBuilder*, TF_Status*))                                                        \
  X(TF_OpDefinitionBuilder*, TF_NewOpDefinitionBuilder, (const char*))                                                                   \
  X(void, TF_OpDefinitionBuilderAddInput, (TF_OpDefinitionBuilder*, const char*))                                                        \
  X(void, TF_OpDefinitionBuilderAddOutput, (TF_OpDefinitionBuilder*, const char*))                                                       \
  X(void, TF_OpDefinitionBuilderAddAttr, (TF_OpDefinitionBuilder*, const char*))                                                         \
  X(void, TF_OpDefinitionBuilderSetShapeInferenceFunction, (TF_OpDefinitionBuilder*, shape_function))                                    \
  X(void, TF_RegisterOpDefinition, (TF_OpDefinitionBuilder*, TF_Status*))                                                                \
  X(TF_ShapeHandle*, TF_NewShapeHandle, ())                                                                                              \
  X(void, TF_DeleteShapeHandle, (TF_ShapeHandle*))                                                                                       \
  X(int64_t, TF_ShapeInferenceContextNumInputs, (TF_ShapeInferenceContext*))                                                             \
  X(void, TF_ShapeInferenceContextGetInput, (TF_ShapeInferenceContext*, int, TF_ShapeHandle*, TF_Status*))                               \
  X(void, TF_ShapeInferenceContextSetOutput, (TF_ShapeInferenceContext*, int, TF_ShapeHandle*, TF_Status*))                              \
  X(TF_ShapeHandle*, TF_ShapeInferenceContextScalar, (TF_ShapeInferenceContext*))                                                        \
  X(TF_ShapeHandle*, TF_ShapeInferenceContextVectorFromSize, (TF_ShapeInferenceContext*, size_t))                                        \
  X(void, TF_ShapeInferenceContextWithRank, (TF_ShapeInferenceContext*, TF_ShapeHandle*, int64_t, TF_ShapeHandle*, TF_Status*))          \
  X(void, TF_ShapeInferenceContextSubshape, (TF_ShapeInferenceContext*, TF_ShapeHandle*, int64_t, int64_t, TF_ShapeHandle*, TF_Status*)) \
  X(void, TF_ShapeInferenceContextConcatenateShapes,                                                                                     \
    (TF_ShapeInferenceContext*, TF_ShapeHandle*, TF_ShapeHandle*, TF_ShapeHandle*, TF_Status*))

#define DECLARE(result, name, arguments) inline result(*name) arguments;
FOR_EACH_FUNCTION(DECLARE)
#undef DECLARE

// Returns null, or the name of a function that this process lacks.
inline const char* find_tensorflow() {
  void* library = dlopen("libtensorflow_framework.so.2", RTLD_NOLOAD | RTLD_LAZY);
  if (!library) library = dlopen("libtensorflow_framework.2.dylib", RTLD_NOLOAD | RTLD_LAZY);
  if (!library) library = dlopen(nullptr, RTLD_LAZY);
#define FIND(result, name, arguments)                                  \
  name = reinterpret_cast<result(*) arguments>(dlsym(library, #name)); \
  if (!name) return #name;
  FOR_EACH_FUNCTION(FIND)
#undef FIND
  return nullptr;
}
