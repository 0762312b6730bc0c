// SPDX-License-Identifier: Apache-2.0
// Waiting without sleeping, for what comes within microseconds: holding the CPU, or leaving it to whoever wants it.
#pragma once

#include <chrono>
#include <thread>

namespace gatewise {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Spins until `ready` or for about `microseconds`; says whether it became ready.
template <class Ready>
bool spin(int microseconds, Ready&& ready) {
  for (int i = 0; i < 64; ++i) {
    if (ready()) return true;
    pause();
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
  do {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// The same, but lets other threads run meanwhile.
template <class Ready>
bool spin_yielding(int microseconds, Ready&& ready) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
  do {
    std::this_thread::yield();
    if (ready()) return true;
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace gatewise
