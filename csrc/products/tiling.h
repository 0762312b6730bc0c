// SPDX-License-Identifier: Apache-2.0
// How a product of many rows and panels is cut into register tiles, and in what order these are taken.
#pragma once

#include "products/tile.h"

namespace gatewise {
namespace {

// How many panels a tile of `rows` rows and `gates` vectors a panel takes: as many as there are accumulators for, at most four, or eight
// for one row, whose multiply-adds would otherwise wait for each other.
constexpr int panels_per_tile(int rows, int gates) {
  const int p = kAccumulators / (rows * gates), most = rows == 1 ? 8 : 4;
  return p < 1 ? 1 : p > most ? most : p;
}

template <int N>
struct Constant {
  static constexpr int value = N;
};

// Calls f(Constant<n>), 1 <= n <= kMost.
template <int kMost, class F>
GATEWISE_INLINE void call_with_constant(int64_t n, F&& f) {
  if constexpr (kMost > 1) {
    if (n < kMost) return call_with_constant<kMost - 1>(n, f);
  }
  f(Constant<kMost>{});
}

// The panels of a tile, in whole vectors or in half a vector.
template <class V, int N>
struct Panels {
  using Vector = V;
  static constexpr int value = N;
};

// Whether the last of the panels up to `end`, which hold `width` numbers in all, needs half a vector.
GATEWISE_INLINE bool ends_in_half(int64_t end, int64_t width) { return kHalves && end * kLanes - width >= kLanes / 2; }

// A tile's worth of what is left, at most `most`. One more than a tile is taken as two halves, for a tile of one is slow.
GATEWISE_INLINE int64_t share_of(int64_t left, int64_t most) { return left == most + 1 ? (left + 1) / 2 : left < most ? left : most; }

// Calls f(Constant<n>) for n = share_of(left, kMost); returns n.
template <int kMost, class F>
GATEWISE_INLINE int64_t with_constant(int64_t left, F&& f) {
  const int64_t n = share_of(left, kMost);
  call_with_constant<kMost>(n, f);
  return n;
}

// Cuts `n` things into `parts` that are as even as can be, the larger ones first.
struct Cut {
  int64_t parts, size, larger;

  GATEWISE_INLINE Cut(int64_t n, int64_t count) : parts(count), size(n / count), larger(n % count) {}
  GATEWISE_INLINE int64_t begin(int64_t part) const { return part * size + (part < larger ? part : larger); }
};

// How many rows a tile has at most, of `gates` vectors a panel: as many as there are accumulators for.
constexpr int rows_per_tile(int gates) { return kRowTile * gates <= kAccumulators ? kRowTile : kAccumulators / gates; }

// Blocks of at most so many rows: even, for few rows make a slow tile.
template <int kGates>
GATEWISE_INLINE Cut cut_into_blocks(int64_t rows) {
  return Cut(rows, (rows + rows_per_tile(kGates) - 1) / rows_per_tile(kGates));
}

// Calls f(begin, Constant<rows>, block number) for every block.
template <int kGates, class F>
GATEWISE_INLINE void for_row_blocks(const Cut& blocks, F&& f) {
  for (int64_t b = 0; b < blocks.parts; ++b) {
    const int64_t begin = blocks.begin(b);
    call_with_constant<rows_per_tile(kGates)>(blocks.begin(b + 1) - begin, [&](auto rows) { f(begin, rows, b); });
  }
}

// What a block of rows brings into cache while it works: weights of the panels that come next, every block another part of them.
struct Ahead {
  int64_t panels;  // from a panel to the one that is brought
  int64_t block;   // the number of the block

  // Floats from a panel's weights to the part: one of `parts`, which are `part_stride` apart.
  GATEWISE_INLINE int64_t floats(int64_t panel_stride, int64_t parts, int64_t part_stride) const {
    return panels * panel_stride + block % parts * part_stride;
  }
};

// A product of all rows of a step, or of several steps, and the weights of some panels.
struct Product {
  int64_t first_panel, last_panel;
  int64_t width;  // of all panels
  int64_t rows;
  Depth depth;
  int64_t vectors;  // of weights, a panel and a step of the depth
  bool exceeds_l2;  // the weights come from beyond the second-level cache
};

// Where there are several blocks of rows and weights from beyond the second-level cache, the depth is taken in parts whose weights stay in
// the first-level cache while one block after the other uses them.
GATEWISE_INLINE Cut cut_depth(const Product& product, int64_t panels, int64_t blocks) {
  const int64_t depth = product.depth.end - product.depth.begin;
  if (kPartBytes == 0 || !product.exceeds_l2 || blocks == 1) return Cut(depth, 1);
  const int64_t fit = kPartBytes / (panels * product.vectors * kLanes * 4), most = fit < 1 ? 1 : fit;
  return Cut(depth, (depth + most - 1) / most);
}

// Calls tile(panels, rows, panel, row, depth, ahead, place) with Panels and Constant<M> for every tile of a product, and done(first panel,
// end) for a run of panels whose sums are complete; `place` counts the panels of a run.
//
// One tile of panels after the other, for all blocks of rows and one part of the depth after the other. A last panel that needs half a
// vector is a tile of its own, where its multiply-adds are enough not to wait for each other.
template <int kGates, class Tile, class Done>
GATEWISE_INLINE void for_tiles(const Product& product, Tile&& tile, Done&& done) {
  if (product.rows == 0) return;
  const Cut blocks = cut_into_blocks<kGates>(product.rows);
  const int64_t panels_of_tile = panels_per_tile(static_cast<int>(blocks.size), kGates);
  const Cut parts = cut_depth(product, panels_of_tile, blocks.parts);
  const bool half = blocks.size * kGates >= 8 && ends_in_half(product.last_panel, product.width);
  const int64_t last_whole = product.last_panel - half;
  int64_t run = product.first_panel;
  for (int64_t first = run; first < product.last_panel;) {
    const int64_t end = first < last_whole ? first + share_of(last_whole - first, panels_of_tile) : product.last_panel;
    const int64_t ahead = !product.exceeds_l2 ? 0 : end == product.last_panel ? product.first_panel - first : end - first;
    for (int64_t part = 0; part < parts.parts; ++part) {
      const Depth of_part{product.depth.begin + parts.begin(part), product.depth.begin + parts.begin(part + 1)};
      for_row_blocks<kGates>(blocks, [&](int64_t row, auto rows, int64_t block) {
        if constexpr (kHalves) {
          if (first == last_whole) return tile(Panels<HalfVec, 1>{}, rows, first, row, of_part, Ahead{ahead, block}, first - run);
        }
        for (int64_t p = first; p < end;) {
          p += with_constant<panels_per_tile(decltype(rows)::value, kGates)>(end - p, [&](auto panels) {
            tile(Panels<Vec, decltype(panels)::value>{}, rows, p, row, of_part, Ahead{ahead, block}, p - run);
          });
        }
      });
    }
    first = end;
    if (first == product.last_panel || (first - run + panels_of_tile) * product.rows > kRunRows) {
      done(run, first);
      run = first;
    }
  }
}

// How many panels of rows a run has at most, times its rows.
constexpr int64_t run_rows(int64_t rows) { return 4 * rows > kRunRows ? 4 * rows : kRunRows; }

}  // namespace
}  // namespace gatewise
