// SPDX-License-Identifier: Apache-2.0
// What every instruction set has: its kernels of each cell. An isa/*.cpp file defines GATEWISE_LANES before it includes this.
#pragma once

#include "cells/gru.h"
#include "cells/gru_reset_before.h"
#include "cells/layer_norm_gru.h"
#include "cells/layer_norm_lstm.h"
#include "cells/lstm.h"
#include "cells/simple_rnn.h"
#include "formats/f32.h"
#include "passes/backward.h"

namespace gatewise {
namespace {

template <class Cell, class Format>
constexpr CellKernels kernels_of() {
  return {&Cell::kInfo,
          [](const gatewise_layer& layer, int64_t block_steps) { return Workspace::all_floats(Cell::kInfo, layer, block_steps); },
          ForwardSlab<Cell, Format>::scratch_floats,
          BackwardSlab<Cell, Format>::scratch_floats,
          forward_slab<Cell, Format>,
          backward_slab<Cell, Format>};
}

// By enum gatewise_cell.
constexpr CellKernels kCells[] = {kernels_of<Gru, F32>(),          kernels_of<GruResetBefore, F32>(),
                                  kernels_of<Lstm, F32>(),         kernels_of<SimpleRnn, F32>(),
                                  kernels_of<LayerNormGru, F32>(), kernels_of<LayerNormGruResetBefore, F32>(),
                                  kernels_of<LayerNormLstm, F32>()};
constexpr int32_t kCellCount = sizeof kCells / sizeof kCells[0];

}  // namespace
}  // namespace gatewise
