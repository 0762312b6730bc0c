// SPDX-License-Identifier: Apache-2.0
// Which instruction set's kernels run: one file in isa/ each, one row in dispatch.cpp.
#pragma once

#include "passes/problem.h"

namespace gatewise {

// The best the CPU has, or what GATEWISE_ISA names if the CPU has it, or what set_kernels last chose.
const Kernels& kernels();

// Returns false, and changes nothing, if the name is unknown or the CPU lacks the instruction set.
bool set_kernels(const char* name);

}  // namespace gatewise
