// SPDX-License-Identifier: Apache-2.0
// The floating-point mode of the threads that compute: subnormal numbers are zeros, exceptions are masked, results are rounded to nearest.
//
// A thread inherits its mode from whoever started it, and frameworks change it: without a mode of the engine's own, the bits of a result
// would depend on the thread that found them. Subnormals are flushed, as in TensorFlow and XLA, for gradients that fade over many steps
// are full of them and each would take a hundred cycles.
#pragma once

#include <stdint.h>

namespace gatewise {

// The engine's mode, for as long as it lives.
class FloatMode {
 public:
  FloatMode();
  ~FloatMode();
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
  uint64_t before_;
};

}  // namespace gatewise
