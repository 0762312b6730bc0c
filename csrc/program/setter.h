// SPDX-License-Identifier: Apache-2.0
// Reads an operation as the caller describes it: options, weights and inputs by name and place, each checked, none left over.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "program/value.h"

namespace gatewise {

class Setter {
 public:
  Setter(Operation& operation, const gatewise_operation& given, std::vector<Value>& values, std::vector<State>& states);

  Parameters& p;
  Operation& operation;

  // An option, or what stands for it. Numbers are checked against their range.
  int64_t whole(const char* name, int64_t otherwise, int64_t least, int64_t most = INT32_MAX);
  float number(const char* name, double otherwise);
  double exact(const char* name, double otherwise);
  bool flag(const char* name, bool otherwise);
  // The place of a text in a list of names.
  int32_t one_of(const char* name, const char* otherwise, std::initializer_list<const char*> names);
  // Whether an axis is that of the steps, of frames (batch, steps, width); else it is that of the features.
  bool over_time(int64_t otherwise);

  // A weight with these sizes, -1 standing for any.
  Weight weight(const char* name, std::initializer_list<int64_t> sizes, bool required);
  // A weight of `width` numbers or of one.
  Weight spread(const char* name, int64_t width, bool required);
  const gatewise_constant* constant(const char* name, bool required);

  // An input; `dtype` is the one it has to have.
  bool given(size_t i) const { return i < operation.in.size() && operation.in[i] >= 0; }
  const Value& in(size_t i, int32_t dtype = GATEWISE_FLOAT32, bool may_be_constant = false) const;
  const Value& mask(size_t i) const;
  int32_t dtype(size_t i) const;
  int64_t inputs() const { return static_cast<int64_t>(operation.in.size()); }

  // The next output, at the pace of the first input unless another is given.
  void make(int32_t dtype, int64_t width);
  void make(int32_t dtype, int64_t width, Pace pace);
  void make_constant(const float* data, int64_t steps, int64_t width);
  void state(const char* name, int64_t width);

  // Complains about what has not been asked for.
  void finish() const;

 private:
  const gatewise_option* option(const char* name);
  void put(Value value);

  const gatewise_operation& given_;
  std::vector<Value>& values_;
  std::vector<State>& states_;
  std::vector<bool> options_used_, constants_used_;
  size_t made_ = 0;
};

}  // namespace gatewise
