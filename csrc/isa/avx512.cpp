// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX-512 (F, VL, BW, DQ): vectors of sixteen floats.
#define GATEWISE_LANES 16
#include "isa/cells.h"
#include "isa/operations.h"

namespace gatewise {

extern const Kernels kAvx512Kernels;
const Kernels kAvx512Kernels = {"avx512", kLanes, kCacheBytes, kCells, kCellCount, &kPrograms};

}  // namespace gatewise
