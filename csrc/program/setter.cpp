// SPDX-License-Identifier: Apache-2.0
#include "program/setter.h"

#include <math.h>
#include <string.h>

namespace gatewise {
namespace {

const char* name_of(int32_t dtype) { return dtype == GATEWISE_INT64 ? "int64" : dtype == GATEWISE_BOOL ? "bool" : "float32"; }

std::string sizes_of(const int64_t* sizes, int32_t rank) {
  std::string text = "(";
  for (int32_t i = 0; i < rank; ++i) text += (i ? ", " : "") + (sizes[i] < 0 ? std::string("any") : std::to_string(sizes[i]));
  return text + ")";
}

}  // namespace

Setter::Setter(Operation& operation_, const gatewise_operation& given, std::vector<Value>& values, std::vector<State>& states)
    : p(operation_.parameters),
      operation(operation_),
      given_(given),
      values_(values),
      states_(states),
      options_used_(static_cast<size_t>(given.option_count)),
      constants_used_(static_cast<size_t>(given.constant_count)) {
  operation.first_state = static_cast<int32_t>(states.size());
}

const gatewise_option* Setter::option(const char* name) {
  for (int32_t i = 0; i < given_.option_count; ++i) {
    if (strcmp(given_.options[i].name, name) != 0) continue;
    options_used_[static_cast<size_t>(i)] = true;
    return &given_.options[i];
  }
  return nullptr;
}

double Setter::exact(const char* name, double otherwise) {
  const gatewise_option* const found = option(name);
  if (!found) return otherwise;
  if (found->text) operation.fail(std::string("option ") + name + " is '" + found->text + "'. Expected a number.");
  return found->number;
}

float Setter::number(const char* name, double otherwise) { return static_cast<float>(exact(name, otherwise)); }

int64_t Setter::whole(const char* name, int64_t otherwise, int64_t least, int64_t most) {
  const double found = exact(name, static_cast<double>(otherwise));
  if (!(found >= static_cast<double>(least) && found <= static_cast<double>(most)) || found != floor(found)) {
    operation.fail(std::string("option ") + name + " is " + std::to_string(found) + ". Expected a whole number from " +
                   std::to_string(least) + " to " + std::to_string(most) + ".");
  }
  return static_cast<int64_t>(found);
}

bool Setter::flag(const char* name, bool otherwise) { return exact(name, otherwise) != 0; }

int32_t Setter::one_of(const char* name, const char* otherwise, std::initializer_list<const char*> names) {
  const gatewise_option* const found = option(name);
  const char* const text = found ? found->text : otherwise;
  int32_t place = 0;
  std::string all;
  for (const char* each : names) {
    if (text && strcmp(text, each) == 0) return place;
    all += (place++ ? ", " : "") + std::string(each);
  }
  operation.fail(std::string("option ") + name + " is " + (text ? text : "no text") + ". Expected one of " + all + ".");
}

bool Setter::over_time(int64_t otherwise) {
  const int64_t axis = whole("axis", otherwise, -2, 2);
  if (axis == 0) operation.fail("option axis is 0. Expected 1, the steps, or 2, the features.");
  return axis == 1 || axis == -2;
}

const gatewise_constant* Setter::constant(const char* name, bool required) {
  for (int32_t i = 0; i < given_.constant_count; ++i) {
    if (strcmp(given_.constants[i].name, name) != 0) continue;
    constants_used_[static_cast<size_t>(i)] = true;
    if (given_.constants[i].dtype != GATEWISE_FLOAT32) {
      operation.fail(std::string("weight ") + name + " is of " + name_of(given_.constants[i].dtype) + ". Expected float32.");
    }
    return &given_.constants[i];
  }
  if (required) operation.fail(std::string("weight ") + name + " is missing.");
  return nullptr;
}

Weight Setter::weight(const char* name, std::initializer_list<int64_t> sizes, bool required) {
  const gatewise_constant* const found = constant(name, required);
  if (!found) return {};
  bool fits = static_cast<size_t>(found->rank) == sizes.size();
  int64_t floats = 1;
  for (size_t i = 0; fits && i < sizes.size(); ++i) {
    const int64_t wanted = sizes.begin()[i];
    fits = wanted < 0 || wanted == found->sizes[i];
    floats *= found->sizes[i];
  }
  if (!fits) {
    operation.fail(std::string("weight ") + name + " has the shape " + sizes_of(found->sizes, found->rank) + ". Expected " +
                   sizes_of(sizes.begin(), static_cast<int32_t>(sizes.size())) + ".");
  }
  return {static_cast<const float*>(found->data), floats};
}

Weight Setter::spread(const char* name, int64_t width, bool required) {
  const gatewise_constant* const found = constant(name, required);
  if (!found) return {};
  if (found->rank != 1 || (found->sizes[0] != 1 && found->sizes[0] != width)) {
    operation.fail(std::string("weight ") + name + " has the shape " + sizes_of(found->sizes, found->rank) + ". Expected (" +
                   std::to_string(width) + ") or (1).");
  }
  return {static_cast<const float*>(found->data), found->sizes[0]};
}

const Value& Setter::in(size_t i, int32_t dtype, bool may_be_constant) const {
  if (!given(i)) operation.fail("input " + std::to_string(i) + " is missing.");
  const Value& value = values_[static_cast<size_t>(operation.in[i])];
  if (value.dtype != dtype) {
    operation.fail("input " + std::to_string(i) + " is of " + name_of(value.dtype) + ". Expected " + name_of(dtype) + ".");
  }
  if (value.constant && !may_be_constant)
    operation.fail("input " + std::to_string(i) + " is a constant. Expected a value that is computed.");
  if (value.width == 0) operation.fail("input " + std::to_string(i) + " is attention's weights, which are an output of the program alone.");
  return value;
}

int32_t Setter::dtype(size_t i) const { return given(i) ? values_[static_cast<size_t>(operation.in[i])].dtype : GATEWISE_FLOAT32; }

const Value& Setter::mask(size_t i) const {
  const Value& value = in(i, GATEWISE_BOOL);
  if (value.width != 1)
    operation.fail("the width of input " + std::to_string(i) + ", a mask, is " + std::to_string(value.width) + ". Expected 1.");
  return value;
}

void Setter::put(Value value) {
  if (value.width > INT32_MAX || value.pace.steps > INT32_MAX || value.pace.of > INT32_MAX) {
    operation.fail("makes too many numbers: more than 2147483647 features, or as many steps for one.");
  }
  if (made_ < operation.out.size() && operation.out[made_] >= 0) {
    Value& place = values_[static_cast<size_t>(operation.out[made_])];
    value.number = place.number;
    place = value;
  } else if (made_ == 0) {
    operation.fail("output 0 is missing.");
  }
  ++made_;
}

void Setter::make(int32_t dtype, int64_t width, Pace pace) { put({0, dtype, width, nullptr, 0, pace}); }

void Setter::make(int32_t dtype, int64_t width) {
  Pace pace{0, 1};
  for (const int32_t i : operation.in) {  // the first that advances
    if (i < 0 || pace.steps > 0) continue;
    pace = values_[static_cast<size_t>(i)].pace;
  }
  make(dtype, width, pace);
}

void Setter::make_constant(const float* data, int64_t steps, int64_t width) { put({0, GATEWISE_FLOAT32, width, data, steps, {0, 1}}); }

void Setter::state(const char* name, int64_t width) {
  states_.push_back({operation.place, name, width});
  ++operation.states;
}

void Setter::finish() const {
  for (size_t i = 0; i < options_used_.size(); ++i) {
    if (!options_used_[i]) operation.fail(std::string("has no option ") + given_.options[i].name + ".");
  }
  for (size_t i = 0; i < constants_used_.size(); ++i) {
    if (!constants_used_[i]) operation.fail(std::string("has no weight ") + given_.constants[i].name + ".");
  }
  if (operation.out.size() > made_)
    operation.fail("has " + std::to_string(made_) + " outputs. Received " + std::to_string(operation.out.size()) + ".");
}

}  // namespace gatewise
