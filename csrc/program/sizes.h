// SPDX-License-Identifier: Apache-2.0
// How large what an operation makes is, and what it costs: functions for the rows of the table.
#pragma once

#include <algorithm>
#include <string>

#include "program/value.h"

namespace gatewise {
namespace {

constexpr double kTranscendental = 8;  // multiply-adds that an exponential takes as long as

std::string text(int64_t n) { return std::to_string(n); }

// --- Steps ---

int64_t as_first(const Operation&, const Frames* in, bool) { return in[0].steps; }
int64_t one(const Operation&, const Frames*, bool) { return 1; }

// That of all together: what has one step has it everywhere.
int64_t common(const Operation& operation, const Frames* in, bool) {
  int64_t steps = 1;
  for (size_t i = 0; i < operation.in.size(); ++i) {
    if (operation.in[i] < 0 || in[i].steps == 1 || in[i].steps == steps) continue;
    if (steps != 1) operation.fail("inputs have " + text(steps) + " and " + text(in[i].steps) + " steps. Expected as many, or one.");
    steps = in[i].steps;
  }
  return steps;
}

int64_t of_windows(const Operation& operation, const Frames* in, bool streams) {
  const Parameters& p = operation.parameters;
  const int64_t steps = in[0].steps;
  if (streams && steps % p.strides != 0) {
    operation.fail("takes blocks of " + text(p.strides) + " steps. Received " + text(steps) + ".");
  }
  const int64_t left = steps - (p.padding == Padding::kValid ? p.reach() : 0);
  return left > 0 ? (left + p.strides - 1) / p.strides : 0;
}

int64_t of_slice(const Operation& operation, const Frames* in, bool) {
  const Parameters& p = operation.parameters;
  if (!p.over_time) return in[0].steps;
  const int64_t steps = in[0].steps;
  if (p.index != INT64_MAX) {  // one step
    if (p.index >= steps || p.index < -steps) operation.fail("takes step " + text(p.index) + " of " + text(steps) + ".");
    return 1;
  }
  const auto bound = [&](int64_t at) { return std::min(std::max<int64_t>(at < 0 ? at + steps : at, 0), steps); };
  const int64_t count = bound(p.stop) - bound(p.start);
  return count > 0 ? (count + p.step - 1) / p.step : 0;
}

int64_t of_upsample(const Operation& operation, const Frames* in, bool) { return in[0].steps * operation.parameters.size; }

void require_steps(const Operation& operation, const Frames& frames, const char* what, int64_t wanted) {
  if (frames.given() && frames.steps != wanted) {
    operation.fail(std::string(what) + " has " + text(frames.steps) + " steps. Expected " + text(wanted) + ".");
  }
}

int64_t of_recurrent(const Operation& operation, const Frames* in, bool) {
  if (operation.in.size() > 1 && operation.in[1] >= 0) require_steps(operation, in[1], "the mask", in[0].steps);
  const auto starts = static_cast<size_t>(2 + operation.recurrent.states);
  for (size_t i = 2; i < operation.in.size(); ++i) {
    if (operation.in[i] < 0) continue;
    if (i == starts) require_steps(operation, in[i], "what says where segments start", in[0].steps);
    if (i != starts) require_steps(operation, in[i], "an initial state", 1);
  }
  return operation.recurrent.layer.return_sequences ? in[0].steps : 1;
}

int64_t of_query(const Operation& operation, const Frames* in, bool) {
  for (size_t i = 2; i < operation.in.size(); ++i) {
    static const char* const kNames[] = {"key", "the query's mask", "the mask"};
    if (operation.in[i] >= 0) require_steps(operation, in[i], kNames[i - 2], in[i == 3 ? 0 : 1].steps);
  }
  return in[0].steps;
}

int64_t of_matmul(const Operation& operation, const Frames* in, bool) {
  require_steps(operation, in[1], "the second", in[0].width);
  return in[0].steps;
}

int64_t of_reduce(const Operation& operation, const Frames* in, bool) {
  if (operation.in.size() > 1 && operation.in[1] >= 0) require_steps(operation, in[1], "the mask", in[0].steps);
  return operation.parameters.over_time ? 1 : in[0].steps;
}

// --- Costs ---

double by_width(const Operation&, const Frames*, const Frames* out) { return static_cast<double>(out[0].width); }
double by_exponentials(const Operation&, const Frames*, const Frames* out) { return kTranscendental * static_cast<double>(out[0].width); }
double by_inputs(const Operation& operation, const Frames*, const Frames* out) {
  return static_cast<double>(out[0].width) * static_cast<double>(operation.in.size());
}
double by_product(const Operation& operation, const Frames*, const Frames*) {
  const Parameters& p = operation.parameters;
  return static_cast<double>(p.inputs) * static_cast<double>(p.outputs) * static_cast<double>(std::max<int64_t>(p.groups, 1));
}
double by_window(const Operation& operation, const Frames*, const Frames* out) {
  return static_cast<double>(operation.parameters.size) * static_cast<double>(out[0].width);
}
double by_matmul(const Operation&, const Frames* in, const Frames* out) {
  return static_cast<double>(in[0].width) * static_cast<double>(out[0].width);
}
double by_reduction(const Operation& operation, const Frames* in, const Frames*) {
  return static_cast<double>(in[0].width) * static_cast<double>(operation.parameters.over_time ? in[0].steps : 1);
}
double by_attention(const Operation& operation, const Frames* in, const Frames*) {
  const double steps = static_cast<double>(in[1].steps), heads = static_cast<double>(operation.parameters.heads);
  return steps * (static_cast<double>(in[0].width + in[1].width) + kTranscendental * heads);
}
double by_additive_attention(const Operation&, const Frames* in, const Frames*) {
  return static_cast<double>(in[1].steps) * (kTranscendental * static_cast<double>(in[0].width + 1) + static_cast<double>(in[1].width));
}
double by_cell(const Operation& operation, const Frames*, const Frames*) {
  const gatewise_layer& layer = operation.recurrent.layer;
  gatewise_cell_facts facts{};
  gatewise_facts_of(layer.cell, &facts);
  return static_cast<double>(facts.gates) * static_cast<double>(layer.units) * static_cast<double>(layer.features + layer.units + 8);
}

// --- Scratch ---

int64_t none(const Operation&, const Frames*) { return 0; }
int64_t of_stretch(const Operation& operation, const Frames* in) {
  const Parameters& p = operation.parameters;
  return (63 * p.strides + p.reach() + 1) * in[0].width + 16;
}
int64_t of_scores(const Operation&, const Frames* in) { return in[1].steps + 16; }

}  // namespace
}  // namespace gatewise
