// SPDX-License-Identifier: Apache-2.0
// Scratch memory for the length of a scope: 64-byte aligned floats from a store of blocks that calls give back and later calls take again,
// because fresh memory from the system costs more than many a layer (a page fault is 0.1 us a KB).
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace gatewise {

class Scratch {
 public:
  explicit Scratch(int64_t floats);  // Throws std::bad_alloc. The contents are undefined.
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  float* data() const { return data_; }

 private:
  size_t bytes_;
  float* data_;
};

}  // namespace gatewise
