// SPDX-License-Identifier: Apache-2.0
// A call's sizes and memory: the frames of every value for one batch and one number of steps. Kept for the next call of the same sizes.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "program/packed.h"

namespace gatewise {

class Program;

struct CallPlan {
  // What it was made for.
  int64_t batch = -1;
  bool streams = false;
  std::vector<int64_t> steps;  // of each input

  std::vector<Frames> of_value;
  std::vector<Frames> frames;  // of each operation's inputs and then outputs, one after the other
  std::vector<StateRows> states;
  std::optional<Scratch> memory;
  int64_t floats = 0;
  float* scratch = nullptr;  // what operations work in, one after the other
  double work = 0;
  std::shared_ptr<const Packed> packed;

  bool fits(const gatewise_chunk& chunk) const;
  // Throws Invalid, std::bad_alloc.
  void make(const Program& program, const gatewise_chunk& chunk);

 private:
  void lay_out(const Program& program, int64_t scratch_floats);
};

}  // namespace gatewise
