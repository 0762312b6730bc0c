// SPDX-License-Identifier: Apache-2.0
// A team: threads that carry one slab together, each with panels of its own, and meet after every step.
//
// It is for batches too small to share out by rows. The leader works from the first moment on and takes in whoever has come, at the
// beginning of a *epoch*, a run of some thirty steps; who takes part in a epoch stays to its end. If meetings cost leaders too much,
// because another process has a CPU, the leaders of this process work alone for ten times as long as was lost. Little waits, such as the
// host of a virtual machine causes, are borne. Who computes a panel changes nothing in it: results are the same bits.
#pragma once

#include <stdint.h>

namespace gatewise {

class Team {
 public:
  static constexpr int kMaxMembers = 64;

  explicit Team(int members);  // 1 to kMaxMembers, the leader, number 0, included. Throws std::bad_alloc.
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // Whether a team is worth its meetings now: false for a while after one has lost time.
  static bool advisable();

  // The leader's: begins a epoch, `what` being any number that tells the members what to do; and ends the work.
  void begin(int64_t what);
  void end();

  // A member's: waits for a epoch that it takes part in and returns true, or false when there is no more.
  bool follow(int member, int64_t* what);

  // Returns when all who take part in this epoch have come. The last thing in every epoch.
  void meet(int member);

  // What is a member's in this epoch, out of n things: [first, last).
  int64_t first(int member, int64_t n) const;
  int64_t last(int member, int64_t n) const;

  // A team of one that has a share of the work, which nobody meets about: part `index` of `count`.
  void take_share(int64_t index, int64_t count) { share_ = {index, count}; }

  // What the team has, out of n things: [share_begin, share_end), all but for a team of one with a share.
  int64_t share_begin(int64_t n) const { return n * share_.index / share_.count; }
  int64_t share_end(int64_t n) const { return n * (share_.index + 1) / share_.count; }

 private:
  struct State;
  struct Share {
    int64_t index, count;
  };
  State* const state_;  // null for a team of one
  Share share_{0, 1};
};

}  // namespace gatewise
