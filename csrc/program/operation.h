// SPDX-License-Identifier: Apache-2.0
// What a kernel sees of an operation: plain sizes, numbers and pointers, and the frames that it is to make.
//
// A frame is one row of the batch at one step. Kernels make the frames [begin, end) of their first output, counted row by row, each from
// its own row alone and by sums in an order that the row alone decides: the same bits however frames are shared out.
#pragma once

#include <stdint.h>

namespace gatewise {

enum class Padding : int32_t { kValid, kSame, kCausal };

enum class Function : int32_t {
  kLinear,
  kTanh,
  kSigmoid,
  kRelu,
  kHardSigmoid,
  kRelu6,
  kLeakyRelu,
  kElu,
  kSelu,
  kCelu,
  kGelu,
  kSilu,
  kHardSilu,
  kHardTanh,
  kSoftplus,
  kSoftsign,
  kExponential,
  kMish,
  kLogSigmoid,
  kTanhShrink,
  kSoftShrink,
  kHardShrink,
  kThreshold,
  kSquareplus,
  kSparsePlus,
  kSparseSigmoid,
  kSqrt,
  kAbsolute
};

enum class Reduction : int32_t { kMean, kSum, kMax, kMin };

// A weight as the caller gave it; null: not given.
struct Weight {
  const float* data;
  int64_t floats;
};

// Options and weights, of which each kind has some.
struct Parameters {
  Function function;
  float slope, alpha, threshold, most, least, epsilon, scale;
  double value;
  bool approximate, causal;
  Reduction reduction;
  int64_t size, strides, dilation, groups, heads;
  Padding padding;
  int64_t start, stop, step, index;
  bool over_time;           // an axis: the steps; else the features
  int64_t inputs, outputs;  // of a product, for each group
  Weight kernel, bias, gain, offset;

  int64_t reach() const { return (size - 1) * dilation; }  // steps from the first of a window to its last
};

// The frames of a value in a call.
struct Frames {
  void* data;     // or null: not given
  int64_t steps;  // T
  int64_t width;
  bool same;  // a constant: one row for the whole batch

  bool given() const { return data != nullptr; }
  const float* floats() const { return static_cast<const float*>(data); }
  // Where the frame of a row at a step stands; what has one step has it at all.
  int64_t frame(int64_t row, int64_t step) const { return (same ? 0 : row * steps) + (steps == 1 ? 0 : step); }
};

// Rows of a state.
struct StateRows {
  float* data;
  int64_t stride;
  const int64_t* places;  // or null: 0, 1, 2 ...

  float* row(int64_t i) const { return data + (places ? places[i] : i) * stride; }
};

// An operation in a call.
struct Work {
  const Parameters* parameters;
  const float* packed;  // weights as the kernel multiplies with them
  const Frames* in;
  int32_t inputs;
  const Frames* out;
  int32_t outputs;
  const StateRows* states;  // or null: the sequences are whole
  int64_t batch;
};

// Makes frames [begin, end) of the first output; `scratch` is the thread's own, 64-byte aligned.
using Kernel = void (*)(const Work& work, int64_t begin, int64_t end, float* scratch);

enum class Kind : int32_t {
  kDense,
  kConv,
  kDepthwise,
  kMaxPool,
  kAveragePool,
  kLayerNormalization,
  kRmsNormalization,
  kUnitNormalization,
  kAffine,
  kActivation,
  kPrelu,
  kSoftmax,
  kLogSoftmax,
  kEmbedding,
  kNotEqual,
  kZeroMasked,
  kAll,
  kAny,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kAverage,
  kMaximum,
  kMinimum,
  kConcatenate,
  kSlice,
  kUpsample,
  kMatmul,
  kReduce,
  kAttention,
  kAdditiveAttention,
  kCount
};

// What an instruction set has of programs.
struct ProgramKernels {
  int64_t lanes;
  Kernel of[static_cast<int32_t>(Kind::kCount)];
};

// Weights (groups of `outputs` columns each, of `inputs` rows) as products read them: for each group its panels of `lanes` columns, and for
// each of these the bias and then the rows.
struct ProductLayout {
  int64_t lanes, groups, inputs, outputs;

  int64_t panels() const { return (outputs + lanes - 1) / lanes; }
  int64_t panel_floats() const { return (inputs + 1) * lanes; }
  int64_t group_floats() const { return panels() * panel_floats(); }
  int64_t floats() const { return groups * group_floats(); }
};

}  // namespace gatewise
