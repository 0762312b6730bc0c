// SPDX-License-Identifier: Apache-2.0
// How many threads a call may use.
#pragma once

namespace gatewise {

// What set_threads last said, else GATEWISE_NUM_THREADS, else the CPUs that affinity and cgroup quota allow this process.
int threads();

// n >= 1; 0 restores the default.
void set_threads(int n);

}  // namespace gatewise
