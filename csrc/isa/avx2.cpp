// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX2 with FMA: vectors of eight floats.
#define GATEWISE_LANES 8
#include "isa/cells.h"
#include "isa/operations.h"

namespace gatewise {

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = {"avx2", kLanes, kCacheBytes, kCells, kCellCount, &kPrograms};

}  // namespace gatewise
