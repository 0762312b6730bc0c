// SPDX-License-Identifier: Apache-2.0
// A weight format: in what words the weights of the forward pass stand, and how rows are multiplied with them.
//
// Weights stand in panels of W units. In a panel the gates of a round stand side by side: (rows, G, W) for each round of G gates after the
// other. Where dropout gives every gate rows of its own, each stands alone, so that a product reads whole cache lines of what it needs.
//
// A format is a struct with one function, which a pass calls for a tile of M rows and P panels:
//
//   multiply<P>(weights, count, group, panel, rows, depth, ahead, acc)
//       acc[m][p * G + g] += the sum over a part `depth` of `count` rows of weights of rows[m] times the weights of gate g of the group
//       (see passes/sums.h) of panel + p, in rising order. `ahead` says what else to bring into cache.
//
// What makes panels of the caller's arrays is pack.h. Only float32 has the transposed weights of the backward pass: training for another
// format trains float32 weights.
#pragma once

#include "products/tiling.h"
