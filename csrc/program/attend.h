// SPDX-License-Identifier: Apache-2.0
// Attention: each query's weighted sum of the steps of a value. Steps that a mask forbids are never looked at.
#pragma once

#include "program/activate.h"
#include "program/mask.h"

namespace gatewise {
namespace {

// Makes a query's frame: score(head, step) finds a score. A query that may look at no step looks at all alike.
template <class Score>
GATEWISE_INLINE void attend(const Work& work, int64_t row, int64_t step, int64_t frame, float* weights, Score&& score) {
  const Parameters& p = *work.parameters;
  const Frames &value = work.in[1], &out = work.out[0];
  const auto mask_of = [&](int32_t k) { return work.inputs > k && work.in[k].given() ? bytes(work.in[k]) : nullptr; };
  const uint8_t *const query_mask = mask_of(3), *const mask = mask_of(4);
  const int64_t steps = value.steps, part = value.width / p.heads, last = p.causal && step + 1 < steps ? step + 1 : steps;
  const auto allowed = [&](int64_t v) { return v < last && (!mask || mask[row * steps + v]); };
  int64_t any = 0;
  for (int64_t v = 0; v < steps; ++v) any += allowed(v);
  float* const y = static_cast<float*>(out.data) + frame * out.width;
  float* const kept = work.outputs > 1 && work.out[1].given() ? static_cast<float*>(work.out[1].data) : nullptr;
  for (int64_t head = 0; head < p.heads; ++head) {
    for (int64_t v = 0; v < steps; ++v) weights[v] = any == 0 ? 0.0f : allowed(v) ? score(head, v) : -kInfinity;
    if (steps > 0) softmax_of(weights, weights, steps);
    if (kept) copy(weights, kept + (frame * p.heads + head) * steps, steps);
    for_vectors(part, [&](int64_t i, int64_t n) {
      Vec sum{};
      for (int64_t v = 0; v < steps; ++v) {
        if (any > 0 && !allowed(v)) continue;
        const float* const from = value.floats() + (row * steps + v) * value.width + head * part;
        sum = fma(broadcast(weights[v]), load_first(from + i, n), sum);
      }
      store_first(y + head * part + i, query_mask && !query_mask[row * out.steps + step] ? Vec{} : sum, n);
    });
  }
}

void attention(const Work& work, int64_t begin, int64_t end, float* scratch) {
  const Parameters& p = *work.parameters;
  const Frames &query = work.in[0], &key = work.inputs > 2 && work.in[2].given() ? work.in[2] : work.in[1];
  const int64_t part = query.width / p.heads;
  for_frames(begin, end, work.out[0].steps, [&](int64_t frame, int64_t row, int64_t step) {
    attend(work, row, step, frame, scratch, [&](int64_t head, int64_t v) {
      const float *const q = query.floats() + frame * query.width + head * part, *const k = key.floats() +
                                                                                            (row * key.steps + v) * key.width + head * part;
      Vec sum{};
      for_vectors(part, [&](int64_t i, int64_t n) { sum = fma(load_first(q + i, n), load_first(k + i, n), sum); });
      return p.scale * sum_of(sum);
    });
  });
}

void additive_attention(const Work& work, int64_t begin, int64_t end, float* scratch) {
  const Frames &query = work.in[0], &key = work.inputs > 2 && work.in[2].given() ? work.in[2] : work.in[1];
  const float* const scale = work.parameters->gain.data;
  for_frames(begin, end, work.out[0].steps, [&](int64_t frame, int64_t row, int64_t step) {
    attend(work, row, step, frame, scratch, [&](int64_t, int64_t v) {
      const float *const q = query.floats() + frame * query.width, *const k = key.floats() + (row * key.steps + v) * key.width;
      Vec sum{};
      for_vectors(query.width, [&](int64_t i, int64_t n) {
        const Vec t = tanh(load_first(q + i, n) + load_first(k + i, n));  // of lanes that are not there: 0
        sum += scale ? t * load_first(scale + i, n) : t;
      });
      return sum_of(sum);
    });
  });
}

}  // namespace
}  // namespace gatewise
