// SPDX-License-Identifier: Apache-2.0
#include "program/packed.h"

#include <algorithm>
#include <new>

namespace gatewise {
namespace {

int64_t floats_of(const Kernels& isa, const Operation& operation) {
  if (operation.recurrent.states > 0) return gatewise_packed_floats(&operation.recurrent.layer);
  const Parameters& p = operation.parameters;
  if (operation.kind == Kind::kDepthwise) return (1 + p.size) * p.groups;
  if (operation.kind != Kind::kDense && operation.kind != Kind::kConv) return 0;
  ProductLayout layout = operation.layout;
  layout.lanes = isa.lanes;
  return layout.floats();
}

// Where each operation's begin, and where the last ends.
std::vector<int64_t> places_of(const Kernels& isa, const std::vector<Operation>& operations) {
  std::vector<int64_t> at(1);
  for (const Operation& operation : operations) at.push_back(at.back() + (floats_of(isa, operation) + 15) / 16 * 16);
  return at;
}

void pack_product(const Operation& operation, int64_t lanes, float* to) {
  const Parameters& p = operation.parameters;
  const int64_t columns = p.groups * p.outputs;
  for (int64_t g = 0; g < p.groups; ++g) {
    for (int64_t first = 0; first < p.outputs; first += lanes) {
      const int64_t count = std::min(lanes, p.outputs - first);
      const auto row = [&](const float* from) {
        for (int64_t i = 0; i < lanes; ++i) *to++ = from && i < count ? from[g * p.outputs + first + i] : 0.0f;
      };
      row(p.bias.data);
      for (int64_t k = 0; k < p.inputs; ++k) row(p.kernel.data + k * columns);
    }
  }
}

void pack_depthwise(const Parameters& p, float* to) {
  for (int64_t i = 0; i < p.groups; ++i) to[i] = p.bias.data ? p.bias.data[i] : 0.0f;
  std::copy_n(p.kernel.data, p.size * p.groups, to + p.groups);
}

}  // namespace

Packed::Packed(const Kernels& isa_, const std::vector<Operation>& operations)
    : isa(isa_), at_(places_of(isa, operations)), memory_(at_.back()) {
  for (size_t i = 0; i < operations.size(); ++i) {
    const Operation& operation = operations[i];
    float* const to = memory_.data() + at_[i];
    if (operation.recurrent.states > 0) {
      gatewise_inputs weights = operation.recurrent.weights;
      weights.epsilon = &operation.recurrent.epsilon;
      if (gatewise_pack(&operation.recurrent.layer, &weights, to) != GATEWISE_OK) throw std::bad_alloc();
    } else if (operation.kind == Kind::kDepthwise) {
      pack_depthwise(operation.parameters, to);
    } else if (operation.kind == Kind::kDense || operation.kind == Kind::kConv) {
      pack_product(operation, isa.lanes, to);
    }
  }
}

}  // namespace gatewise
