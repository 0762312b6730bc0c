// SPDX-License-Identifier: Apache-2.0
// The engine for Python: arrays to pointers, status codes to exceptions, nothing else. gatewise/native.py checks shapes and allocates.
#define GATEWISE_IMPORTS_NUMPY
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bind/layer.h"
#include "bind/python.h"
#include "engine.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using gatewise_bind::kInputCount;
using gatewise_bind::kInputs;
using gatewise_bind::kOptionCount;
using gatewise_bind::kOutputCount;
using gatewise_bind::kOutputs;
using gatewise_bind::OutOfMemory;
using gatewise_bind::without_gil;

// Throws what Python sees as ValueError, unless there is nothing to say.
void complain(const std::string& problem) {
  if (!problem.empty()) throw nb::value_error(problem.c_str());
}

// The data of a NumPy array of this type that stands in C order; null for None.
struct Given {
  void* data = nullptr;
  gatewise_bind::Sizes sizes;

  Given(const std::string& name, nb::handle object, int type, bool writeable = false) {
    if (object.is_none()) return;
    auto* const array = reinterpret_cast<PyArrayObject*>(object.ptr());
    const bool fits =
        PyArray_Check(object.ptr()) && PyArray_TYPE(array) == type && (writeable ? PyArray_ISCARRAY(array) : PyArray_ISCARRAY_RO(array));
    if (!fits) throw nb::type_error(("gatewise: " + name + " is no C-contiguous array of its type. Make it one.").c_str());
    static_assert(sizeof(npy_intp) == sizeof(int64_t));
    data = PyArray_DATA(array);
    sizes = {PyArray_NDIM(array), reinterpret_cast<const int64_t*>(PyArray_DIMS(array))};
  }

  float* floats() const { return static_cast<float*>(data); }
};

// What a call computes from: the layer, its options and its inputs, held for the backward pass.
struct Call {
  gatewise_bind::Layer layer;
  nb::tuple inputs;

  // Inputs and options stand in the table's order, None for what is absent.
  Call(nb::tuple given, const nb::tuple& options) : inputs(std::move(given)) {
    for (size_t i = 0; i < kOptionCount; ++i) gatewise_bind::set_option(layer.layer, i, nb::cast<int32_t>(options[i]));
    layer.layer.directions = 1;
    std::array<std::optional<Given>, kInputCount> arrays;
    for (size_t i = 0; i < kInputCount; ++i) {
      arrays[i].emplace(kInputs[i].name, inputs[i], kInputs[i].type == gatewise_bind::BOOL ? NPY_BOOL : NPY_FLOAT32);
    }
    complain(layer.take_sizes(arrays[gatewise_bind::kInput_x]->sizes, arrays[gatewise_bind::kInput_recurrent_kernel]->sizes));
    for (size_t i = 0; i < kInputCount; ++i) complain(layer.take(i, 0, arrays[i]->sizes, arrays[i]->data));
  }

  // The shape of an output, or of the gradient of an input; None where there is none.
  nb::object shape_of(const gatewise_bind::Operand& row) const {
    if (!layer.exists(row)) return nb::none();
    const gatewise_bind::Shape shape = layer.shape_of(row, layer.in[0].input_dropout_masks);
    nb::list sizes;
    for (int i = 0; i < shape.rank; ++i) sizes.append(shape.size[i]);
    return nb::tuple(sizes);
  }
};

void check(int status, const gatewise_layer& layer) {
  if (status == GATEWISE_OUT_OF_MEMORY) throw OutOfMemory();
  if (status == GATEWISE_INVALID) {  // all else has been checked
    throw std::invalid_argument("gatewise: a size is out of range. Expected at most 2147483647 sequences and as many steps; received " +
                                std::to_string(layer.batch) + " and " + std::to_string(layer.timesteps) + ". Give them in parts.");
  }
}

// Outputs stand in the table's order, None for those that the cell has not.
void forward(const Call& call, const nb::tuple& outputs, nb::handle workspace) {
  gatewise_outputs out{};
  for (size_t i = 0; i < kOutputCount; ++i) {
    gatewise_bind::set_output(out, i, Given(kOutputs[i].name, outputs[i], NPY_FLOAT32, true).data);
  }
  out.workspace = Given("workspace", workspace, NPY_FLOAT32, true).floats();
  const gatewise_layer& layer = call.layer.layer;
  check(without_gil([&] { return gatewise_forward(&layer, call.layer.in, &out); }), layer);
}

// The gradients of the outputs, and those of the inputs: likewise, None for zeros and for what is not wanted.
void backward(const Call& call, nb::handle workspace, const nb::tuple& d_outputs, const nb::tuple& gradients) {
  gatewise_output_gradients of{};
  gatewise_gradients out{};
  for (size_t i = 0; i < kOutputCount; ++i) gatewise_bind::set_output(of, i, Given(kOutputs[i].name, d_outputs[i], NPY_FLOAT32).data);
  of.workspace = Given("workspace", workspace, NPY_FLOAT32).floats();
  for (size_t i = 0; i < kInputCount; ++i) {
    gatewise_bind::set_gradient(out, i, Given(kInputs[i].name, gradients[i], NPY_FLOAT32, true).floats());
  }
  const gatewise_layer& layer = call.layer.layer;
  check(without_gil([&] { return gatewise_backward(&layer, call.layer.in, &of, &out); }), layer);
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
  // The inputs of a layer in the table's order, of which those that are no weights are not looked at, and its options.
  Step(nb::tuple inputs, const nb::tuple& options) : inputs_(std::move(inputs)) {
    for (size_t i = 0; i < kOptionCount; ++i) gatewise_bind::set_option(layer_, i, nb::cast<int32_t>(options[i]));
    layer_.struct_size = sizeof layer_;
    layer_.directions = 1;
    layer_.batch = layer_.timesteps = 1;
    gatewise_cell_facts cell{};
    gatewise_facts_of(layer_.cell, &cell);
    states_ = static_cast<size_t>(cell.states);
    for (size_t i = 0; i < kInputCount; ++i) {
      if (kInputs[i].type != gatewise_bind::FLOAT) continue;
      const Given given(kInputs[i].name, inputs_[i], NPY_FLOAT32);
      gatewise_bind::set_input(in_, i, given.data);
      if (i == gatewise_bind::kInput_kernel) layer_.features = given.sizes.sizes[0];
      if (i == gatewise_bind::kInput_recurrent_kernel) layer_.units = given.sizes.sizes[0];
      if (given.data) weights_.emplace_back(given.floats(), floats_of(given.sizes));
    }
    pack();
  }

  // Writes the next states to `out`, which may be `state`, or to new arrays, and returns it; None, and nothing is done, if an array is not
  // of float32 and contiguous, the shapes do not fit, or `out` overlaps what is read. Several states are a tuple.
  nb::object run(nb::handle x, nb::handle state, nb::handle out) {
    const Rows from = Rows::of(x, layer_.features, false);
    Several states, to;
    if (from.rows < 0 || !states.take(*this, state, from.rows, false)) return nb::none();
    const nb::object result = out.is_none() ? empty(from.rows) : nb::borrow(out);
    if (!to.take(*this, result, from.rows, true) || (!out.is_none() && overwrites(to, from, states))) return nb::none();
    for (size_t k = 0; k < states_; ++k) {
      if (to.of[k].data != states.of[k].data) std::copy_n(states.of[k].data, states.of[k].floats(), to.of[k].data);
    }
    step({from.data, layer_.features, nullptr, {to.of[0].data, to.of[1].data}, layer_.units, nullptr}, from.rows);
    return result;
  }

  // Replaces the states of the rows that stand at `places`, and returns the first ones side by side; None, and nothing is done, if an array
  // is not as it must be, shapes do not fit, or `states` overlaps what is read.
  nb::object update(nb::handle x, nb::handle states, nb::handle places) {
    const Rows from = Rows::of(x, layer_.features, false);
    Several all;
    if (from.rows < 0 || !all.take(*this, states, -1, true) || overwrites(all, from, all)) return nb::none();
    const Places at = Places::of(places, all.of[0].rows);
    if (at.count != from.rows) return nb::none();
    const nb::object result = Rows::empty(from.rows, layer_.units);
    float* const outputs = Rows::of(result, layer_.units, true).data;
    step({from.data, layer_.features, at.data, {all.of[0].data, all.of[1].data}, layer_.units, outputs}, from.rows);
    return result;
  }

 private:
  // The states of a call, one array each.
  struct Several {
    Rows of[GATEWISE_MAX_STATES];

    // Returns whether they are as they must be: so many rows each, or as many as the first if that is negative.
    bool take(const Step& step, nb::handle given, int64_t rows, bool writeable) {
      if (step.states_ == 1) {
        of[0] = Rows::of(given, step.layer_.units, writeable);
        return of[0].rows >= 0 && (rows < 0 || of[0].rows == rows);
      }
      if (!PyTuple_CheckExact(given.ptr()) || static_cast<size_t>(PyTuple_Size(given.ptr())) != step.states_) return false;
      for (size_t k = 0; k < step.states_; ++k) {
        of[k] = Rows::of(PyTuple_GetItem(given.ptr(), static_cast<Py_ssize_t>(k)), step.layer_.units, writeable);
        if (of[k].rows < 0 || of[k].rows != (rows < 0 ? of[0].rows : rows)) return false;
      }
      return true;
    }
  };

  nb::object empty(int64_t rows) const {
    if (states_ == 1) return Rows::empty(rows, layer_.units);
    nb::list made;
    for (size_t k = 0; k < states_; ++k) made.append(Rows::empty(rows, layer_.units));
    return nb::tuple(made);
  }

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

  bool overwrites(const Several& to, const Rows& from, const Several& states) const {
    for (size_t k = 0; k < states_; ++k) {
      const Rows& own = to.of[k];
      if (own.overlaps(from.data, from.floats())) return true;
      for (size_t j = 0; j < states_; ++j) {
        const bool in_place = j == k && own.data == states.of[j].data;
        if (!in_place && own.overlaps(states.of[j].data, states.of[j].floats())) return true;
        if (j != k && own.overlaps(to.of[j].data, to.of[j].floats())) return true;
      }
      for (const auto& [data, floats] : weights_) {
        if (own.overlaps(data, floats)) return true;
      }
    }
    return false;
  }

  static int64_t floats_of(gatewise_bind::Sizes sizes) {
    int64_t count = 1;
    for (int64_t i = 0; i < sizes.rank; ++i) count *= sizes.sizes[i];
    return count;
  }

  void pack() {
    struct alignas(64) Line {
      float floats[16];
    };
    Line* const made = new (std::nothrow) Line[static_cast<size_t>(gatewise_packed_floats(&layer_)) / 16 + 1];
    if (made == nullptr) throw OutOfMemory();
    packed_ = std::shared_ptr<void>(made, [](void* lines) { delete[] static_cast<Line*>(lines); });
    check(gatewise_pack(&layer_, &in_, static_cast<float*>(packed_.get())), layer_);
    isa_ = gatewise_isa();
  }

  nb::tuple inputs_;
  gatewise_inputs in_{};
  std::vector<std::pair<const float*, int64_t>> weights_;
  gatewise_layer layer_{};
  size_t states_ = 1;
  std::shared_ptr<void> packed_;
  const char* isa_ = nullptr;
};

// A row of the table as Python has it: name, axes, type, presence, owner, derivative.
nb::tuple row_of(const gatewise_bind::Operand& row) {
  static const char* const kPresence[] = {"required", "optional", "second state", "beside bias", "normalised", "normalised state"};
  return nb::make_tuple(row.name, row.axes, row.type == gatewise_bind::BOOL ? "bool" : "float32", kPresence[row.presence],
                        row.owner == gatewise_bind::SHARED ? "shared" : "own", row.derivative == gatewise_bind::DIFFERENTIABLE);
}

// What each makes of some rows of the table, as a tuple.
template <class Rows, class Make>
nb::tuple tuple_of(const Rows& rows, Make make) {
  nb::list made;
  for (const auto& row : rows) made.append(make(row));
  return nb::tuple(made);
}

}  // namespace

NB_MODULE(_native, m) {
  if (PyArray_ImportNumPyAPI() < 0) throw nb::python_error();
  m.doc() = "The engine, unchecked: use gatewise.rnn and gatewise.native.";
  // A thread that still runs when the interpreter ends keeps what its frames hold, for ever: no fault of anyone's, and nothing to print.
  nb::set_leak_warnings(false);
  m.attr("INPUTS") = tuple_of(kInputs, row_of);
  m.attr("OUTPUTS") = tuple_of(kOutputs, row_of);
  m.attr("OPTIONS") = tuple_of(gatewise_bind::kOptions, [](const char* name) { return nb::str(name); });
  nb::list facts_of_cells;
  gatewise_cell_facts facts{};
  for (int32_t cell = 0; gatewise_facts_of(cell, &facts) == GATEWISE_OK; ++cell) {
    facts_of_cells.append(nb::make_tuple(facts.gates, facts.states, facts.recurrent_bias != 0, facts.workspace, facts.normalises != 0,
                                         facts.normalises_state != 0));
  }
  m.attr("FACTS") = nb::tuple(facts_of_cells);
  m.def(
      "workspace_floats",
      [](const nb::tuple& options, int64_t batch, int64_t timesteps, int64_t features, int64_t units) {
        gatewise_bind::Layer layer;
        for (size_t i = 0; i < kOptionCount; ++i) gatewise_bind::set_option(layer.layer, i, nb::cast<int32_t>(options[i]));
        layer.layer.directions = 1;
        layer.layer.batch = batch;
        layer.layer.timesteps = timesteps;
        layer.layer.features = features;
        layer.layer.units = units;
        return gatewise_workspace_floats(&layer.layer);
      },
      "options"_a, "batch"_a, "timesteps"_a, "features"_a, "units"_a);
  nb::class_<Call>(m, "Call", "A layer, its options and its inputs.")
      .def(nb::init<nb::tuple, const nb::tuple&>(), "inputs"_a, "options"_a)
      .def_prop_ro("output_shapes",
                   [](const Call& call) { return tuple_of(kOutputs, [&](const auto& row) { return call.shape_of(row); }); })
      .def_prop_ro("workspace_floats", [](const Call& call) { return gatewise_workspace_floats(&call.layer.layer); });
  // nanobind registers objects in a table whose first growth may not fail: it grows while the module is imported, not in the first call.
  nb::inst_alloc(nb::type<Call>());
  m.def("forward", forward, "call"_a, "outputs"_a, "workspace"_a.none());
  m.def("backward", backward, "call"_a, "workspace"_a, "d_outputs"_a, "gradients"_a);
  nb::class_<Step>(m, "Step", "One step of a layer, its weights packed.")
      .def(nb::init<nb::tuple, const nb::tuple&>(), "inputs"_a, "options"_a)
      .def("run", &Step::run, "x"_a.none(), "state"_a.none(), "out"_a.none())
      .def("update", &Step::update, "x"_a.none(), "states"_a.none(), "places"_a.none());
  gatewise_bind::add_program(m);
  m.def("set_num_threads", gatewise_set_num_threads, "n"_a);
  m.def("num_threads", gatewise_num_threads);
  m.def("isa", gatewise_isa);
  m.def("set_isa", [](const char* name) { return gatewise_set_isa(name) != 0; }, "name"_a);
  m.def("forward_calls", gatewise_forward_calls);
  m.def("backward_calls", gatewise_backward_calls);
}
