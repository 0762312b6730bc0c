// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX-512 (F, VL, BW, DQ): vectors of sixteen floats.
#define GATEWISE_LANES 16
#include "kernels/backward.h"

namespace gatewise {

extern const Kernels kAvx512Kernels;
const Kernels kAvx512Kernels = {"avx512",     kLanes,       kCacheBytes, saved_floats, forward_scratch_floats, backward_scratch_floats,
                                forward_slab, backward_slab};

}  // namespace gatewise
