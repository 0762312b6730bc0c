// SPDX-License-Identifier: Apache-2.0
#include "program/table.h"

#include <string.h>

#include <algorithm>

#include "program/sizes.h"

namespace gatewise {
namespace {

constexpr int32_t kMany = INT32_MAX;

// --- What each takes ---

void set_product(Setter& s, int64_t groups, int64_t inputs, int64_t outputs) {
  s.p.groups = groups;
  s.p.inputs = inputs;
  s.p.outputs = outputs;
  s.operation.layout = {0, groups, inputs, outputs};
}

void set_dense(Setter& s) {
  const int64_t width = s.in(0).width;
  s.p.kernel = s.weight("kernel", {width, -1}, true);
  const int64_t outputs = s.p.kernel.floats / width;
  s.p.bias = s.weight("bias", {outputs}, false);
  if (outputs < 1) s.operation.fail("weight kernel has no columns.");
  set_product(s, 1, width, outputs);
  s.make(GATEWISE_FLOAT32, outputs);
}

void set_embedding(Setter& s) {
  const int64_t count = s.in(0, GATEWISE_INT64).width;
  s.p.kernel = s.weight("table", {-1, -1}, true);
  const gatewise_constant* const table = s.constant("table", true);
  s.p.inputs = table->sizes[0];
  s.p.outputs = table->sizes[1];
  if (s.p.inputs < 1 || s.p.outputs < 1) s.operation.fail("weight table is empty.");
  s.make(GATEWISE_FLOAT32, count * s.p.outputs);
}

void set_scaled(Setter& s, bool offset) {
  const int64_t width = s.in(0).width;
  s.p.gain = s.spread("gain", width, false);
  if (offset) s.p.offset = s.spread("offset", width, false);
  s.make(GATEWISE_FLOAT32, width);
}
void set_affine(Setter& s) { set_scaled(s, true); }
void set_layer_normalization(Setter& s) {
  s.p.epsilon = s.number("epsilon", 1e-3);
  set_scaled(s, true);
}
void set_rms_normalization(Setter& s) {
  s.p.epsilon = s.number("epsilon", 1e-3);
  set_scaled(s, false);
}
void set_unit_normalization(Setter& s) {
  s.p.epsilon = s.number("epsilon", 1e-12);
  s.make(GATEWISE_FLOAT32, s.in(0).width);
}

void set_activation(Setter& s) {
  s.p.function = static_cast<Function>(s.one_of(
      "function", "linear", {"linear",      "tanh",      "sigmoid",     "relu",        "hard_sigmoid",   "relu6",       "leaky_relu",
                             "elu",         "selu",      "celu",        "gelu",        "silu",           "hard_silu",   "hard_tanh",
                             "softplus",    "softsign",  "exponential", "mish",        "log_sigmoid",    "tanh_shrink", "soft_shrink",
                             "hard_shrink", "threshold", "squareplus",  "sparse_plus", "sparse_sigmoid", "sqrt",        "absolute"}));
  s.p.slope = s.number("slope", 0);
  s.p.alpha = s.number("alpha", 1);
  s.p.threshold = s.number("threshold", 0);
  s.p.most = s.number("most", INT32_MAX);
  s.p.least = s.number("least", 0);
  s.p.approximate = s.flag("approximate", false);
  s.make(GATEWISE_FLOAT32, s.in(0).width);
}

void set_prelu(Setter& s) {
  s.p.gain = s.spread("slope", s.in(0).width, true);
  s.make(GATEWISE_FLOAT32, s.in(0).width);
}

void set_plain(Setter& s) { s.make(GATEWISE_FLOAT32, s.in(0).width); }

int64_t bytes_of(int32_t dtype) { return dtype == GATEWISE_INT64 ? 8 : dtype == GATEWISE_BOOL ? 1 : 4; }

void set_not_equal(Setter& s) {
  s.p.value = s.exact("value", 0);
  s.p.over_time = s.dtype(0) == GATEWISE_INT64;  // ids
  s.make(GATEWISE_BOOL, s.p.over_time ? s.in(0, GATEWISE_INT64).width : (s.in(0), 1));
}

void set_zero_masked(Setter& s) {
  s.mask(1);
  s.make(GATEWISE_FLOAT32, s.in(0).width);
}

// The width of all inputs together: what has one number has it everywhere.
int64_t common_width(Setter& s, int32_t dtype, bool constants) {
  int64_t width = 1;
  bool computed = false;
  for (size_t i = 0; i < static_cast<size_t>(s.inputs()); ++i) {
    const Value& value = s.in(i, dtype, constants);
    computed |= !value.constant;
    if (value.constant && value.constant_steps > 1) s.operation.whole = "a constant has a number for each step of a whole sequence";
    if (value.width == 1 || value.width == width) continue;
    if (width != 1) s.operation.fail("inputs have " + text(width) + " and " + text(value.width) + " features. Expected as many, or one.");
    width = value.width;
  }
  if (!computed) s.operation.fail("has constants alone. Expected a value that is computed.");
  return width;
}
void set_masks(Setter& s) { s.make(GATEWISE_BOOL, common_width(s, GATEWISE_BOOL, false)); }
void set_merge(Setter& s) { s.make(GATEWISE_FLOAT32, common_width(s, GATEWISE_FLOAT32, true)); }

void set_concatenate(Setter& s) {
  if (s.over_time(-1)) s.operation.fail("option axis is that of the steps. Expected the features: 2.");
  const int32_t dtype = s.dtype(0);
  s.p.size = bytes_of(dtype);
  int64_t width = 0;
  bool computed = false;
  for (size_t i = 0; i < static_cast<size_t>(s.inputs()); ++i) {
    const Value& value = s.in(i, dtype, true);
    computed |= !value.constant;
    if (value.constant && value.constant_steps > 1) s.operation.whole = "a constant has a number for each step of a whole sequence";
    width += value.width;
  }
  if (!computed) s.operation.fail("has constants alone. Expected a value that is computed.");
  s.make(dtype, width);
}

void set_slice(Setter& s) {
  const int32_t dtype = s.dtype(0);
  const int64_t width = s.in(0, dtype).width;
  s.p.size = bytes_of(dtype);
  s.p.over_time = s.over_time(1);
  s.p.start = s.whole("start", 0, -INT32_MAX);
  s.p.stop = s.whole("stop", INT32_MAX, -INT32_MAX);
  s.p.step = s.whole("step", 1, 1);
  s.p.index = INT64_MAX;
  if (s.p.over_time) {
    s.operation.whole = "it takes some steps of a whole sequence";
    return s.make(dtype, width, {0, 1});
  }
  const auto bound = [&](int64_t at) { return std::min(std::max<int64_t>(at < 0 ? at + width : at, 0), width); };
  s.p.start = bound(s.p.start);
  const int64_t count = (bound(s.p.stop) - s.p.start + s.p.step - 1) / s.p.step;
  if (count < 1) s.operation.fail("takes none of " + text(width) + " features.");
  s.make(dtype, count);
}

void set_step(Setter& s, int64_t index) {
  const int32_t dtype = s.dtype(0);
  const int64_t width = s.in(0, dtype).width;
  s.p.size = bytes_of(dtype);
  s.p.step = 1;
  s.p.index = s.p.start = index;
  if (s.p.over_time) {
    if (index != -1) s.operation.whole = "it takes a step of a whole sequence";
    return s.make(dtype, width, {0, 1});
  }
  if (index >= width || index < -width) s.operation.fail("takes feature " + text(index) + " of " + text(width) + ".");
  s.p.start = index < 0 ? index + width : index;
  s.make(dtype, 1);
}
void set_take(Setter& s) {
  s.p.over_time = s.over_time(1);
  set_step(s, s.whole("index", -1, -INT32_MAX));
}
void set_last(Setter& s) {
  s.p.over_time = true;
  set_step(s, -1);
}

void set_upsample(Setter& s) {
  const Value& x = s.in(0);
  s.p.size = s.whole("times", 2, 1);
  s.make(GATEWISE_FLOAT32, x.width, {x.pace.steps * s.p.size, x.pace.of});
}

void set_constant(Setter& s) {
  const gatewise_constant* const value = s.constant("value", true);
  if (value->rank < 1 || value->rank > 3 || (value->rank > 1 && value->sizes[0] != 1)) {
    s.operation.fail("weight value has " + text(value->rank) + " axes. Expected (1, width) or (1, steps, width).");
  }
  const int64_t width = value->sizes[value->rank - 1];
  if (width < 1) s.operation.fail("weight value is empty.");
  s.make_constant(static_cast<const float*>(value->data), value->rank == 3 ? value->sizes[1] : 1, width);
}

// Strides and padding; tells which windows stream, and keeps the end of a chunk for the next.
void set_window(Setter& s, bool counts) {
  const Value& x = s.in(0);
  s.p.strides = s.whole("strides", 1, 1);
  s.p.padding = static_cast<Padding>(s.one_of("padding", "valid", {"valid", "same", "causal"}));
  constexpr int64_t kMostSteps = 1 << 20, kMostNumbers = 1 << 28;
  if (s.p.size > kMostSteps / s.p.dilation || s.p.strides > kMostSteps || (s.p.reach() + 64 * s.p.strides) * x.width > kMostNumbers) {
    s.operation.fail("its windows are too long. Expected at most " + text(kMostSteps) + " steps, and " + text(kMostNumbers) +
                     " numbers in 64.");
  }
  if (s.p.padding == Padding::kCausal && s.p.reach() > 0) {
    s.state("tail", s.p.reach() * x.width);
    if (counts) s.state("seen", 1);
  } else if (s.p.reach() >= s.p.strides) {
    s.operation.whole = "its windows look ahead: pad causally";
  }
}
Pace after_window(const Setter& s) {
  const Pace pace = s.in(0).pace;
  return {pace.steps, pace.of * s.p.strides};
}

void set_conv(Setter& s) {
  const Value& x = s.in(0);
  s.p.groups = s.whole("groups", 1, 1);
  s.p.dilation = s.whole("dilation", 1, 1);
  if (x.width % s.p.groups != 0)
    s.operation.fail("x has " + text(x.width) + " channels. Expected a multiple of groups, " + text(s.p.groups) + ".");
  const int64_t channels = x.width / s.p.groups;
  s.p.kernel = s.weight("kernel", {-1, channels, -1}, true);
  const gatewise_constant* const kernel = s.constant("kernel", true);
  const int64_t filters = kernel->sizes[2];
  s.p.size = kernel->sizes[0];
  if (filters < 1 || s.p.size < 1 || filters % s.p.groups != 0) {
    s.operation.fail("weight kernel has " + text(s.p.size) + " steps and " + text(filters) + " filters. Expected a multiple of groups.");
  }
  s.p.bias = s.weight("bias", {filters}, false);
  set_window(s, false);
  set_product(s, s.p.groups, s.p.size * channels, filters / s.p.groups);
  if (channels == 1 && filters == s.p.groups && filters > 1) s.operation.kind = Kind::kDepthwise;
  s.make(GATEWISE_FLOAT32, filters, after_window(s));
}

void set_pool(Setter& s) {
  s.p.size = s.whole("size", 2, 1);
  s.p.dilation = 1;
  set_window(s, true);
  s.make(GATEWISE_FLOAT32, s.in(0).width, after_window(s));
}

void set_matmul(Setter& s) {
  s.in(0);
  s.operation.whole = "it multiplies whole sequences";
  s.make(GATEWISE_FLOAT32, s.in(1, GATEWISE_FLOAT32, true).width, s.in(0).pace);
}

void set_reduce(Setter& s) {
  s.p.reduction = static_cast<Reduction>(s.one_of("function", "mean", {"mean", "sum", "max", "min"}));
  s.p.over_time = s.over_time(1);
  s.flag("keepdims", false);  // frames have all axes
  if (s.given(1)) {
    s.mask(1);
    if (!s.p.over_time) s.operation.fail("option axis is that of the features. Expected that of the mask, 1.");
  }
  if (!s.p.over_time) return s.make(GATEWISE_FLOAT32, (s.in(0), 1));
  s.operation.whole = "it needs all steps of a sequence";
  s.make(GATEWISE_FLOAT32, s.in(0).width, {0, 1});
}

void set_attention_of(Setter& s) {
  const int64_t query = s.in(0).width, value = s.in(1).width, key = s.given(2) ? s.in(2).width : value;
  if (s.given(3)) s.mask(3);
  if (s.given(4)) s.mask(4);
  if (query != key) s.operation.fail("key has " + text(key) + " features. Expected the query's, " + text(query) + ".");
  if (query % s.p.heads != 0 || value % s.p.heads != 0) {
    s.operation.fail("query has " + text(query) + " features, value " + text(value) + ". Expected multiples of heads, " + text(s.p.heads) +
                     ".");
  }
  s.p.causal = s.flag("causal", false);
  if (s.p.causal) s.operation.whole = "it looks back at all steps";
  s.make(GATEWISE_FLOAT32, value, s.in(0).pace);
  s.make(GATEWISE_FLOAT32, 0, {0, 1});
}
void set_attention(Setter& s) {
  s.p.heads = s.whole("heads", 1, 1, 4096);
  s.p.scale = s.number("scale", 1);
  set_attention_of(s);
}
void set_additive_attention(Setter& s) {
  s.p.heads = 1;
  s.p.gain = s.weight("scale", {s.in(0).width}, false);
  set_attention_of(s);
}

// An option from 0 to 1, as the engine has it: the bits of a float32.
int32_t part_of(Setter& s, const char* name) {
  const float part = s.number(name, 0);
  if (!(part >= 0 && part <= 1)) s.operation.fail(std::string("option ") + name + " is " + std::to_string(part) + ". Expected 0 to 1.");
  int32_t bits;
  memcpy(&bits, &part, sizeof bits);
  return bits;
}

void set_recurrent(Setter& s) {
  Recurrent& r = s.operation.recurrent;
  gatewise_layer& layer = r.layer;
  layer.struct_size = sizeof layer;
  layer.cell = cell_of(s.operation.row->name);
  gatewise_cell_facts cell{};
  gatewise_facts_of(layer.cell, &cell);
  r.states = cell.states;
  layer.directions = 1;
  const auto activation = [&](const char* name, const char* otherwise) {
    return s.one_of(name, otherwise, {"tanh", "sigmoid", "relu", "linear", "hard_sigmoid"});  // in the order of gatewise_activation
  };
  layer.activation = activation("activation", "tanh");
  layer.recurrent_activation = activation("recurrent_activation", "sigmoid");
  layer.return_sequences = s.flag("return_sequences", false);
  layer.go_backwards = s.flag("go_backwards", false);
  layer.zero_output_for_mask = s.flag("zero_output_for_mask", false);
  layer.features = s.in(0).width;
  const gatewise_constant* const recurrent_kernel = s.constant("recurrent_kernel", true);
  layer.units = recurrent_kernel->rank == 2 ? recurrent_kernel->sizes[0] : 0;
  if (layer.units < 1) s.operation.fail("weight recurrent_kernel has no rows. Expected (units, " + text(cell.gates) + " * units).");
  const int64_t columns = cell.gates * layer.units;
  r.weights.kernel = s.weight("kernel", {layer.features, columns}, true).data;
  r.weights.recurrent_kernel = s.weight("recurrent_kernel", {layer.units, columns}, true).data;
  r.weights.bias = cell.recurrent_bias ? s.weight("bias", {2, columns}, false).data : s.weight("bias", {columns}, false).data;
  layer.zoneout_h = part_of(s, "zoneout_h");
  if (cell.states > 1) layer.zoneout_c = part_of(s, "zoneout_c");
  if (cell.normalises) {
    r.weights.gain = s.weight("gain", {columns}, false).data;
    r.weights.recurrent_gain = s.weight("recurrent_gain", {columns}, false).data;
    r.epsilon = s.number("epsilon", 1e-3);
    if (!(r.epsilon > 0)) s.operation.fail("option epsilon is not above 0.");
  }
  if (cell.normalises_state) {
    r.weights.state_gain = s.weight("state_gain", {layer.units}, false).data;
    r.weights.state_bias = s.weight("state_bias", {layer.units}, false).data;
  }
  if (s.given(1)) s.mask(1);
  const auto starts = static_cast<size_t>(2 + cell.states);
  if (s.given(starts)) s.mask(starts);
  if (layer.go_backwards) s.operation.whole = "it reads from the last step to the first";
  static const char* const kNames[] = {"h", "c"};
  for (int32_t k = 0; k < cell.states; ++k) {
    s.state(kNames[k], layer.units);
    const auto i = static_cast<size_t>(2 + k);
    if (!s.given(i)) continue;
    if (s.in(i).width != layer.units)
      s.operation.fail(std::string(kNames[k]) + " has " + text(s.in(i).width) + " features. Expected " + text(layer.units) + ".");
    s.operation.whole = "an initial state is an input: in a stream it is a state";
  }
  if (s.inputs() > 3 + cell.states) s.operation.fail("has " + text(3 + cell.states) + " inputs. Received " + text(s.inputs()) + ".");
  r.keeps_seen = s.given(1) && !layer.zero_output_for_mask;
  if (r.keeps_seen) s.state("seen", 1);
  const Pace pace = s.in(0).pace;
  s.make(GATEWISE_FLOAT32, layer.units, layer.return_sequences ? pace : Pace{0, 1});
  for (int32_t k = 0; k < cell.states; ++k) s.make(GATEWISE_FLOAT32, layer.units, {0, 1});
}

const Row kRows[] = {
    {"gru", Kind::kCount, 1, 4, 2, set_recurrent, of_recurrent, by_cell, none},
    {"gru_reset_before", Kind::kCount, 1, 4, 2, set_recurrent, of_recurrent, by_cell, none},
    {"lstm", Kind::kCount, 1, 5, 3, set_recurrent, of_recurrent, by_cell, none},
    {"simple_rnn", Kind::kCount, 1, 4, 2, set_recurrent, of_recurrent, by_cell, none},
    {"layer_norm_gru", Kind::kCount, 1, 4, 2, set_recurrent, of_recurrent, by_cell, none},
    {"layer_norm_gru_reset_before", Kind::kCount, 1, 4, 2, set_recurrent, of_recurrent, by_cell, none},
    {"layer_norm_lstm", Kind::kCount, 1, 5, 3, set_recurrent, of_recurrent, by_cell, none},
    {"constant", Kind::kCount, 0, 0, 1, set_constant, one, by_width, none},
    {"dense", Kind::kDense, 1, 1, 1, set_dense, as_first, by_product, none},
    {"embedding", Kind::kEmbedding, 1, 1, 1, set_embedding, as_first, by_width, none},
    {"affine", Kind::kAffine, 1, 1, 1, set_affine, as_first, by_width, none},
    {"layer_normalization", Kind::kLayerNormalization, 1, 1, 1, set_layer_normalization, as_first, by_exponentials, none},
    {"rms_normalization", Kind::kRmsNormalization, 1, 1, 1, set_rms_normalization, as_first, by_exponentials, none},
    {"unit_normalization", Kind::kUnitNormalization, 1, 1, 1, set_unit_normalization, as_first, by_exponentials, none},
    {"activation", Kind::kActivation, 1, 1, 1, set_activation, as_first, by_exponentials, none},
    {"prelu", Kind::kPrelu, 1, 1, 1, set_prelu, as_first, by_width, none},
    {"softmax", Kind::kSoftmax, 1, 1, 1, set_plain, as_first, by_exponentials, none},
    {"log_softmax", Kind::kLogSoftmax, 1, 1, 1, set_plain, as_first, by_exponentials, none},
    {"not_equal", Kind::kNotEqual, 1, 1, 1, set_not_equal, as_first, by_width, none},
    {"zero_masked", Kind::kZeroMasked, 2, 2, 1, set_zero_masked, common, by_width, none},
    {"all", Kind::kAll, 1, kMany, 1, set_masks, common, by_inputs, none},
    {"any", Kind::kAny, 1, kMany, 1, set_masks, common, by_inputs, none},
    {"conv1d", Kind::kConv, 1, 1, 1, set_conv, of_windows, by_product, of_stretch},
    {"max_pool1d", Kind::kMaxPool, 1, 1, 1, set_pool, of_windows, by_window, of_stretch},
    {"average_pool1d", Kind::kAveragePool, 1, 1, 1, set_pool, of_windows, by_window, of_stretch},
    {"add", Kind::kAdd, 1, kMany, 1, set_merge, common, by_inputs, none},
    {"subtract", Kind::kSubtract, 1, kMany, 1, set_merge, common, by_inputs, none},
    {"multiply", Kind::kMultiply, 1, kMany, 1, set_merge, common, by_inputs, none},
    {"divide", Kind::kDivide, 1, kMany, 1, set_merge, common, by_inputs, none},
    {"average", Kind::kAverage, 1, kMany, 1, set_merge, common, by_inputs, none},
    {"maximum", Kind::kMaximum, 1, kMany, 1, set_merge, common, by_inputs, none},
    {"minimum", Kind::kMinimum, 1, kMany, 1, set_merge, common, by_inputs, none},
    {"concatenate", Kind::kConcatenate, 1, kMany, 1, set_concatenate, common, by_width, none},
    {"slice", Kind::kSlice, 1, 1, 1, set_slice, of_slice, by_width, none},
    {"take", Kind::kSlice, 1, 1, 1, set_take, of_slice, by_width, none},
    {"last", Kind::kSlice, 1, 1, 1, set_last, of_slice, by_width, none},
    {"upsample", Kind::kUpsample, 1, 1, 1, set_upsample, of_upsample, by_width, none},
    {"matmul", Kind::kMatmul, 2, 2, 1, set_matmul, of_matmul, by_matmul, none},
    {"reduce", Kind::kReduce, 1, 2, 1, set_reduce, of_reduce, by_reduction, none},
    {"attention", Kind::kAttention, 2, 5, 2, set_attention, of_query, by_attention, of_scores},
    {"additive_attention", Kind::kAdditiveAttention, 2, 5, 2, set_additive_attention, of_query, by_additive_attention, of_scores},
};

}  // namespace

std::string Operation::where() const { return "operation " + std::to_string(place) + " (" + row->name + ")"; }

const Row* find_row(const char* name) {
  for (const Row& row : kRows) {
    if (strcmp(row.name, name) == 0) return &row;
  }
  return nullptr;
}

int32_t cell_of(const char* name) {
  static const char* const kNames[] = {"gru",
                                       "gru_reset_before",
                                       "lstm",
                                       "simple_rnn",
                                       "layer_norm_gru",
                                       "layer_norm_gru_reset_before",
                                       "layer_norm_lstm"};  // in the order of gatewise_cell
  for (int32_t cell = 0; cell < static_cast<int32_t>(sizeof kNames / sizeof kNames[0]); ++cell) {
    if (strcmp(kNames[cell], name) == 0) return cell;
  }
  return -1;
}

}  // namespace gatewise
