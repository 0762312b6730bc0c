// SPDX-License-Identifier: Apache-2.0
// The weights of a program as one instruction set multiplies with them.
#pragma once

#include <vector>

#include "dispatch.h"
#include "program/value.h"
#include "threads/scratch.h"

namespace gatewise {

class Packed {
 public:
  Packed(const Kernels& isa, const std::vector<Operation>& operations);  // Throws std::bad_alloc.

  const Kernels& isa;
  const float* of(size_t operation) const { return memory_.data() + at_[operation]; }

 private:
  std::vector<int64_t> at_;
  Scratch memory_;
};

}  // namespace gatewise
