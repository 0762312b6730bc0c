// SPDX-License-Identifier: Apache-2.0
// Programs for Python: lists and arrays to the C interface of program.h, and back.
//
//   Program(operations, inputs, outputs)
//     operations  list of (kind: str, inputs: tuple[int, ...], outputs: tuple[int, ...], options: dict[str, bool | int | float | str],
//                 constants: dict[str, ndarray]). Inputs and outputs are numbers of values; -1 is an optional input that is not given, and
//                 the last inputs, and outputs, may be left out. Options and constants have the names, and inputs and outputs the order, of
//                 the rows of gatewise.runtime.operations: `node.all_options` may be given as it is, and so may a node's weights by name.
//                 But values here are frames, and so an axis is 1 (or -2), the steps, or 2 (or -1), the features.
//                 Constants are float32 (ids int64, masks bool) and C-contiguous, and must not change afterwards.
//     inputs      list of (value: int, width: int, dtype: "float32" | "int64" | "bool"): what is given to `run`, in this order
//     outputs     list of int: the values that `run` returns, in this order
//   .states       list of (name, width): "3/h" is the state h of operations[3]. Each is one array (capacity, stride) of float32, stride at
//                 least width (a multiple of 16), zeros where a stream begins, but for a cell's initial states
//   .outputs      list of (width, dtype); width 0: known when it runs
//   .block        how many steps a stream takes at once, or a multiple of it
//   .run(inputs: tuple[ndarray, ...], states: tuple[ndarray, ...] | None, rows: ndarray | None) -> tuple[ndarray, ...]
//     inputs      (B, T, width) each, of its dtype, C-contiguous; T may differ from one to the other where the operations allow it
//     states      in the order of `.states`, replaced in place; None: from zeros, and forgotten (whole sequences)
//     rows        (B,) int64, the place of each row in the states, all different; None: 0, 1, 2 ...
//     returns     (B, T', width) each
//   Raises ValueError, "operation 3 (embedding): ...", and then no state has changed; MemoryError; TypeError for arrays of other kinds.
#include "program.h"

#include <string.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bind/python.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace gatewise_bind {
namespace {

constexpr int kTypes[] = {NPY_FLOAT32, NPY_INT64, NPY_BOOL};
constexpr const char* kNames[] = {"float32", "int64", "bool"};  // by enum gatewise_dtype

// nanobind's own conversions to strings and vectors end the process where there is no memory: they may not throw.
const char* text_of(nb::handle given) {
  const char* const text = PyUnicode_AsUTF8AndSize(given.ptr(), nullptr);  // kept by the object
  if (text == nullptr) throw nb::python_error();                           // TypeError
  return text;
}

std::vector<int32_t> numbers_of(nb::handle given) {
  std::vector<int32_t> numbers;
  for (nb::handle each : given) numbers.push_back(nb::cast<int32_t>(each));
  return numbers;
}

int32_t dtype_of(const char* name) {
  for (int32_t i = 0; i < 3; ++i) {
    if (strcmp(name, kNames[i]) == 0) return i;
  }
  throw nb::value_error((std::string("program: dtype is ") + name + ". Expected float32, int64 or bool.").c_str());
}

// A description of a program for the C interface, which points into what is kept here.
class Description {
 public:
  explicit Description(const nb::list& given) {
    for (nb::handle each : given) add(nb::cast<nb::tuple>(each));
  }

  std::vector<gatewise_operation> operations;

 private:
  void add(const nb::tuple& given) {
    if (given.size() != 5) throw nb::value_error("program: an operation has kind, inputs, outputs, options and constants.");
    gatewise_operation operation{};
    operation.kind = text_of(given[0]);
    const std::vector<int32_t>&inputs = numbers_.emplace_back(numbers_of(given[1])), &outputs = numbers_.emplace_back(numbers_of(given[2]));
    options_.emplace_back();
    for (const auto& [key, value] : nb::cast<nb::dict>(given[3])) {
      const bool words = nb::isinstance<nb::str>(value);
      options_.back().push_back({text_of(key), words ? text_of(value) : nullptr, words ? 0.0 : nb::cast<double>(value)});
    }
    constants_.emplace_back();
    for (const auto& [key, value] : nb::cast<nb::dict>(given[4])) constants_.back().push_back(constant(text_of(key), value));
    operation.inputs = inputs.data();
    operation.outputs = outputs.data();
    operation.options = options_.back().data();
    operation.constants = constants_.back().data();
    operation.input_count = static_cast<int32_t>(inputs.size());
    operation.output_count = static_cast<int32_t>(outputs.size());
    operation.option_count = static_cast<int32_t>(options_.back().size());
    operation.constant_count = static_cast<int32_t>(constants_.back().size());
    operations.push_back(operation);
  }

  static gatewise_constant constant(const char* name, nb::handle given) {
    auto* const array = reinterpret_cast<PyArrayObject*>(given.ptr());
    if (PyArray_Check(given.ptr()) && PyArray_ISCARRAY_RO(array)) {
      for (int32_t dtype = 0; dtype < 3; ++dtype) {
        if (PyArray_TYPE(array) != kTypes[dtype]) continue;
        static_assert(sizeof(npy_intp) == sizeof(int64_t));
        return {name, dtype, PyArray_NDIM(array), reinterpret_cast<const int64_t*>(PyArray_DIMS(array)), PyArray_DATA(array)};
      }
    }
    throw nb::type_error(
        (std::string("program: constant ") + name + " is no C-contiguous array of float32, int64 or bool. Make it one.").c_str());
  }

  // What is pointed to stays where it is.
  std::deque<std::vector<int32_t>> numbers_;
  std::deque<std::vector<gatewise_option>> options_;
  std::deque<std::vector<gatewise_constant>> constants_;
};

void check(int status, const gatewise_problem& problem) {
  if (status == GATEWISE_OUT_OF_MEMORY) throw OutOfMemory();
  if (status == GATEWISE_INVALID) throw nb::value_error(problem.text);
}

[[noreturn]] void complain(const char* what, size_t i, const std::string& problem) {
  throw nb::type_error((std::string("program: ") + what + " " + std::to_string(i) + " " + problem).c_str());
}

class Program {
 public:
  Program(nb::list operations, const nb::list& inputs, const nb::list& wanted) : held_(std::move(operations)) {
    const Description description(held_);
    for (nb::handle each : inputs) {
      const auto [number, width, dtype] = three_of(each);
      inputs_.push_back({nb::cast<int32_t>(number), dtype_of(text_of(dtype)), nb::cast<int64_t>(width)});
    }
    const std::vector<int32_t> outputs = numbers_of(wanted);
    gatewise_program* made = nullptr;
    gatewise_problem problem{};
    const int status =
        gatewise_program_make(description.operations.data(), static_cast<int32_t>(description.operations.size()), inputs_.data(),
                              static_cast<int32_t>(inputs_.size()), outputs.data(), static_cast<int32_t>(outputs.size()), &made, &problem);
    check(status, problem);
    program_.reset(made);
    outputs_.resize(outputs.size());
    gatewise_program_outputs(made, outputs_.data());
    states_.resize(static_cast<size_t>(gatewise_program_states(made, nullptr)));
    gatewise_program_states(made, states_.data());
  }

  nb::list states() const {
    nb::list found;
    for (const gatewise_state& state : states_) {
      const std::string name = std::to_string(state.operation) + "/" + state.name;
      found.append(nb::make_tuple(nb::str(name.c_str()), state.width));
    }
    return found;
  }
  nb::list outputs() const {
    nb::list found;
    for (const gatewise_value& value : outputs_) found.append(nb::make_tuple(value.width, kNames[value.dtype]));
    return found;
  }
  int64_t block() const { return gatewise_program_block(program_.get()); }

  nb::object run(nb::handle inputs, nb::handle states, nb::handle rows) {
    gatewise_chunk chunk{};
    chunk.struct_size = sizeof chunk;
    Several<gatewise_frames> given(inputs_.size()), made(outputs_.size());
    Several<float*> state(states_.size());
    Several<int64_t> strides(states_.size());
    chunk.batch = take_inputs(inputs, given.data());
    chunk.inputs = given.data();
    chunk.outputs = made.data();
    if (!states.is_none()) {
      take_states(states, rows, chunk, state.data(), strides.data());
    } else if (!rows.is_none()) {
      throw nb::type_error("program: rows are given without states. Expected None.");
    }
    gatewise_problem problem;
    check(gatewise_program_plan(program_.get(), &chunk, &problem), problem);
    struct Leave {  // with the GIL: nobody forks meanwhile
      gatewise_program* program;
      gatewise_chunk& chunk;
      ~Leave() { gatewise_program_leave(program, &chunk); }
    } const leave{program_.get(), chunk};
    const nb::object found = allocate(chunk);
    const auto run = [&] { return gatewise_program_run(program_.get(), &chunk, &problem); };
    check(chunk.work >= kLong ? without_gil(run) : run(), problem);
    return found;
  }

 private:
  // Multiply-adds; some 10 us. What takes less is over before another thread could make use of the time.
  static constexpr double kLong = 3e5;

  // So many things, most often without an allocation.
  template <class T>
  class Several {
   public:
    explicit Several(size_t count) : more_(count > few_.size() ? count : 0) {}
    T* data() { return more_.empty() ? few_.data() : more_.data(); }

   private:
    std::array<T, 8> few_{};
    std::vector<T> more_;
  };

  static std::array<nb::handle, 3> three_of(nb::handle given) {
    if (!PyTuple_Check(given.ptr()) || PyTuple_Size(given.ptr()) != 3) {
      throw nb::type_error("program: an input is no tuple of value, width and dtype.");
    }
    return {PyTuple_GetItem(given.ptr(), 0), PyTuple_GetItem(given.ptr(), 1), PyTuple_GetItem(given.ptr(), 2)};
  }

  struct Free {
    void operator()(gatewise_program* program) const { gatewise_program_free(program); }
  };

  // Returns the number of rows.
  int64_t take_inputs(nb::handle given, gatewise_frames* to) const {
    const size_t count = inputs_.size();
    if (!PyTuple_Check(given.ptr()) || nb::len(given) != count) {
      throw nb::type_error(("program: expected a tuple of " + std::to_string(count) + " inputs.").c_str());
    }
    int64_t batch = count > 0 ? -1 : 0;
    for (size_t i = 0; i < count; ++i) {
      PyObject* const object = PyTuple_GetItem(given.ptr(), static_cast<Py_ssize_t>(i));
      auto* const array = reinterpret_cast<PyArrayObject*>(object);
      if (!PyArray_Check(object) || PyArray_TYPE(array) != kTypes[inputs_[i].dtype] || PyArray_NDIM(array) != 3 ||
          !PyArray_ISCARRAY_RO(array)) {
        complain("input", i, std::string("is no C-contiguous array (batch, steps, width) of ") + kNames[inputs_[i].dtype] + ".");
      }
      if (batch >= 0 && PyArray_DIM(array, 0) != batch) complain("input", i, "has another number of rows than the first.");
      batch = PyArray_DIM(array, 0);
      to[i] = {PyArray_DATA(array), PyArray_DIM(array, 1), PyArray_DIM(array, 2)};
    }
    return batch;
  }

  void take_states(nb::handle given, nb::handle rows, gatewise_chunk& chunk, float** to, int64_t* strides) const {
    if (!PyTuple_Check(given.ptr()) || nb::len(given) != states_.size()) {
      throw nb::type_error(("program: expected a tuple of " + std::to_string(states_.size()) + " states.").c_str());
    }
    int64_t capacity = INT64_MAX;
    for (size_t k = 0; k < states_.size(); ++k) {
      PyObject* const object = PyTuple_GetItem(given.ptr(), static_cast<Py_ssize_t>(k));
      auto* const array = reinterpret_cast<PyArrayObject*>(object);
      if (!PyArray_Check(object) || PyArray_TYPE(array) != NPY_FLOAT32 || PyArray_NDIM(array) != 2 || !PyArray_ISCARRAY(array)) {
        complain("state", k, "is no C-contiguous, writeable array (capacity, stride) of float32.");
      }
      to[k] = static_cast<float*>(PyArray_DATA(array));
      strides[k] = PyArray_DIM(array, 1);
      capacity = std::min<int64_t>(capacity, PyArray_DIM(array, 0));
    }
    chunk.states = to;
    chunk.state_strides = strides;
    if (rows.is_none()) {
      if (!states_.empty() && capacity < chunk.batch) {
        throw nb::value_error(
            ("program: states have " + std::to_string(capacity) + " rows. Expected " + std::to_string(chunk.batch) + " or more.").c_str());
      }
      return;
    }
    auto* const array = reinterpret_cast<PyArrayObject*>(rows.ptr());
    if (!PyArray_Check(rows.ptr()) || PyArray_TYPE(array) != NPY_INT64 || PyArray_NDIM(array) != 1 || !PyArray_ISCARRAY_RO(array)) {
      throw nb::type_error("program: rows are no C-contiguous array (batch) of int64.");
    }
    chunk.rows = static_cast<const int64_t*>(PyArray_DATA(array));
    if (PyArray_DIM(array, 0) != chunk.batch || !distinct(chunk.rows, chunk.batch, states_.empty() ? INT64_MAX : capacity)) {
      throw nb::value_error("program: rows are not as many as those of the inputs, or one is out of range or named twice.");
    }
  }

  static bool distinct(const int64_t* rows, int64_t count, int64_t capacity) {
    constexpr int64_t kFew = 16;  // compared with each other in less time than it takes to clear marks
    for (int64_t i = 0; i < count; ++i) {
      if (rows[i] < 0 || rows[i] >= capacity) return false;
    }
    if (capacity == INT64_MAX) return true;
    std::vector<bool> marked(static_cast<size_t>(count > kFew ? capacity : 0));
    for (int64_t i = 0; i < count; ++i) {
      if (count > kFew) {
        if (marked[static_cast<size_t>(rows[i])]) return false;
        marked[static_cast<size_t>(rows[i])] = true;
      } else {
        for (int64_t j = 0; j < i; ++j) {
          if (rows[j] == rows[i]) return false;
        }
      }
    }
    return true;
  }

  // Makes the arrays that the outputs are written to, and a tuple of them.
  nb::object allocate(gatewise_chunk& chunk) const {
    nb::object found = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(outputs_.size())));
    for (size_t i = 0; i < outputs_.size(); ++i) {
      npy_intp shape[] = {chunk.batch, chunk.outputs[i].steps, chunk.outputs[i].width};
      PyObject* const made = found.is_valid() ? PyArray_SimpleNew(3, shape, kTypes[outputs_[i].dtype]) : nullptr;
      if (made == nullptr) throw nb::python_error();  // MemoryError
      PyTuple_SetItem(found.ptr(), static_cast<Py_ssize_t>(i), made);
      chunk.outputs[i].data = PyArray_DATA(reinterpret_cast<PyArrayObject*>(made));
    }
    return found;
  }

  nb::list held_;  // the constants' arrays
  std::vector<gatewise_value> inputs_, outputs_;
  std::vector<gatewise_state> states_;
  std::unique_ptr<gatewise_program, Free> program_;
};

}  // namespace

void add_program(nb::module_& m) {
  nb::class_<Program>(m, "Program", "Operations in order over numbered values, run over a chunk of steps: see csrc/bind/program.cpp.")
      .def(nb::init<nb::list, const nb::list&, const nb::list&>(), "operations"_a, "inputs"_a, "outputs"_a)
      .def_prop_ro("states", &Program::states)
      .def_prop_ro("outputs", &Program::outputs)
      .def_prop_ro("block", &Program::block)
      .def("run", &Program::run, "inputs"_a, "states"_a.none(), "rows"_a.none());
}

}  // namespace gatewise_bind
