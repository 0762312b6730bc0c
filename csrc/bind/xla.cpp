// SPDX-License-Identifier: Apache-2.0
// The engine as XLA custom calls, for JAX: no mathematics. Shapes are checked here, since XLA hands over whatever a program was traced
// with.
//
//   gatewise_xla_rnn        runs the layer:          shared inputs                -> outputs
//                                                    a direction's: own inputs    -> h, c
//   gatewise_xla_rnn_train  keeps a workspace, too:  a direction's besides        -> workspace
//   gatewise_xla_rnn_grad   the backward pass:       shared inputs, d_outputs     -> d_x
//                                                    a direction's: own inputs, workspace, d_h, d_c
//                                                                                 -> the gradients of its own inputs
//
// Inputs and outputs are the rows of operands.h in their order, gradients those that are differentiable. A layer has one direction or two:
// what they share comes first, then what the first has of its own, then the second's. What is absent or not wanted is an array of shape
// (0,). The workspace is (batch, more than what a row needs), so that it can be cut along the batch; it is declared to hold whole numbers,
// which have no gradient and no NaN to look for. It is of no use to a call for other rows than those that it was written for, and says
// which they are.
#include <xla/ffi/api/ffi.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "bind/layer.h"
#include "engine.h"

namespace ffi = xla::ffi;

namespace {

using gatewise_bind::complaint;
using gatewise_bind::kInputCount;
using gatewise_bind::kInputs;
using gatewise_bind::kMostDirections;
using gatewise_bind::kOptionCount;
using gatewise_bind::kOutputCount;
using gatewise_bind::kOutputs;
using gatewise_bind::Operand;
using gatewise_bind::OWN;
using gatewise_bind::Owner;
using gatewise_bind::Shape;
using gatewise_bind::SHARED;
using gatewise_bind::Sizes;

// The attributes of every call, in the order of the table.
struct Options {
  int32_t values[kOptionCount];
};

// Throws what XLA sees as an invalid argument, unless there is nothing to say.
void complain(const std::string& problem) {
  if (!problem.empty()) throw std::invalid_argument(problem);
}

void check_engine(int status) {
  if (status == GATEWISE_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status != GATEWISE_OK) complain(complaint(status));
}

// --- Arrays ------------------------------------------------------------------------------------------------------------------------------

// An operand or a result.
struct Array {
  ffi::DataType type = ffi::DataType::INVALID;
  Sizes sizes;
  void* data = nullptr;  // null if it is absent

  Array() = default;
  explicit Array(ffi::AnyBuffer buffer)
      : type(buffer.element_type()),
        sizes{static_cast<int64_t>(buffer.dimensions().size()), buffer.dimensions().begin()},
        data(sizes.is_absent() ? nullptr : there(buffer.untyped_data())) {}
  explicit Array(ffi::Result<ffi::AnyBuffer> buffer) : Array(*buffer) {}

  float* floats() const { return static_cast<float*>(data); }
  uint32_t* words() const { return static_cast<uint32_t*>(data); }
  int64_t elements() const {
    int64_t count = 1;
    for (int64_t i = 0; i < sizes.rank; ++i) count *= sizes.sizes[i];
    return count;
  }

 private:
  // XLA has no memory for an array of no elements, which is there all the same.
  static void* there(void* data) {
    static uint32_t nothing;
    return data ? data : &nothing;
  }
};

// The operands or the results of a call, in their order: so many that all directions share, then so many of each direction.
class Arrays {
 public:
  template <class Values>  // ffi::RemainingArgs or ffi::RemainingRets
  Arrays(const Values& values, size_t shared, size_t own) : directions_((std::max(values.size(), shared) - shared) / own) {
    if (values.size() != shared + own * directions_ || directions_ < 1 || directions_ > kMostDirections) {
      complain(complaint("a handler", "has the wrong number of arrays", "those of one direction or of two", std::to_string(values.size()),
                         "This is a defect of gatewise: report it."));
    }
    arrays_.reserve(values.size());
    for (size_t i = 0; i < values.size(); ++i) arrays_.emplace_back(*values.template get<ffi::AnyBuffer>(i));
    for (size_t i = 0; i < directions_; ++i) next_own_[i] = shared + i * own;
  }

  size_t directions() const { return directions_; }

  // The next array that all share, or that a direction has of its own.
  const Array& next(Owner owner, size_t direction, ffi::DataType type = ffi::F32) {
    const Array& array = arrays_[owner == SHARED ? next_shared_++ : next_own_[direction]++];
    if (array.type != type) {
      complain(complaint("an array of a handler", "has the wrong type", std::to_string(static_cast<int>(type)),
                         std::to_string(static_cast<int>(array.type)), "This is a defect of gatewise: report it."));
    }
    return array;
  }

 private:
  const size_t directions_;
  std::vector<Array> arrays_;
  size_t next_shared_ = 0, next_own_[kMostDirections] = {};
};

constexpr size_t kSharedInputs = count_of(kInputs, SHARED), kOwnInputs = count_of(kInputs, OWN);
constexpr size_t kSharedOutputs = count_of(kOutputs, SHARED), kOwnOutputs = count_of(kOutputs, OWN);

constexpr size_t gradients(Owner owner) {
  size_t count = 0;
  for (const Operand& row : kInputs) count += row.owner == owner && row.derivative == gatewise_bind::DIFFERENTIABLE;
  return count;
}

// --- The layer ---------------------------------------------------------------------------------------------------------------------------

// A layer whose inputs are the next ones of the operands.
struct Layer : gatewise_bind::Layer {
  Layer(const Options& options, Arrays& operands) {
    for (size_t i = 0; i < kOptionCount; ++i) gatewise_bind::set_option(layer, i, options.values[i]);
    layer.directions = static_cast<int32_t>(operands.directions());
    Array arrays[kInputCount][kMostDirections];
    for (size_t i = 0; i < kInputCount; ++i) {
      const ffi::DataType type = kInputs[i].type == gatewise_bind::BOOL ? ffi::PRED : ffi::F32;
      for (size_t d = 0; d < directions(); ++d) {
        arrays[i][d] = d > 0 && kInputs[i].owner == SHARED ? arrays[i][0] : operands.next(kInputs[i].owner, d, type);
      }
    }
    complain(take_sizes(arrays[gatewise_bind::kInput_x][0].sizes, arrays[gatewise_bind::kInput_recurrent_kernel][0].sizes));
    for (size_t i = 0; i < kInputCount; ++i) {
      for (size_t d = 0; d < directions(); ++d) {
        const Array& array = arrays[i][d];
        if (!array.data && kInputs[i].presence == gatewise_bind::REQUIRED) require(kInputs[i], d, array);
        complain(take(i, d, array.sizes, array.data));
      }
    }
  }

  size_t directions() const { return static_cast<size_t>(layer.directions); }
  // How many directions have an array of their own of such a row, or share one.
  size_t holders(const Operand& row) const { return row.owner == OWN ? directions() : 1; }

  // Returns the array of an output, or of a gradient, once its shape is checked.
  const Array& require(const Operand& row, size_t direction, const Array& array, const char* prefix = "") const {
    const Shape shape = shape_of(row);
    if (!fits(shape, array.sizes)) complain(complaint(name_of(row, direction, prefix), shape, array.sizes));
    return array;
  }
  const Array& allow(const Operand& row, size_t direction, const Array& array, const char* prefix = "") const {
    return array.data ? require(row, direction, array, prefix) : array;
  }

  // The next workspace, once it is known to be large enough.
  const Array& workspace(Arrays& arrays, size_t direction) const {
    const Array& array = arrays.next(OWN, direction, ffi::U32);
    Shape shape;
    shape.add("batch", layer.batch);
    shape.add("numbers a row", -1);
    if (!fits(shape, array.sizes)) complain(complaint("workspace", shape, array.sizes));
    const int64_t needed = gatewise_workspace_floats(&layer) + 1;
    if (layer.batch > 0 && array.elements() < needed) {
      complain(complaint("workspace", "is too small", std::to_string(needed) + " numbers", text_of(array.sizes),
                         "Trace the function again: the instruction set has changed."));
    }
    return array;
  }

  // Writes behind what a workspace holds how many rows it is for.
  void mark(const Array& workspace) const {
    if (layer.batch == 0) return;
    std::fill(workspace.words() + gatewise_workspace_floats(&layer), workspace.words() + workspace.elements(), rows_mark());
  }
  bool is_marked(const Array& workspace) const { return layer.batch == 0 || workspace.words()[workspace.elements() - 1] == rows_mark(); }

 private:
  // A NaN that no calculation makes, so that it is not taken for a number of the workspace.
  uint32_t rows_mark() const { return 0xffc00000u | static_cast<uint32_t>(layer.batch & 0x3fffff); }
};

// Runs forward again for a backward pass whose rows are not those of the forward pass: XLA has cut the batch up in another way. Returns the
// memory that the workspaces stand in.
std::vector<float> run_again(const Layer& layer, gatewise_output_gradients* of) {
  const int64_t floats = gatewise_workspace_floats(&layer.layer);
  std::vector<int64_t> sizes;
  int64_t all = floats;
  for (const Operand& row : kOutputs) {
    sizes.push_back(row.owner == OWN && layer.exists(row) ? layer.shape_of(row).elements() : 0);
    all += sizes.back();
  }
  std::vector<float> memory(layer.directions() * static_cast<size_t>(all));
  float* next = memory.data();
  gatewise_outputs out[kMostDirections]{};
  for (size_t d = 0; d < layer.directions(); ++d) {
    of[d].workspace = out[d].workspace = next;
    next += floats;
    for (size_t i = 0; i < kOutputCount; next += sizes[i++]) {
      if (sizes[i]) gatewise_bind::set_output(out[d], i, next);
    }
  }
  check_engine(gatewise_forward(&layer.layer, layer.in, out));
  return memory;
}

// --- The handlers ------------------------------------------------------------------------------------------------------------------------

void run_forward(const Options& options, const ffi::RemainingArgs& arguments, const ffi::RemainingRets& returned, bool keeps) {
  Arrays operands(arguments, kSharedInputs, kOwnInputs), results(returned, kSharedOutputs, kOwnOutputs + keeps);
  const Layer layer(options, operands);
  gatewise_outputs out[kMostDirections]{};
  for (size_t i = 0; i < kOutputCount; ++i) {
    for (size_t d = 0; d < layer.holders(kOutputs[i]); ++d) {
      const Array& array = results.next(kOutputs[i].owner, d);
      if (layer.exists(kOutputs[i])) gatewise_bind::set_output(out[d], i, layer.require(kOutputs[i], d, array).data);
    }
  }
  const Array* kept[kMostDirections]{};
  for (size_t d = 0; keeps && d < layer.directions(); ++d) {
    kept[d] = &layer.workspace(results, d);
    out[d].workspace = kept[d]->floats();
  }
  check_engine(gatewise_forward(&layer.layer, layer.in, out));
  for (size_t d = 0; keeps && d < layer.directions(); ++d) layer.mark(*kept[d]);
}

void run_backward(const Options& options, const ffi::RemainingArgs& arguments, const ffi::RemainingRets& returned) {
  Arrays operands(arguments, kSharedInputs + kSharedOutputs, kOwnInputs + 1 + kOwnOutputs);
  Arrays results(returned, gradients(SHARED), gradients(OWN));
  const Layer layer(options, operands);
  gatewise_output_gradients of[kMostDirections]{};
  gatewise_gradients out[kMostDirections]{};
  bool is_for_these_rows = true;
  for (size_t d = 0; d < layer.directions(); ++d) {
    const Array& kept = layer.workspace(operands, d);
    of[d].workspace = kept.floats();
    is_for_these_rows = is_for_these_rows && layer.is_marked(kept);
  }
  for (size_t i = 0; i < kOutputCount; ++i) {
    for (size_t d = 0; d < layer.holders(kOutputs[i]); ++d) {
      gatewise_bind::set_output(of[d], i, layer.allow(kOutputs[i], d, operands.next(kOutputs[i].owner, d), "d_").data);
    }
  }
  for (size_t i = 0; i < kInputCount; ++i) {
    const Operand& row = kInputs[i];
    if (row.derivative != gatewise_bind::DIFFERENTIABLE) continue;
    const bool in_any_case = row.owner == OWN && row.presence == gatewise_bind::REQUIRED;  // the engine adds to them as it goes
    for (size_t d = 0; d < layer.holders(row); ++d) {
      const Array& array = results.next(row.owner, d);
      gatewise_bind::set_gradient(out[d], i,
                                  (in_any_case ? layer.require(row, d, array, "d_") : layer.allow(row, d, array, "d_")).floats());
    }
  }
  const std::vector<float> again = is_for_these_rows ? std::vector<float>() : run_again(layer, of);
  check_engine(gatewise_backward(&layer.layer, layer.in, of, out));
}

// Nothing may leave a handler as an exception.
template <class Run>
ffi::Error guarded(Run&& run) {
  try {
    run();
  } catch (const std::invalid_argument& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, complaint(GATEWISE_OUT_OF_MEMORY));
  }
  return ffi::Error::Success();
}

ffi::Error rnn(Options options, ffi::RemainingArgs operands, ffi::RemainingRets results) {
  return guarded([&] { run_forward(options, operands, results, false); });
}

ffi::Error rnn_train(Options options, ffi::RemainingArgs operands, ffi::RemainingRets results) {
  return guarded([&] { run_forward(options, operands, results, true); });
}

ffi::Error rnn_grad(Options options, ffi::RemainingArgs operands, ffi::RemainingRets results) {
  return guarded([&] { run_backward(options, operands, results); });
}

auto layer_call() { return ffi::Ffi::Bind().Attrs<Options>().RemainingArgs().RemainingRets(); }

}  // namespace

// One macro more lets the rows be put in before XLA's looks at them.
#define GATEWISE_REGISTER(...) XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(__VA_ARGS__)
#define GATEWISE_ROW(name) , ffi::StructMember<int32_t>(#name)
GATEWISE_REGISTER(Options GATEWISE_OPTIONS(GATEWISE_ROW));
#undef GATEWISE_ROW
#undef GATEWISE_REGISTER

extern "C" {
GATEWISE_API XLA_FFI_Error* gatewise_xla_rnn(XLA_FFI_CallFrame* frame);
GATEWISE_API XLA_FFI_Error* gatewise_xla_rnn_train(XLA_FFI_CallFrame* frame);
GATEWISE_API XLA_FFI_Error* gatewise_xla_rnn_grad(XLA_FFI_CallFrame* frame);
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(gatewise_xla_rnn, rnn, layer_call());
XLA_FFI_DEFINE_HANDLER_SYMBOL(gatewise_xla_rnn_train, rnn_train, layer_call());
XLA_FFI_DEFINE_HANDLER_SYMBOL(gatewise_xla_rnn_grad, rnn_grad, layer_call());
