// SPDX-License-Identifier: Apache-2.0
// Waiting without sleeping, for what comes within microseconds.
#pragma once

#include <chrono>

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

}  // namespace gatewise
