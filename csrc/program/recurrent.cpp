// SPDX-License-Identifier: Apache-2.0
#include "program/recurrent.h"

#include <algorithm>
#include <new>

namespace gatewise {
namespace {

void check(int status) {
  if (status != GATEWISE_OK) throw std::bad_alloc();  // all else has been checked
}

const uint8_t* bools_of(const Operation& operation, const Frames* in, size_t i) {
  return operation.in.size() > i && in[i].given() ? static_cast<const uint8_t*>(in[i].data) : nullptr;
}
const uint8_t* mask_of(const Operation& operation, const Frames* in) { return bools_of(operation, in, 1); }
const uint8_t* starts_of(const Operation& operation, const Frames* in) {
  return bools_of(operation, in, static_cast<size_t>(2 + operation.recurrent.states));
}

void gather(const StateRows& from, int64_t batch, int64_t units, float* to) {
  for (int64_t i = 0; i < batch; ++i) std::copy_n(from.row(i), units, to + i * units);
}

// A step of all rows, in place.
void step(const Operation& operation, const float* packed, const Frames* in, const Frames* out, const StateRows* states, int64_t batch) {
  gatewise_layer layer = operation.recurrent.layer;
  layer.batch = batch;
  gatewise_streams streams{};
  streams.x = in[0].floats();
  streams.x_stride = layer.features;
  streams.row = states[0].places;
  streams.state_stride = states[0].stride;
  streams.outputs = static_cast<float*>(out[0].data);
  for (int32_t k = 0; k < operation.recurrent.states; ++k) streams.state[k] = states[k].data;
  check(gatewise_step(&layer, packed, &streams));
}

// The outputs of steps before the first valid one of a chunk: the last output of the chunk before.
void repeat_outputs(const Operation& operation, const uint8_t* mask, const uint8_t* starts, const Frames& out, int64_t steps,
                    const StateRows& before, const StateRows& seen, int64_t batch) {
  const int64_t units = operation.recurrent.layer.units;
  for (int64_t i = 0; i < batch; ++i) {
    float& has_seen = seen.row(i)[0];
    int64_t masked = 0, repeated = 0;
    while (masked < steps && !mask[i * steps + masked]) ++masked;
    while (repeated < masked && !(starts && starts[i * steps + repeated])) ++repeated;
    if (has_seen != 0) {
      float* const y = static_cast<float*>(out.data) + i * out.steps * units;
      const int64_t count = operation.recurrent.layer.return_sequences ? repeated : repeated == steps;
      for (int64_t t = 0; t < count; ++t) std::copy_n(before.row(i), units, y + t * units);
    }
    if (masked < steps) has_seen = 1;
  }
}

// Whether a segment of a row begins before its first valid step of a chunk is over, or behind its last one.
bool begins_anew(const uint8_t* starts, const uint8_t* valid, int64_t steps) {
  for (int64_t t = 0; t < steps; ++t) {
    if (starts[t]) return true;
    if (!valid || valid[t]) return false;
  }
  return false;
}
bool ends_open(const uint8_t* starts, const uint8_t* valid, int64_t steps) {
  for (int64_t t = steps - 1; valid && t >= 0 && !valid[t]; --t) {
    if (starts[t]) return true;
  }
  return false;
}

}  // namespace

int64_t recurrent_scratch(const Operation& operation, const Frames* in, int64_t batch, bool streams) {
  if (streams && in[0].steps == 1 && operation.recurrent.states == 1 && operation.in.size() < 2) return 0;
  return 2 * operation.recurrent.states * batch * operation.recurrent.layer.units;
}

void run_recurrent(const Operation& operation, const float* packed, const Frames* in, const Frames* out, const StateRows* states,
                   int64_t batch, float* scratch) {
  const Recurrent& r = operation.recurrent;
  const int64_t units = r.layer.units, floats = batch * units;
  const uint8_t *const mask = mask_of(operation, in), *const starts = starts_of(operation, in);
  const auto wanted = [&](int32_t k) {
    return static_cast<size_t>(k + 1) < operation.out.size() ? static_cast<float*>(out[k + 1].data) : nullptr;
  };
  bool same_strides = states != nullptr;
  for (int32_t k = 1; states && k < r.states; ++k) same_strides &= states[k].stride == states[0].stride;
  const auto none = [&](const uint8_t* flags, uint8_t value) { return !flags || std::find(flags, flags + batch, value) == flags + batch; };
  const bool in_place = same_strides && in[0].steps == 1 && none(mask, 0) && none(starts, 1);
  if (in_place) {
    step(operation, packed, in, out, states, batch);
    for (int64_t i = 0; r.keeps_seen && i < batch; ++i) states[r.states].row(i)[0] = 1;
    for (int32_t k = 0; k < r.states; ++k) {
      if (float* const to = wanted(k)) gather(states[k], batch, units, to);
    }
    return;
  }
  gatewise_layer layer = r.layer;
  layer.batch = batch;
  layer.timesteps = in[0].steps;
  gatewise_inputs given = r.weights;
  gatewise_outputs made{};
  given.x = in[0].floats();
  given.mask = mask;
  given.starts = starts;
  given.restarts_with_zeros = states != nullptr;
  given.packed = packed;
  made.outputs = static_cast<float*>(out[0].data);
  for (int32_t k = 0; k < r.states; ++k) {
    float* const before = scratch + 2 * k * floats;
    const auto place = static_cast<size_t>(2 + k);
    if (states) {
      gather(states[k], batch, units, before);
      for (int64_t i = 0; starts && i < batch; ++i) {
        const int64_t at = i * layer.timesteps;
        if (begins_anew(starts + at, mask ? mask + at : nullptr, layer.timesteps)) std::fill_n(before + i * units, units, 0.0f);
      }
      given.initial_state[k] = before;
    } else if (place < operation.in.size() && in[place].given()) {
      given.initial_state[k] = in[place].floats();
    }
    float* const after = wanted(k);
    made.state[k] = after ? after : before + floats;
  }
  check(gatewise_forward(&layer, &given, &made));
  if (!states) return;
  if (r.keeps_seen) repeat_outputs(operation, mask, starts, out[0], layer.timesteps, states[0], states[r.states], batch);
  for (int32_t k = 0; k < r.states; ++k) {
    for (int64_t i = 0; i < batch; ++i) std::copy_n(made.state[k] + i * units, units, states[k].row(i));
  }
  for (int64_t i = 0; starts && i < batch; ++i) {
    const int64_t at = i * layer.timesteps;
    if (!ends_open(starts + at, mask ? mask + at : nullptr, layer.timesteps)) continue;
    for (int32_t k = 0; k < r.states; ++k) std::fill_n(states[k].row(i), units, 0.0f);
    if (r.keeps_seen) states[r.states].row(i)[0] = 0;
  }
}

}  // namespace gatewise
