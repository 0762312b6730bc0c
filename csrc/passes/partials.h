// SPDX-License-Identifier: Apache-2.0
// The copies of the weight gradients, one for each group of slabs, and their sum in the caller's arrays, in the order of the groups.
//
// A copy is added, and its memory given back, as soon as its group and all before it have ended: by the thread that ended the last of
// them, while others work on. So there are about as many copies as threads at a time, however many groups there are.
#pragma once

#include <stdint.h>

#include <memory>
#include <mutex>
#include <vector>

#include "passes/problem.h"
#include "threads/scratch.h"

namespace gatewise {

class Partials {
 public:
  // at_once: all groups run at the same time, or there is but one. Then their copies are made here, and added by finish() alone.
  // Throws std::bad_alloc.
  Partials(const Problem& problem, int64_t lanes, int64_t groups, bool at_once);

  // A group's copy, to be cleared by the caller; of each group once, unless at_once. Throws std::bad_alloc.
  Partial begin(int64_t group);

  // A group is complete.
  void end(int64_t group);

  // All groups are. Adds what is left, on the pool if it is much.
  void finish();

  int64_t floats() const { return floats_; }  // of a copy

 private:
  void make(int64_t group);
  Partial parts(int64_t group) const;
  void add(int64_t group, int threads) const;

  const Problem& problem_;
  const int64_t lanes_, recurrent_floats_, kernel_floats_, floats_;
  const bool at_once_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> copies_;  // (groups,) null before a group begins and after it is added
  std::vector<char> ended_;                       // (groups,)
  int64_t next_ = 0;                              // the first group that is not added
  bool adding_ = false;                           // a thread is at it
};

}  // namespace gatewise
