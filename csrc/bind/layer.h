// SPDX-License-Identifier: Apache-2.0
// A layer as every hook meets it: the rows of operands.h, the shapes that they have in a layer, and what is wrong with those that they have
// not. No framework and no mathematics.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <iterator>
#include <string>
#include <utility>

#include "engine.h"
#include "operands.h"

namespace gatewise_bind {

enum Type { FLOAT, BOOL };
enum Presence { REQUIRED, OPTIONAL, SECOND_STATE, BESIDE_BIAS, NORMALISED, NORMALISED_STATE };
enum Owner { SHARED, OWN };
enum Derivative { CONSTANT, DIFFERENTIABLE };

// A row of the table.
struct Operand {
  const char* name;
  const char* axes;
  Type type;
  Presence presence;
  Owner owner;
  Derivative derivative;
};

#define GATEWISE_ROW(name, member, axes, type, presence, owner, derivative) {#name, axes, type, presence, owner, derivative},
inline constexpr Operand kInputs[] = {GATEWISE_INPUTS(GATEWISE_ROW)};
#undef GATEWISE_ROW
#define GATEWISE_ROW(name, member, axes, presence, owner) {#name, axes, FLOAT, presence, owner, DIFFERENTIABLE},
inline constexpr Operand kOutputs[] = {GATEWISE_OUTPUTS(GATEWISE_ROW)};
#undef GATEWISE_ROW
#define GATEWISE_ROW(name) #name,
inline constexpr const char* kOptions[] = {GATEWISE_OPTIONS(GATEWISE_ROW)};
#undef GATEWISE_ROW
constexpr size_t kInputCount = std::size(kInputs), kOutputCount = std::size(kOutputs), kOptionCount = std::size(kOptions);
constexpr size_t kMostDirections = GATEWISE_MAX_DIRECTIONS;

// The places of the rows that a hook asks for by name.
#define GATEWISE_ROW(name, ...) kInput_##name,
enum InputPlace : size_t { GATEWISE_INPUTS(GATEWISE_ROW) };
#undef GATEWISE_ROW

// How many of some rows belong to all directions, or to each.
template <size_t kCount>
constexpr size_t count_of(const Operand (&rows)[kCount], Owner owner) {
  size_t count = 0;
  for (const Operand& row : rows) count += row.owner == owner;
  return count;
}

inline void set_option(gatewise_layer& layer, size_t option, int32_t value) {
  size_t i = 0;
#define GATEWISE_ROW(name) \
  if (i++ == option) layer.name = value;
  GATEWISE_OPTIONS(GATEWISE_ROW)
#undef GATEWISE_ROW
}

// Each sets the member of a row.
template <class T>
void point(T*& member, const void* data) {
  member = static_cast<T*>(const_cast<void*>(data));
}
inline void set_input(gatewise_inputs& in, size_t input, const void* data) {
  switch (input) {
#define GATEWISE_ROW(name, member, ...) \
  case kInput_##name:                   \
    return point(in.member, data);
    GATEWISE_INPUTS(GATEWISE_ROW)
#undef GATEWISE_ROW
  }
}
inline void set_gradient(gatewise_gradients& out, size_t input, float* data) {
#define GATEWISE_CONSTANT(name, member)
#define GATEWISE_DIFFERENTIABLE(name, member) \
  if (input == kInput_##name) out.member = data;
#define GATEWISE_ROW(name, member, axes, type, presence, owner, derivative) GATEWISE_##derivative(name, member)
  GATEWISE_INPUTS(GATEWISE_ROW)
#undef GATEWISE_ROW
#undef GATEWISE_DIFFERENTIABLE
#undef GATEWISE_CONSTANT
}
template <class Outputs>  // gatewise_outputs or gatewise_output_gradients
void set_output(Outputs& out, size_t output, const void* data) {
  size_t i = 0;
#define GATEWISE_ROW(name, member, ...) \
  if (i++ == output) point(out.member, data);
  GATEWISE_OUTPUTS(GATEWISE_ROW)
#undef GATEWISE_ROW
}

// --- Shapes ------------------------------------------------------------------------------------------------------------------------------

constexpr int kMaxRank = 4;

// The shape that an array is to have.
struct Shape {
  int rank = 0;
  const char* name[kMaxRank];
  int64_t size[kMaxRank];  // negative: any

  void add(const char* of_name, int64_t of_size) {
    name[rank] = of_name;
    size[rank++] = of_size;
  }
  int64_t elements() const {
    int64_t count = 1;
    for (int i = 0; i < rank; ++i) count *= size[i];
    return count;
  }
};

// The shape that an array has.
struct Sizes {
  int64_t rank = 0;
  const int64_t* sizes = nullptr;

  // Where a framework has no place for what is not there, an array of shape (0,) stands for it.
  bool is_absent() const { return rank == 1 && sizes[0] == 0; }
};

inline std::string text_of(const Shape& shape) {
  std::string text;
  for (int i = 0; i < shape.rank; ++i) {
    text += (i ? ", " : "") + std::string(shape.name[i]) + (shape.size[i] < 0 ? "" : "=" + std::to_string(shape.size[i]));
  }
  return "(" + text + ")";
}
inline std::string text_of(Sizes sizes) {
  std::string text;
  for (int64_t i = 0; i < sizes.rank; ++i) text += (i ? ", " : "") + std::to_string(sizes.sizes[i]);
  return "(" + text + ")";
}

inline bool fits(const Shape& shape, Sizes sizes) {
  bool same = sizes.rank == shape.rank;
  for (int i = 0; same && i < shape.rank; ++i) same = shape.size[i] < 0 || shape.size[i] == sizes.sizes[i];
  return same;
}

// What a face says of an array, in the one form that all have.
inline std::string complaint(const std::string& name, const char* what, const std::string& expected, const std::string& received,
                             const char* cure = "Check what the layer was given.") {
  return "gatewise: " + name + " " + what + ". Expected " + expected + "; received " + received + ". " + cure;
}
inline std::string complaint(const std::string& name, const Shape& shape, Sizes sizes) {
  return complaint(name, "has the wrong shape", text_of(shape), text_of(sizes));
}

// What is wrong where the engine has refused a call whose arrays fit; null where nothing is.
inline const char* complaint(int status) {
  if (status == GATEWISE_OK) return nullptr;
  if (status == GATEWISE_OUT_OF_MEMORY) {
    return "gatewise: there is no memory for the engine's scratch. Expected enough for the batch; received none. Use a smaller batch.";
  }
  return "gatewise: a size or an option is out of range. Expected features and units of at least 1, and a cell and activations that the "
         "engine has; received others. Check the shapes of x and recurrent_kernel.";
}

// --- A layer -----------------------------------------------------------------------------------------------------------------------------

// A layer, its cell and the shapes that follow. Options are set and the directions counted before it is asked for shapes.
struct Layer {
  gatewise_layer layer{};
  gatewise_cell_facts cell{};
  gatewise_inputs in[kMostDirections]{};

  Layer() { layer.struct_size = sizeof layer; }

  // Takes the sizes from x and the first recurrent kernel. Returns what is wrong with them, or nothing.
  std::string take_sizes(Sizes x, Sizes recurrent_kernel) {
    if (gatewise_facts_of(layer.cell, &cell) != GATEWISE_OK)
      return complaint("cell", "is unknown", "a number of the engine's", std::to_string(layer.cell));
    layer.batch = layer.timesteps = layer.features = layer.units = -1;
    const Shape of_x = shape_of(kInputs[kInput_x]), of_kernel = shape_of(kInputs[kInput_recurrent_kernel]);
    if (!fits(of_x, x)) return complaint("x", of_x, x);
    if (!fits(of_kernel, recurrent_kernel)) return complaint(name_of(kInputs[kInput_recurrent_kernel], 0), of_kernel, recurrent_kernel);
    layer.batch = x.sizes[0];
    layer.timesteps = x.sizes[1];
    layer.features = x.sizes[2];
    layer.units = recurrent_kernel.sizes[layer.torch_layout ? 1 : 0];
    return {};
  }

  // Checks the shape of an input and notes its data, null if it is absent. Returns what is wrong with it, or nothing.
  std::string take(size_t input, size_t direction, Sizes sizes, const void* data) {
    const Operand& row = kInputs[input];
    if (input == kInput_input_dropout)
      in[direction].input_dropout_masks = data && sizes.rank > 0 && sizes.sizes[0] == cell.gates ? cell.gates : 1;
    if (data) {
      if (!exists(row)) {
        return complaint(name_of(row, direction), "has no place in this layer", "none", text_of(sizes), "Leave it out.");
      }
      const Shape shape = shape_of(row, in[direction].input_dropout_masks);
      if (!fits(shape, sizes)) return complaint(name_of(row, direction), shape, sizes);
    }
    set_input(in[direction], input, data);
    if (row.presence == BESIDE_BIAS && data && !in[direction].bias) {
      return complaint(name_of(row, direction), "stands alone", "it beside bias", "it without", "Give both.");
    }
    return {};
  }

  // Whether a layer of this kind may have it.
  bool exists(const Operand& row) const {
    if (row.presence == SECOND_STATE) return cell.states > 1;
    if (row.presence == NORMALISED) return cell.normalises;
    if (row.presence == NORMALISED_STATE) return cell.normalises_state;
    return row.presence != BESIDE_BIAS || (layer.torch_layout && !cell.normalises);
  }

  // The shape that an input, an output or a gradient of one has. Sizes that are not known yet are negative.
  Shape shape_of(const Operand& row, int64_t masks = 1) const {
    static const char* const kGates[] = {"", "units", "2 * units", "3 * units", "4 * units"};
    const auto times = [](int64_t factor, int64_t size) { return size < 0 ? size : factor * size; };
    Shape shape;
    for (const char* axis = row.axes; *axis; ++axis) {
      switch (*axis) {
        case 'b':
          shape.add("batch", layer.batch);
          break;
        case 't':
          shape.add("timesteps", layer.timesteps);
          break;
        case 'f':
          shape.add("features", layer.features);
          break;
        case 'u':
          shape.add("units", layer.units);
          break;
        case 'g':
          shape.add(kGates[cell.gates], times(cell.gates, layer.units));
          break;
        case 'n':
          shape.add("gates", cell.gates);
          break;
        case 'm':
          shape.add("masks", masks);
          break;
        case 'k':
          if (cell.recurrent_bias && !layer.torch_layout) shape.add("input and recurrent", 2);
          break;
        case 'e':
          shape.add("numbers", 1);
          break;
        case 'l':
          shape.add("timesteps", layer.return_sequences ? layer.timesteps : 1);
          break;
        case 'v':
          shape.add(kGates[layer.directions], times(layer.directions, layer.units));
          break;
        default:
          break;
      }
    }
    if (layer.torch_layout && shape.rank == 2 && row.axes[1] == 'g') {  // PyTorch's kernels have the gates first
      std::swap(shape.name[0], shape.name[1]);
      std::swap(shape.size[0], shape.size[1]);
    }
    return shape;
  }

  // What errors call it: kernel, or first.kernel where there are two.
  std::string name_of(const Operand& row, size_t direction, const char* prefix = "") const {
    const char* const whose = layer.directions < 2 || row.owner == SHARED ? "" : direction ? "second." : "first.";
    return std::string(whose) + prefix + row.name;
  }
};

}  // namespace gatewise_bind
