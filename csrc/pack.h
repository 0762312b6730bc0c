// SPDX-License-Identifier: Apache-2.0
// Weights from the caller's layout into panels, for any vector width; and weight gradients back. The layouts of panels stand in problem.h,
// those of the caller in engine.h: "kernel" is either of the two, with F or U rows.
#pragma once

#include <stdint.h>

#include "engine.h"
#include "problem.h"

namespace gatewise {

constexpr int kForwardOrder[3] = {0, 1, 2};    // z r h
constexpr int kRecurrentOrder[3] = {2, 0, 1};  // h z r: the order of the gate gradients that flow through the recurrent weights

// How many threads bring so many floats of weights from one layout to another: one alone, unless they are many.
int threads_for_weights(int64_t floats);

// One panel of a kernel: (rows, 3, W), gates z r h; padding lanes zero. Where a vector is less than a cache line of 16 floats, what is
// multiplied apart would read most of every line in vain. So gate h, which is with reset_after=False, stands apart there: (rows, 2, W) and
// then (rows, W); and with `gates_apart` all three do: (3, rows, W). (Recurrent dropout, one thread: utterance 0.86 of the time, others
// 0.97 to 1.00.)
int64_t panel_floats(int64_t rows, int64_t units, int64_t lanes);
void pack_kernel_panel(const gatewise_gru_spec& spec, const float* kernel, int64_t panel, int64_t rows, int64_t lanes, bool gates_apart,
                       float* to);

// The biases -> (P, 4, W): z, r, h of the input, h of the recurrence.
void pack_bias(const gatewise_gru_spec& spec, const gatewise_gru_inputs& in, int64_t lanes, float* to);

// One panel of a kernel -> (ceil(rows / W), 3U, W): transposed, its 3U rows in the order run, panel, gate, lane, gates in the order given;
// run_end[i] is where the run of the i-th ends.
int64_t transposed_floats(int64_t rows, int64_t units, int64_t lanes);
void pack_transposed_panel(const gatewise_gru_spec& spec, const float* kernel, int64_t panel, int64_t rows, int64_t lanes,
                           const int gate_order[3], const int run_end[3], float* to);

// One panel of a copy of the gradient of a kernel, (P, round_up(rows), 3, W) with gates in the order given: written to `kernel` if it is
// the first copy, else added.
void add_kernel_panel(const gatewise_gru_spec& spec, const float* copy, int64_t panel, int64_t rows, int64_t lanes, const int gate_order[3],
                      bool first, float* kernel);

// One panel of a copy of the gradients of the biases, (P, 4, W): likewise.
void add_bias_panel(const gatewise_gru_spec& spec, const float* copy, int64_t panel, int64_t lanes, bool first,
                    const gatewise_gru_gradients& out);

}  // namespace gatewise
