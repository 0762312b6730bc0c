// SPDX-License-Identifier: Apache-2.0
#include "threads/team.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "threads/spin.h"

namespace gatewise {
namespace {

// Where the host of two virtual CPUs took one away 200 times a second, for 20 to 200 us, utterance takes 0.75 of the time that it took to
// spin for 50 us, then sleep, and work alone for ten times as long as any sleep. Beside a busy process it takes the same.
constexpr int kSpinMicroseconds = 10;        // in a meeting: about what a step takes
constexpr int kYieldMicroseconds = 200;      // then, while others may run
constexpr int kJoinMicroseconds = 1000;      // for a epoch to begin: many times what one takes
constexpr int64_t kToleratedNs = 1'000'000;  // what may be lost at once,
constexpr int64_t kToleratedShare = 10;      // and one part in so many of the time
constexpr int64_t kAlone = 10;               // times what was lost, if it was more

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Spins, then lets others run, for whoever is waited for may need this very CPU, and at last leaves it idle, so that the system brings them
// here. Returns the nanoseconds waited beyond the spinning.
template <class Ready>
int64_t wait(Ready&& ready) {
  if (spin(kSpinMicroseconds, ready)) return 0;
  const int64_t begin = now_ns();
  if (!spin_yielding(kYieldMicroseconds, ready)) {
    while (!ready()) std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  return now_ns() - begin;
}

// What meetings have cost the leaders of this process lately, and until when they work alone for it. Leaders that race lose a sample.
class Losses {
 public:
  bool alone(int64_t now) const { return now < alone_until_.load(std::memory_order_relaxed); }

  void add(int64_t lost, int64_t now) {
    const int64_t passed = now - since_.exchange(now, std::memory_order_relaxed);
    const int64_t all = std::max<int64_t>(lost_.load(std::memory_order_relaxed) - passed / kToleratedShare, 0) + lost;
    const bool too_much = all > kToleratedNs;
    lost_.store(too_much ? 0 : all, std::memory_order_relaxed);
    if (too_much) alone_until_.store(now + kAlone * all, std::memory_order_relaxed);
  }

 private:
  std::atomic<int64_t> lost_{0}, since_{0}, alone_until_{0};
};

Losses losses;

// A member's place among those who take part in a epoch.
struct Place {
  int64_t rank = 0, size = 1;
  uint64_t crew = 1;  // a bit for each member that takes part
  int64_t what = 0;
  int64_t round = 0;  // meetings so far
};

// `next` is the leader's until it counts `epochs` up, then the member's until it has copied it to `own`.
struct alignas(64) Seat {
  Place own, next;
  int64_t seen = 0;
  alignas(64) std::atomic<int64_t> epochs{0};
  std::atomic<bool> here{false};            // the member spins: it will come at once if it is called
  alignas(64) std::atomic<int64_t> met{0};  // the last meeting that the member came to
};

}  // namespace

struct Team::State {
  const int members;
  const std::unique_ptr<Seat[]> seats;
  std::atomic<bool> over{false}, alone{false};
  int64_t lost_ns = 0;  // the leader's, in this epoch

  explicit State(int n) : members(n), seats(new Seat[static_cast<size_t>(n)]) {}
  Seat& seat(int member) const { return seats[static_cast<size_t>(member)]; }
};

Team::Team(int members) : state_(members > 1 ? new State(members) : nullptr) {}

Team::~Team() { delete state_; }

bool Team::advisable() { return !losses.alone(now_ns()); }

void Team::begin(int64_t what) {
  if (!state_) return;
  State& team = *state_;
  Place& leader = team.seat(0).own;
  leader.size = 1;
  leader.crew = 1;
  const int64_t now = now_ns();
  losses.add(team.lost_ns, now);
  team.lost_ns = 0;
  const bool alone = losses.alone(now);
  if (team.alone.load(std::memory_order_relaxed) != alone) team.alone.store(alone, std::memory_order_relaxed);
  if (alone) return;
  for (int i = 1; i < team.members; ++i) {
    if (!team.seat(i).here.load(std::memory_order_relaxed)) continue;
    team.seat(i).next.rank = leader.size++;
    leader.crew |= uint64_t{1} << i;
  }
  for (int i = 1; i < team.members; ++i) {
    if (!(leader.crew >> i & 1)) continue;
    Seat& seat = team.seat(i);
    seat.next = {seat.next.rank, leader.size, leader.crew, what, leader.round};
    seat.epochs.fetch_add(1, std::memory_order_release);
  }
}

void Team::end() {
  if (!state_) return;
  losses.add(state_->lost_ns, now_ns());
  state_->over.store(true, std::memory_order_release);
}

bool Team::follow(int member, int64_t* what) {
  Seat& seat = state_->seat(member);
  const auto called = [&] { return seat.epochs.load(std::memory_order_acquire) != seat.seen; };
  const auto over = [&] { return state_->over.load(std::memory_order_acquire); };
  const auto alone = [&] { return state_->alone.load(std::memory_order_relaxed); };
  while (!called() && !over()) {
    seat.here.store(!alone(), std::memory_order_relaxed);
    if (alone()) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
      continue;
    }
    spin(kJoinMicroseconds, [&] { return called() || over() || alone(); });
    if (!called()) seat.here.store(false, std::memory_order_relaxed);
  }
  if (!called()) return false;
  ++seat.seen;
  seat.own = seat.next;
  *what = seat.own.what;
  return true;
}

void Team::meet(int member) {
  if (!state_) return;
  Seat& seat = state_->seat(member);
  if (seat.own.size == 1) return;
  const int64_t round = ++seat.own.round;
  seat.met.store(round, std::memory_order_release);
  for (int i = 0; i < state_->members; ++i) {
    if (i == member || !(seat.own.crew >> i & 1)) continue;
    const std::atomic<int64_t>& met = state_->seat(i).met;
    const int64_t waited = wait([&] { return met.load(std::memory_order_acquire) >= round; });
    if (member == 0) state_->lost_ns += waited;
  }
}

int64_t Team::first(int member, int64_t n) const {
  if (!state_) return share_begin(n);
  const Place& own = state_->seat(member).own;
  return n * own.rank / own.size;
}

int64_t Team::last(int member, int64_t n) const {
  if (!state_) return share_end(n);
  const Place& own = state_->seat(member).own;
  return n * (own.rank + 1) / own.size;
}

}  // namespace gatewise
