// SPDX-License-Identifier: Apache-2.0
// The GRU, in both orders, with layer normalisation (Ba, Kiros and Hinton 2016, arXiv 1607.06450): a plain GRU's gates, of normalised
// products. The pass normalises; see passes/normalise.h, and src/gatewise/reference/layer_norm.py for the equations.
#pragma once

#include "cells/gru.h"
#include "cells/gru_reset_before.h"

namespace gatewise {
namespace {

struct LayerNormGru : Gru {
  using Plain = Gru;
  static constexpr CellInfo kInfo = with_normalised_products(Plain::kInfo);
};

struct LayerNormGruResetBefore : GruResetBefore {
  using Plain = GruResetBefore;
  static constexpr CellInfo kInfo = with_normalised_products(Plain::kInfo);
};

}  // namespace
}  // namespace gatewise
