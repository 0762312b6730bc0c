// SPDX-License-Identifier: Apache-2.0
#include "passes/partials.h"

#include "formats/pack.h"
#include "threads/pool.h"

namespace gatewise {
namespace {

int64_t bias_floats(const CellInfo& cell) { return cell.normals > 0 ? cell.parameters() : cell.gradients; }

}  // namespace

Partials::Partials(const Problem& problem, int64_t lanes, int64_t groups, bool at_once)
    : problem_(problem),
      lanes_(lanes),
      recurrent_floats_(problem.panels * round_up(problem.layer.units, kPartialRows) * problem.cell->gates * lanes),
      kernel_floats_(problem.panels * round_up(problem.layer.features, kPartialRows) * problem.cell->gates * lanes),
      floats_(recurrent_floats_ + kernel_floats_ + problem.panels * bias_floats(*problem.cell) * lanes),
      at_once_(at_once),
      copies_(static_cast<size_t>(groups)),
      ended_(static_cast<size_t>(groups)) {
  for (int64_t group = 0; at_once && group < groups; ++group) make(group);
}

Partial Partials::begin(int64_t group) {
  if (!at_once_) make(group);
  return parts(group);
}

void Partials::end(int64_t group) {
  if (at_once_) return;
  std::unique_lock<std::mutex> lock(mutex_);
  ended_[static_cast<size_t>(group)] = true;
  if (adding_) return;
  adding_ = true;
  for (; next_ < static_cast<int64_t>(ended_.size()) && ended_[static_cast<size_t>(next_)]; ++next_) {
    lock.unlock();
    add(next_, 1);
    copies_[static_cast<size_t>(next_)].reset();
    lock.lock();
  }
  adding_ = false;
}

void Partials::finish() {
  for (; next_ < static_cast<int64_t>(copies_.size()); ++next_) add(next_, threads_for_weights(floats_));
}

void Partials::make(int64_t group) { copies_[static_cast<size_t>(group)] = std::make_unique<Scratch>(floats_); }

Partial Partials::parts(int64_t group) const {
  float* const copy = copies_[static_cast<size_t>(group)]->data();
  return {copy, copy + recurrent_floats_, copy + recurrent_floats_ + kernel_floats_};
}

void Partials::add(int64_t group, int threads) const {
  const gatewise_layer& layer = problem_.layer;
  const CellInfo& cell = *problem_.cell;
  const gatewise_gradients& d = problem_.d;
  const Partial from = parts(group);
  const bool first = group == 0;
  parallel_for(problem_.panels, threads, [&](int64_t panel) {
    add_kernel_panel(cell, layer, from.recurrent_kernel, panel, layer.units, lanes_, cell.recurrent_order, first, d.recurrent_kernel);
    add_kernel_panel(cell, layer, from.kernel, panel, layer.features, lanes_, cell.input_order, first, d.kernel);
    if (d.bias || cell.normals > 0) add_bias_panel(cell, layer, from.bias, panel, lanes_, first, d);
  });
}

}  // namespace gatewise
