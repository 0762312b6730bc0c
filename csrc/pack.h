// SPDX-License-Identifier: Apache-2.0
// Weights from Keras's layout into panels, for any vector width; and weight gradients back. The layouts stand in problem.h.
#pragma once

#include <stdint.h>

#include "engine.h"
#include "problem.h"

namespace gatewise {

// One panel of kernel (rows, 3U) -> (P, rows, 3, W), gates z r h; padding lanes zero.
int64_t panel_floats(int64_t rows, int64_t units, int64_t lanes);
void pack_kernel_panel(const float* kernel, int64_t panel, int64_t rows, int64_t units, int64_t lanes, float* to);

// bias (2, 3U), (3U,) or null -> (P, 4, W): z, r, h of the input, h of the recurrence.
void pack_bias(const float* bias, bool reset_after, int64_t units, int64_t lanes, float* to);

// One panel of kernel (rows, 3U) -> (ceil(rows / W), 3U, W): transposed, its 3U rows in the order panel, gate, lane, gates in the order
// given.
int64_t transposed_floats(int64_t rows, int64_t units, int64_t lanes);
void pack_transposed_panel(const float* kernel, int64_t panel, int64_t rows, int64_t units, int64_t lanes, const int gate_order[3],
                           float* to);

// One panel of a weight gradient: the sum of partial copies, `stride` floats apart, (P, round_up(rows), 3, W) -> (rows, 3U), added in
// order.
void unpack_kernel_panel(const float* partial, int64_t copies, int64_t stride, int64_t panel, int64_t rows, int64_t units, int64_t lanes,
                         const int gate_order[3], float* kernel);

// One panel of the bias gradient: likewise, (P, 4, W) -> (2, 3U) or (3U,).
void unpack_bias_panel(const float* partial, int64_t copies, int64_t stride, int64_t panel, bool reset_after, int64_t units, int64_t lanes,
                       float* bias);

}  // namespace gatewise
