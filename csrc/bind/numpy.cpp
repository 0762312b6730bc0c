// SPDX-License-Identifier: Apache-2.0
// The engine for Python: arrays to pointers, status codes to exceptions, nothing else. gatewise/native.py checks shapes and allocates.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#include <numpy/arrayobject.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "engine.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T, class... Shape>
using Array = nb::ndarray<T, Shape..., nb::c_contig, nb::device::cpu>;
using Input1 = Array<const float, nb::ndim<1>>;
using Input2 = Array<const float, nb::ndim<2>>;
using Input3 = Array<const float, nb::ndim<3>>;
using Bias = Array<const float>;
using Mask = Array<const bool, nb::ndim<2>>;
using Output1 = Array<float, nb::ndim<1>>;
using Output2 = Array<float, nb::ndim<2>>;
using Output3 = Array<float, nb::ndim<3>>;
using OutputBias = Array<float>;

template <class T>
auto pointer(const std::optional<T>& array) {
  return array ? array->data() : nullptr;
}

// What a call computes from: the layer, its options and its inputs, held for the way back.
struct Call {
  gatewise_layer layer{};
  Input3 x;
  Input2 kernel, recurrent_kernel;
  std::optional<Input2> initial_state;
  std::optional<Bias> bias;
  std::optional<Mask> mask;
  std::optional<Input3> input_dropout, recurrent_dropout;

  gatewise_inputs inputs() const {
    gatewise_inputs in{};
    in.x = x.data();
    in.initial_state[0] = pointer(initial_state);
    in.mask = mask ? reinterpret_cast<const uint8_t*>(mask->data()) : nullptr;
    in.kernel = kernel.data();
    in.recurrent_kernel = recurrent_kernel.data();
    in.bias = pointer(bias);
    in.input_dropout = pointer(input_dropout);
    in.input_dropout_masks = input_dropout ? static_cast<int64_t>(input_dropout->shape(0)) : 0;
    in.recurrent_dropout = pointer(recurrent_dropout);
    return in;
  }
};

Call make_call(Input3 x, Input2 kernel, Input2 recurrent_kernel, std::optional<Bias> bias, std::optional<Input2> initial_state,
               std::optional<Mask> mask, std::optional<Input3> input_dropout, std::optional<Input3> recurrent_dropout, int cell,
               int activation, int recurrent_activation, bool go_backwards, bool return_sequences, bool zero_output_for_mask,
               bool recompute) {
  Call call;
  gatewise_layer& layer = call.layer;
  layer.struct_size = sizeof layer;
  layer.cell = cell;
  layer.directions = 1;
  layer.activation = activation;
  layer.recurrent_activation = recurrent_activation;
  layer.go_backwards = go_backwards;
  layer.return_sequences = return_sequences;
  layer.zero_output_for_mask = zero_output_for_mask;
  layer.recompute = recompute;
  layer.batch = static_cast<int64_t>(x.shape(0));
  layer.timesteps = static_cast<int64_t>(x.shape(1));
  layer.features = static_cast<int64_t>(x.shape(2));
  layer.units = static_cast<int64_t>(recurrent_kernel.shape(0));
  call.x = std::move(x);
  call.kernel = std::move(kernel);
  call.recurrent_kernel = std::move(recurrent_kernel);
  call.bias = std::move(bias);
  call.initial_state = std::move(initial_state);
  call.mask = std::move(mask);
  call.input_dropout = std::move(input_dropout);
  call.recurrent_dropout = std::move(recurrent_dropout);
  return call;
}

// What Python sees as MemoryError.
struct OutOfMemory : std::bad_alloc {
  const char* what() const noexcept override {
    return "gatewise: there is no memory for what the engine computes in. Give fewer sequences at once, or fewer threads.";
  }
};

void check(int status, const gatewise_layer& layer) {
  if (status == GATEWISE_OUT_OF_MEMORY) throw OutOfMemory();
  if (status == GATEWISE_INVALID) {  // all else has been checked
    throw std::invalid_argument("gatewise: a size is out of range. Expected at most 2147483647 sequences and as many steps; received " +
                                std::to_string(layer.batch) + " and " + std::to_string(layer.timesteps) + ". Give them in parts.");
  }
}

// Takes the GIL again. A thread that runs on when Python has ended never gets it: CPython unwinds such a thread's stack, which here would
// meet a destructor that may not throw and end the process. This one stops where it is, until the process is over, as from 3.14 on.
__attribute__((noinline)) void take_gil(PyThreadState* state) {
  struct Stop {
    bool taken = false;
    ~Stop() noexcept(false) {
      while (!taken) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  } stop;
  PyEval_RestoreThread(state);
  stop.taken = true;
}

// Runs the engine while other threads run Python; returns its status.
template <class Run>
int without_gil(Run&& run) {
  PyThreadState* const state = PyEval_SaveThread();
  const int status = run();
  take_gil(state);
  return status;
}

void forward(const Call& call, Output3 outputs, Output2 state, std::optional<Output1> saved) {
  const gatewise_inputs in = call.inputs();
  const gatewise_outputs out{outputs.data(), {state.data()}, pointer(saved)};
  check(without_gil([&] { return gatewise_forward(&call.layer, &in, &out); }), call.layer);
}

void backward(const Call& call, Input1 saved, std::optional<Input3> d_outputs, std::optional<Input2> d_state, Output3 d_x,
              Output2 d_initial_state, Output2 d_kernel, Output2 d_recurrent_kernel, std::optional<OutputBias> d_bias) {
  const gatewise_inputs in = call.inputs();
  const gatewise_output_gradients of{pointer(d_outputs), {pointer(d_state)}, saved.data()};
  const gatewise_gradients out{d_x.data(), {d_initial_state.data()}, d_kernel.data(), d_recurrent_kernel.data(), pointer(d_bias), nullptr};
  check(without_gil([&] { return gatewise_backward(&call.layer, &in, &of, &out); }), call.layer);
}

// Whether two stretches of memory have a float in common.
bool overlap(const float* a, int64_t a_floats, const float* b, int64_t b_floats) {
  const std::less<const float*> before;  // `<` compares pointers into one array alone
  return before(a, b + b_floats) && before(b, a + a_floats);
}

// What a step reads and writes: float32 rows side by side, taken from NumPy's own structure. DLPack's takes 0.2 us longer, of 5. Arrays of
// a class of their own may mean more than their numbers, and are Python's to judge.
struct Rows {
  float* data = nullptr;
  int64_t rows = -1;  // of what cannot be used
  int64_t width = 0;

  static Rows of(nb::handle object, int64_t width, bool writeable) {
    if (!PyArray_CheckExact(object.ptr())) return {};
    auto* const array = reinterpret_cast<PyArrayObject*>(object.ptr());
    if (PyArray_TYPE(array) != NPY_FLOAT32 || PyArray_NDIM(array) != 2 || PyArray_DIM(array, 1) != width) return {};
    if (!(writeable ? PyArray_ISCARRAY(array) : PyArray_ISCARRAY_RO(array))) return {};
    return {static_cast<float*>(PyArray_DATA(array)), PyArray_DIM(array, 0), width};
  }

  int64_t floats() const { return rows * width; }
  bool overlaps(const float* other, int64_t its_floats) const { return overlap(data, floats(), other, its_floats); }

  static nb::object empty(int64_t rows, int64_t width) {
    npy_intp shape[] = {rows, width};
    PyObject* const made = PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    if (made == nullptr) throw nb::python_error();  // NumPy's MemoryError
    return nb::steal(made);
  }
};

// The places of rows in an array of states: int64 side by side, each of [0, capacity) and no two the same.
struct Places {
  const int64_t* data = nullptr;
  int64_t count = -1;  // of what cannot be used

  static Places of(nb::handle object, int64_t capacity) {
    if (!PyArray_CheckExact(object.ptr())) return {};
    auto* const array = reinterpret_cast<PyArrayObject*>(object.ptr());
    if (PyArray_TYPE(array) != NPY_INT64 || PyArray_NDIM(array) != 1 || !PyArray_ISCARRAY_RO(array)) return {};
    const Places places{static_cast<const int64_t*>(PyArray_DATA(array)), PyArray_DIM(array, 0)};
    return places.distinct(capacity) ? places : Places{};
  }

 private:
  bool distinct(int64_t capacity) const {
    constexpr int64_t kFew = 16;  // compared with each other in less time than it takes to clear marks
    std::vector<bool> marked(static_cast<size_t>(count > kFew ? capacity : 0));
    for (int64_t i = 0; i < count; ++i) {
      if (data[i] < 0 || data[i] >= capacity) return false;
      if (count > kFew) {
        if (marked[static_cast<size_t>(data[i])]) return false;
        marked[static_cast<size_t>(data[i])] = true;
      } else {
        for (int64_t j = 0; j < i; ++j) {
          if (data[j] == data[i]) return false;
        }
      }
    }
    return true;
  }
};

// One step of a layer again and again: its weights are packed once, and again if the instruction set is changed.
class Step {
 public:
  Step(Input2 kernel, Input2 recurrent_kernel, std::optional<Bias> bias, int cell, int activation, int recurrent_activation)
      : kernel_(std::move(kernel)), recurrent_kernel_(std::move(recurrent_kernel)), bias_(std::move(bias)) {
    layer_.struct_size = sizeof layer_;
    layer_.cell = cell;
    layer_.directions = 1;
    layer_.activation = activation;
    layer_.recurrent_activation = recurrent_activation;
    layer_.batch = layer_.timesteps = 1;
    layer_.features = static_cast<int64_t>(kernel_.shape(0));
    layer_.units = static_cast<int64_t>(recurrent_kernel_.shape(0));
    pack();
  }

  // Writes the next states to `out`, which may be `state`, or to a new array, and returns it; None, and nothing is done, if an array is not
  // of float32 and contiguous, the shapes do not fit, or `out` overlaps what is read.
  nb::object run(nb::handle x, nb::handle state, nb::handle out) {
    const Rows from = Rows::of(x, layer_.features, false), states = Rows::of(state, layer_.units, false);
    if (from.rows < 0 || from.rows != states.rows) return nb::none();
    const nb::object result = out.is_none() ? Rows::empty(states.rows, layer_.units) : nb::borrow(out);
    const Rows to = Rows::of(result, layer_.units, true);
    if (to.rows != from.rows || (!out.is_none() && overwrites(to, from, states))) return nb::none();
    if (to.data != states.data) std::copy_n(states.data, states.floats(), to.data);
    step({from.data, layer_.features, nullptr, {to.data}, layer_.units, nullptr}, from.rows);
    return result;
  }

  // Replaces the states of the rows that stand at `places`, and returns them side by side; None, and nothing is done, if an array is not as
  // it must be, shapes do not fit, or `states` overlaps what is read.
  nb::object update(nb::handle x, nb::handle states, nb::handle places) {
    const Rows from = Rows::of(x, layer_.features, false), all = Rows::of(states, layer_.units, true);
    if (from.rows < 0 || all.rows < 0 || overwrites(all, from, all)) return nb::none();
    const Places at = Places::of(places, all.rows);
    if (at.count != from.rows) return nb::none();
    const nb::object result = Rows::empty(from.rows, layer_.units);
    step({from.data, layer_.features, at.data, {all.data}, layer_.units, Rows::of(result, layer_.units, true).data}, from.rows);
    return result;
  }

 private:
  void step(const gatewise_streams& streams, int64_t rows) {
    if (isa_ != gatewise_isa()) pack();
    gatewise_layer layer = layer_;
    layer.batch = rows;
    const std::shared_ptr<void> held = packed_;  // another thread may pack again
    const auto run = [&] { return gatewise_step(&layer, static_cast<const float*>(held.get()), &streams); };
    check(rows * layer.units * (layer.features + layer.units) >= kLong ? without_gil(run) : run(), layer);
  }

  // Multiply-adds of a gate, some 10 to 20 us; what takes less is over before another thread could make use of the time.
  static constexpr int64_t kLong = 1 << 17;

  bool overwrites(const Rows& to, const Rows& from, const Rows& states) const {
    return to.overlaps(from.data, from.floats()) || (to.data != states.data && to.overlaps(states.data, states.floats())) ||
           to.overlaps(kernel_.data(), size(kernel_)) || to.overlaps(recurrent_kernel_.data(), size(recurrent_kernel_)) ||
           (bias_ && to.overlaps(bias_->data(), size(*bias_)));
  }

  template <class T>
  static int64_t size(const T& array) {
    return static_cast<int64_t>(array.size());
  }

  void pack() {
    struct alignas(64) Line {
      float floats[16];
    };
    gatewise_inputs in{};
    in.kernel = kernel_.data();
    in.recurrent_kernel = recurrent_kernel_.data();
    in.bias = pointer(bias_);
    Line* const made = new (std::nothrow) Line[static_cast<size_t>(gatewise_packed_floats(&layer_)) / 16 + 1];
    if (made == nullptr) throw OutOfMemory();
    packed_ = std::shared_ptr<void>(made, [](void* lines) { delete[] static_cast<Line*>(lines); });
    check(gatewise_pack(&layer_, &in, static_cast<float*>(packed_.get())), layer_);
    isa_ = gatewise_isa();
  }

  Input2 kernel_, recurrent_kernel_;
  std::optional<Bias> bias_;
  gatewise_layer layer_{};
  std::shared_ptr<void> packed_;
  const char* isa_ = nullptr;
};

}  // namespace

NB_MODULE(_native, m) {
  if (PyArray_ImportNumPyAPI() < 0) throw nb::python_error();
  m.doc() = "The engine, unchecked: use gatewise.gru and gatewise.native.";
  // A thread that still runs when the interpreter ends keeps what its frames hold, for ever: no fault of anyone's, and nothing to print.
  nb::set_leak_warnings(false);
  nb::class_<Call>(m, "Call", "A layer, its options and its inputs.")
      .def_prop_ro("x_shape", [](const Call& call) { return std::tuple(call.layer.batch, call.layer.timesteps, call.layer.features); })
      .def_prop_ro("state_shape", [](const Call& call) { return std::tuple(call.layer.batch, call.layer.units); })
      .def_prop_ro("output_shape",
                   [](const Call& call) {
                     return std::tuple(call.layer.batch, call.layer.return_sequences ? call.layer.timesteps : 1, call.layer.units);
                   })
      .def_prop_ro("saved_floats", [](const Call& call) { return gatewise_workspace_floats(&call.layer); });
  nb::cast(Call{});  // nanobind looks the class up once, and would abort if there were no memory for it in a call
  m.def("make_call", make_call, "x"_a, "kernel"_a, "recurrent_kernel"_a, "bias"_a.none(), "initial_state"_a.none(), "mask"_a.none(),
        "input_dropout"_a.none(), "recurrent_dropout"_a.none(), "cell"_a, "activation"_a, "recurrent_activation"_a, "go_backwards"_a,
        "return_sequences"_a, "zero_output_for_mask"_a, "recompute"_a);
  m.def("forward", forward, "call"_a, "outputs"_a.noconvert(), "state"_a.noconvert(), "saved"_a.noconvert().none());
  m.def("backward", backward, "call"_a, "saved"_a, "d_outputs"_a.none(), "d_state"_a.none(), "d_x"_a.noconvert(),
        "d_initial_state"_a.noconvert(), "d_kernel"_a.noconvert(), "d_recurrent_kernel"_a.noconvert(), "d_bias"_a.noconvert().none());
  nb::class_<Step>(m, "Step", "One step of a layer, its weights packed.")
      .def(nb::init<Input2, Input2, std::optional<Bias>, int, int, int>(), "kernel"_a, "recurrent_kernel"_a, "bias"_a.none(), "cell"_a,
           "activation"_a, "recurrent_activation"_a)
      .def("run", &Step::run, "x"_a.none(), "state"_a.none(), "out"_a.none())
      .def("update", &Step::update, "x"_a.none(), "states"_a.none(), "places"_a.none());
  m.def("set_num_threads", gatewise_set_num_threads, "n"_a);
  m.def("num_threads", gatewise_num_threads);
  m.def("isa", gatewise_isa);
  m.def("set_isa", [](const char* name) { return gatewise_set_isa(name) != 0; }, "name"_a);
  m.def("forward_calls", gatewise_forward_calls);
  m.def("backward_calls", gatewise_backward_calls);
}
