// SPDX-License-Identifier: Apache-2.0
// What the files of the NumPy face share: NumPy's own structures, the GIL, and what Python sees as MemoryError.
#pragma once

#include <nanobind/nanobind.h>

// One table of NumPy's functions for all files; numpy.cpp, which defines GATEWISE_IMPORTS_NUMPY, fills it.
#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL gatewise_numpy_api
#ifndef GATEWISE_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <chrono>
#include <new>
#include <thread>

namespace gatewise_bind {

void add_program(nanobind::module_& m);

// What Python sees as MemoryError.
struct OutOfMemory : std::bad_alloc {
  const char* what() const noexcept override {
    return "gatewise: there is no memory for what the engine computes in. Give fewer sequences at once, or fewer threads.";
  }
};

// Takes the GIL again. A thread that runs on when Python has ended never gets it: CPython unwinds such a thread's stack, which here would
// meet a destructor that may not throw and end the process. This one stops where it is, until the process is over, as from 3.14 on.
__attribute__((noinline)) inline void take_gil(PyThreadState* state) {
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

}  // namespace gatewise_bind
