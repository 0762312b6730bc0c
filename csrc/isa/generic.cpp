// SPDX-License-Identifier: Apache-2.0
// The kernels for any CPU: vectors of four floats (SSE2 on x86-64, NEON on ARM).
#define GATEWISE_LANES 4
#include "isa/cells.h"
#include "isa/operations.h"

namespace gatewise {

extern const Kernels kGenericKernels;
const Kernels kGenericKernels = {"generic", kLanes, kCacheBytes, kCells, kCellCount, &kPrograms};

}  // namespace gatewise
