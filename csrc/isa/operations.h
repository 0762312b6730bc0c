// SPDX-License-Identifier: Apache-2.0
// What every instruction set has of programs. An isa/*.cpp file defines GATEWISE_LANES before it includes this.
#pragma once

#include "program/activate.h"
#include "program/attend.h"
#include "program/conv.h"
#include "program/dense.h"
#include "program/mask.h"
#include "program/merge.h"
#include "program/normalise.h"
#include "program/pool.h"
#include "program/reduce.h"

namespace gatewise {
namespace {

// By Kind.
constexpr ProgramKernels kPrograms = {kLanes,
                                      {dense,
                                       conv,
                                       depthwise,
                                       max_pool,
                                       average_pool,
                                       layer_normalization,
                                       rms_normalization,
                                       unit_normalization,
                                       affine,
                                       activation,
                                       prelu,
                                       softmax,
                                       log_softmax,
                                       embedding,
                                       not_equal,
                                       zero_masked,
                                       all_of,
                                       any_of,
                                       add,
                                       subtract,
                                       product_of,
                                       divide,
                                       average,
                                       maximum,
                                       minimum,
                                       concatenate,
                                       slice,
                                       upsample,
                                       matmul,
                                       reduce,
                                       attention,
                                       additive_attention}};

}  // namespace
}  // namespace gatewise
