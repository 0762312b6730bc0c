// SPDX-License-Identifier: Apache-2.0
// How many CPUs there are for this process, and how many threads a call may use.
#pragma once

namespace gatewise {

// The CPUs that affinity and cgroup quota allow this process, as they were half a second ago at most.
int cpus();

// What set_threads last said, else GATEWISE_NUM_THREADS, else cpus().
int threads();

// n >= 1; 0 restores the default.
void set_threads(int n);

}  // namespace gatewise
