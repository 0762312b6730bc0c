// SPDX-License-Identifier: Apache-2.0
// The kernels for any CPU: vectors of four floats (SSE2 on x86-64, NEON on ARM).
#define GATEWISE_LANES 4
#include "kernels/backward.h"

namespace gatewise {

extern const Kernels kGenericKernels;
const Kernels kGenericKernels = {"generic",    kLanes,       kCacheBytes, saved_floats, forward_scratch_floats, backward_scratch_floats,
                                 forward_slab, backward_slab};

}  // namespace gatewise
