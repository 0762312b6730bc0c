// SPDX-License-Identifier: Apache-2.0
// The engine as torch operations on the CPU, through libtorch's stable C interface: no mathematics, no torch header.
//
//   gatewise::rnn        runs the layer:                                inputs, options -> outputs, h, c
//   gatewise::rnn_train  the same, and keeps what its gradients need:   inputs, options -> outputs, h, c, workspace
//   gatewise::rnn_grad   the backward pass:                             inputs, workspace, d_outputs, d_h, d_c, options, x_gradient
//                                                                       -> d_x and the gradients of the others that have one
//
// rnn_both, rnn_both_train and rnn_both_grad are those of a layer of both directions, of which the second reads the other way. Each
// direction has states of its own, and gradients but for d_x, which is the sum of theirs. Their outputs stand side by side, (batch,
// timesteps, 2 * units), in the processing order of the first. The order of arguments says torch_layer.h; results stand likewise.
//
// Shapes are those of engine.h, strides are free. src/gatewise/ops/torch/ declares the operations, their gradients and their shapes, and
// calls gatewise_torch_register() once, after torch is loaded. A state that the cell has not, the gradient of an absent input, and d_x
// without x_gradient have no element.
//
// `workspace` is int32, because integers have no gradient that torch could make up, and (B, values, U rounded up to 16), twice as many
// rows for both directions: its shape has to follow from those of the inputs by a formula that torch can trace, so it holds what the
// engine keeps at the most.
#include <pthread.h>
#include <stdint.h>

#include <string>

#include "bind/torch_layer.h"
#include "bind/torch_shim.h"
#include "bind/torch_tensor.h"
#include "engine.h"

namespace gatewise_torch {
namespace {

void check_engine(int status) {
  if (const char* const problem = gatewise_bind::complaint(status)) complain(problem);
}

// --- Threads -----------------------------------------------------------------------------------------------------------------------------

// OpenMP does not outlive a fork.
bool forked = false;

void on_threads_of_torch(int n, void (*work)(void*), void* context) { start_parallel(work, context, static_cast<unsigned>(n), 0); }

// Has torch's own threads serve the engine as long as it lives. They spin for milliseconds after every operation of torch's, and would
// leave the engine's pool half of the CPUs: a training step of `sensor` takes 3.1 ms on them and 4.3 ms beside them.
class ThreadsOfTorch {
 public:
  ThreadsOfTorch() {
    if (start_parallel && !forked) gatewise_use_threads(on_threads_of_torch);
  }
  ~ThreadsOfTorch() { gatewise_use_threads(nullptr); }
  ThreadsOfTorch(const ThreadsOfTorch&) = delete;
  ThreadsOfTorch& operator=(const ThreadsOfTorch&) = delete;
};

// --- Kernels -----------------------------------------------------------------------------------------------------------------------------

template <size_t kDirections, bool kKeeps>
void forward(StableValue* stack, uint64_t, uint64_t) {
  Call call(kDirections, stack, false);
  call.check_inputs();
  Tensors<kOutputCount> results(kOutputs);
  results.each(kDirections,
               [&call](size_t i, Tensor& result) { result = Tensor::empty(aoti_torch_dtype_float32(), call.shape_of(kOutputs[i])); });
  Tensor workspace;
  if (kKeeps) workspace = Tensor::empty(aoti_torch_dtype_int32(), call.workspace_shape());
  gatewise_outputs out[kDirections]{};
  for (size_t d = 0; d < kDirections; ++d) {
    for (size_t i = 0; i < kOutputCount; ++i) {
      if (call.layer.exists(kOutputs[i])) gatewise_bind::set_output(out[d], i, results.at(i, d).data());
    }
    out[d].workspace = call.part_of(workspace, d);
  }
  const ThreadsOfTorch threads;
  check_engine(gatewise_forward(&call.layer.layer, call.layer.in, out));
  results.each(kDirections, [&stack](size_t, Tensor& result) { *stack++ = result.release(); });
  if (kKeeps) *stack = workspace.release();
}

template <size_t kDirections>
void backward(StableValue* stack, uint64_t, uint64_t) {
  Call call(kDirections, stack, true);
  call.check_inputs();
  call.check_given();
  Tensors<kInputCount> gradients(kInputs);
  gatewise_output_gradients of[kDirections]{};
  gatewise_gradients out[kDirections]{};
  for (size_t d = 0; d < kDirections; ++d) {
    for (size_t i = 0; i < kOutputCount; ++i) gatewise_bind::set_output(of[d], i, call.d_outputs.at(i, d).data());
    of[d].workspace = call.part_of(call.workspace, d);
    for (size_t i = 0; i < kInputCount; ++i) {
      const Tensor& input = call.inputs.at(i, d);
      Tensor& gradient = gradients.at(i, d);
      if (kInputs[i].derivative == gatewise_bind::CONSTANT) continue;
      const bool wanted = input && (i != gatewise_bind::kInput_x || call.x_gradient);
      if (!gradient) gradient = wanted ? Tensor::floats_like(input) : Tensor::absent();
      if (wanted) gatewise_bind::set_gradient(out[d], i, gradient.floats());
    }
  }
  const ThreadsOfTorch threads;
  check_engine(gatewise_backward(&call.layer.layer, call.layer.in, of, out));
  gradients.each(kDirections, [&stack](size_t, Tensor& gradient) {
    if (gradient) *stack++ = gradient.release();
  });
}

// --- Registration ------------------------------------------------------------------------------------------------------------------------

struct Operation {
  const char* name;
  Kernel kernel;
};

constexpr Operation kOperations[] = {
    {"rnn", forward<1, false>},      {"rnn_train", forward<1, true>},      {"rnn_grad", backward<1>},
    {"rnn_both", forward<2, false>}, {"rnn_both_train", forward<2, true>}, {"rnn_both_grad", backward<2>},
};

}  // namespace
}  // namespace gatewise_torch

// Gives the declared operations their kernels. Returns null, or the reason why that cannot be done.
extern "C" GATEWISE_API const char* gatewise_torch_register(void) {
  using namespace gatewise_torch;
  static std::string problem;
  const char* missing = find_torch();
  if (missing) {
    problem = std::string("this torch lacks the function ") + missing + " of its C interface";
    return problem.c_str();
  }
  pthread_atfork(nullptr, nullptr, [] { forked = true; });
  LibraryHandle library = nullptr;  // stays: torch's registrations end when it is deleted
  int32_t error = aoti_torch_library_init_impl("gatewise", "CPU", "gatewise", 1, &library);
  for (const Operation& operation : kOperations) {
    if (!error) error = aoti_torch_library_impl(library, operation.name, operation.kernel);
  }
  return error ? "torch refused the operations; its log says why" : nullptr;
}
