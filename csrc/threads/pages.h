// SPDX-License-Identifier: Apache-2.0
// Large pages under arrays that a call fills.
//
// JAX and PyTorch take the memory of large layers afresh from the system at every step, and then each page costs a fault when it is first
// written: a quarter of the time of a training step of speech or bigbatch on two threads. Pages of 2 MB are 512 times as few.
#pragma once

#include <stdint.h>

namespace gatewise {

// Asks the system for large pages under an array, if it is large; null is none. NumPy asks for its own arrays from the same size on.
void use_large_pages(const float* data, int64_t floats);

}  // namespace gatewise
