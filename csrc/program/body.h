// SPDX-License-Identifier: Apache-2.0
// A program: operations in order over values, the states that streams carry from chunk to chunk, and how a chunk is run.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "program/plan.h"
#include "program/table.h"

namespace gatewise {

class Program {
 public:
  // Throws Invalid, std::bad_alloc.
  Program(const gatewise_operation* operations, int32_t count, const gatewise_value* inputs, int32_t input_count, const int32_t* outputs,
          int32_t output_count);

  std::vector<Value> values;
  std::vector<int32_t> inputs, outputs;  // of values
  std::vector<Operation> operations;     // what ids are read with comes first: an id out of range is found before a state advances
  std::vector<State> states;
  std::vector<int32_t> frames;  // the value of each of a plan's frames, -1: none
  int64_t block = 1;

  void plan(gatewise_chunk& chunk);
  void run(gatewise_chunk& chunk);
  void give_back(gatewise_chunk& chunk);

 private:
  int32_t index_of(int32_t number) const;
  void add(const gatewise_operation& given, int32_t place);
  void find_block();
  void take_states(const gatewise_chunk& chunk, CallPlan& plan) const;
  void run_operation(const Operation& operation, size_t index, CallPlan& plan) const;

  std::mutex mutex_;
  std::vector<std::unique_ptr<CallPlan>> free_;
  std::shared_ptr<const Packed> packed_;
};

}  // namespace gatewise
