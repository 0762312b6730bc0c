# SPDX-License-Identifier: Apache-2.0
"""The architectures that the runtime is tested with: Keras models by name, their weights and inputs drawn at random.

A model's inputs say by their names what they are given: `ids...` (zeros are padding, with holes), `x...` (numbers, some
steps all zeros, for `Masking`), `mask...` (with holes) and `padded...` (numbers, NaN where the mask is false).
"""

from __future__ import annotations

import functools
import warnings
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

import gatewise.keras as ours
from gatewise.data.preprocessing import Preprocessing
from gatewise.data.scaling import Scaler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Array: TypeAlias = npt.NDArray[Any]
Tensor: TypeAlias = Any  # symbolic, of Keras

L = keras.layers
BACKEND: str = keras.backend.backend()
BATCH, LENGTHS = 3, (7, 12)
FEATURES, UNITS, WORDS = 5, 4, 11
MODELS: dict[str, Callable[[], Any]] = {}


def architecture(build: Callable[[], Any]) -> Callable[[], Any]:
    """Puts a function that builds a model into the table, by its name."""
    MODELS[build.__name__] = build
    return build


@functools.cache
def model_of(name: str) -> Any:
    """Builds a model, once, every weight of it drawn at random at the scale that weights have when trained."""
    with without_warnings_of_masks():
        model = MODELS[name]()
    draw(model, zlib.crc32(name.encode()))
    return model


def draw(model: Any, seed: int) -> None:
    """Draws every weight of a model, moving statistics included."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if "int" in str(variable.dtype):
            continue
        kind, shape = variable.path.rsplit("/")[-1], tuple(variable.shape)
        value = random.normal(0, 0.3, shape)
        if "variance" in kind:
            value = random.uniform(0.5, 2, shape)
        elif kind in {"gamma", "scale", "concat_score_weight"}:
            value = 1 + value
        elif "kernel" in kind:
            value = random.normal(0, 1.5 / np.sqrt(np.prod(shape[:-1])), shape)
        elif kind == "embeddings":
            value = random.normal(0, 1, shape)
        variable.assign(value.astype("float32"))
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def inputs_of(model: Any, length: int, batch: int = BATCH, seed: int = 7) -> dict[str, Array]:
    """Draws the inputs of a model: time steps where its shape says None."""
    random, found = np.random.default_rng(seed), {}
    masks: dict[int, Array] = {}

    def mask(steps: int) -> Array:
        if steps not in masks:
            drawn = random.random((batch, steps)) < 0.7
            drawn[:, steps // 2] = True
            drawn[0, -2:] = drawn[1, :1] = False
            if begins_valid(model):
                drawn[:, 0] = True
            masks[steps] = drawn
        return masks[steps]

    for tensor in model.inputs:
        shape = (batch, *(length if size is None else size for size in tensor.shape[1:]))
        name = tensor.name
        if name.startswith("mask"):
            found[name] = mask(shape[1])
        elif name.startswith("ids"):
            ids = random.integers(1, WORDS, shape) * (random.random(shape) < 0.75)
            ids[:, 1] = np.maximum(ids[:, 1], 1)  # no row is all padding
            found[name] = ids.astype("int32")
        else:
            x = random.normal(0, 1, shape).astype("float32")
            if name.startswith("padded"):
                x[~mask(shape[1])] = np.nan
            elif x.ndim == 3 and shape[1] > 3:
                x[0, 2] = x[1, -2:] = x[2, 0] = 0
            found[name] = x
    return found


def begins_valid(model: Any) -> bool:
    """Says whether no mask may begin with padding: there Keras gives zeros, on JAX however the initial state."""
    return BACKEND == "jax" and str(model.name).endswith("states")


def outputs_of(model: Any, inputs: dict[str, Array]) -> list[Array]:
    """Calls a Keras model; its outputs in order."""
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
            layer.reset_state()
    given: Any = [inputs[tensor.name] for tensor in model.inputs]
    if isinstance(getattr(model, "input", None), dict):
        given = {name: inputs[tensor.name] for name, tensor in model.input.items()}
    with without_warnings_of_masks():
        found = model(given if len(model.inputs) > 1 or isinstance(given, dict) else given[0], training=False)
    return [keras.ops.convert_to_numpy(one) for one in keras.tree.flatten(found)]


@functools.cache
def of_keras(name: str, length: int) -> tuple[dict[str, Array], list[Array]]:
    """Calls a model of the table, once; its inputs and its outputs."""
    inputs = inputs_of(model_of(name), length)
    return inputs, outputs_of(model_of(name), inputs)


def lengths_of(model: Any) -> tuple[int, ...]:
    """The numbers of steps that a model is tried with: one where its shapes are fixed."""
    return LENGTHS[:1] if all(None not in tensor.shape[1:] for tensor in model.inputs) else LENGTHS


@contextmanager
def without_warnings_of_masks() -> Iterator[None]:
    """Keras warns where a mask ends; that it ends there is part of what is tested."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Layer '.*' \\(of type .*\\) was passed an input with a mask")
        yield


# --- What models begin with ---


def numbers(*shape: int | None, name: str = "x") -> Tensor:
    return keras.Input(shape or (None, FEATURES), name=name)


def ids(name: str = "ids") -> Tensor:
    return keras.Input((None,), name=name, dtype="int32")


def words(name: str = "ids", width: int = FEATURES) -> tuple[Tensor, Tensor]:
    """An input of ids, and its embedding, with a mask."""
    given = ids(name)
    return given, L.Embedding(WORDS, width, mask_zero=True)(given)


def with_mask(name: str = "padded") -> tuple[list[Tensor], Tensor, Tensor]:
    """An input with NaN in its padding, and the mask."""
    x, mask = numbers(name=name), keras.Input((None,), name="mask", dtype="bool")
    return [x, mask], x, mask


def stack(*layers: Any, shape: tuple[int | None, ...] = (None, FEATURES)) -> Any:
    return keras.Sequential([keras.Input(shape, name="x"), *layers])


# --- Recurrent layers, each option of each cell ---

CELLS: dict[str, Any] = {"gru": L.GRU, "lstm": L.LSTM, "simple_rnn": L.SimpleRNN}
OPTIONS: dict[str, dict[str, Any]] = {
    "last": {},
    "sequences": {"return_sequences": True},
    "backwards": {"return_sequences": True, "go_backwards": True},
    "without_bias": {"use_bias": False},
    "relu": {"activation": "relu", "return_sequences": True},
    "linear": {"activation": "linear"},
    "dropout": {"dropout": 0.5, "recurrent_dropout": 0.5, "unroll": False},
    "zero_output": {"return_sequences": True, "zero_output_for_mask": True},
}


def _with_option(layer: Any, options: dict[str, Any]) -> Callable[[], Any]:
    def build() -> Any:
        inputs, x, mask = with_mask()
        return keras.Model(inputs, layer(UNITS, **options)(x, mask=mask))

    return build


for _cell, _layer in CELLS.items():
    for _option, _options in OPTIONS.items():
        MODELS[f"{_cell}_{_option}"] = _with_option(_layer, _options)
for _cell in ("gru", "lstm"):
    _gates = {"recurrent_activation": "hard_sigmoid", "activation": "sigmoid"}
    MODELS[f"{_cell}_hard_sigmoid"] = _with_option(CELLS[_cell], _gates)
MODELS["gru_reset_before"] = _with_option(L.GRU, {"reset_after": False, "return_sequences": True})
MODELS["gru_reset_before_backwards"] = _with_option(L.GRU, {"reset_after": False, "go_backwards": True})


def _with_states(layer: Any) -> Callable[[], Any]:
    def build() -> Any:
        inputs, x, mask = with_mask()
        _, *states = layer(UNITS, return_state=True)(x, mask=mask)
        second = layer(UNITS, return_state=True, return_sequences=True)
        return keras.Model(inputs, second(numbers_again(x), initial_state=states, mask=mask), name="with_states")

    return build


def numbers_again(x: Tensor) -> Tensor:
    """What has no mask, of an input that may hold NaN: its mask is given to the layer."""
    return L.Activation("tanh")(x)


for _cell, _layer in CELLS.items():
    MODELS[f"{_cell}_states"] = _with_states(_layer)


@architecture
def masking() -> Any:
    return stack(L.Masking(), L.GRU(UNITS, return_sequences=True), L.LSTM(UNITS))


@architecture
def masking_of_another_value() -> Any:
    return stack(L.Masking(mask_value=0.0), L.SimpleRNN(UNITS, return_sequences=True), L.Dense(3))


@architecture
def initial_state_drops_the_mask() -> Any:
    given, x = words()
    state = numbers(UNITS, name="x_state")
    return keras.Model([given, state], L.GRU(UNITS, return_sequences=True)(x, initial_state=state))


@architecture
def constant_state() -> Any:
    x, state = numbers(), keras.ops.convert_to_tensor(np.linspace(-0.5, 0.5, UNITS, dtype="float32")[None])
    if BACKEND == "jax":  # there Keras takes no row that stands for all
        state = L.Dense(UNITS)(x[:, 0])
    return keras.Model(x, L.GRU(UNITS)(x, initial_state=state))


@architecture
def stateful() -> Any:
    x = keras.Input(batch_shape=(BATCH, None, FEATURES), name="x")
    return keras.Model(x, L.GRU(UNITS, stateful=True, return_sequences=True)(x))


@architecture
def rnn_of_a_cell() -> Any:
    given, x = words()
    return keras.Model(given, L.RNN(L.LSTMCell(UNITS), return_sequences=True, return_state=True)(x))


@architecture
def rnn_of_cells() -> Any:
    given, x = words()
    cells = [L.GRUCell(UNITS), L.LSTMCell(6), L.SimpleRNNCell(3)]
    outputs = L.RNN(cells, return_sequences=True, return_state=True, zero_output_for_mask=True)(x)
    return keras.Model(given, keras.tree.flatten(outputs))


@architecture
def stacked_cells_backwards() -> Any:
    inputs, x, mask = with_mask()
    cells = L.StackedRNNCells([L.GRUCell(UNITS, reset_after=False), L.GRUCell(3)])
    return keras.Model(inputs, L.RNN(cells, go_backwards=True, return_sequences=True)(x, mask=mask))


@architecture
def layers_of_gatewise() -> Any:
    x = numbers()
    y = L.Bidirectional(ours.GRU(UNITS, return_sequences=True))(L.Masking()(x))
    return keras.Model(x, ours.LSTM(UNITS)(ours.SimpleRNN(3, return_sequences=True)(y)))


@architecture
def layers_with_layer_normalisation() -> Any:
    x = numbers()
    y = L.Bidirectional(ours.LayerNormGRU(UNITS, return_sequences=True, epsilon=0.1))(L.Masking()(x))
    y = ours.LayerNormGRU(UNITS, reset_after=False, return_sequences=True, epsilon=0.1)(y)
    return keras.Model(x, ours.LayerNormLSTM(UNITS, epsilon=0.1)(y))


# --- Wrappers ---


def _bidirectional(mode: str | None, sequences: bool) -> Callable[[], Any]:
    def build() -> Any:
        inputs, x, mask = with_mask()
        layer = L.Bidirectional(L.LSTM(UNITS, return_sequences=sequences, return_state=sequences), merge_mode=mode)
        return keras.Model(inputs, layer(x, mask=mask))

    return build


for _mode in ("concat", "sum", "mul", "ave", None):
    for _sequences in (True, False):
        _name = f"bidirectional_{_mode or 'apart'}_{'sequences' if _sequences else 'last'}"
        MODELS[_name] = _bidirectional(_mode, _sequences)


@architecture
def bidirectional_initial_state() -> Any:
    x, states = numbers(), [numbers(UNITS, name=f"x_{i}") for i in range(2)]
    return keras.Model([x, *states], L.Bidirectional(L.GRU(UNITS))(x, initial_state=states))


@architecture
def bidirectional_of_two_layers() -> Any:
    backward = L.LSTM(3, go_backwards=True, return_sequences=True)
    return stack(L.Masking(), L.Bidirectional(L.GRU(UNITS, return_sequences=True), backward_layer=backward))


@architecture
def stacked_bidirectional() -> Any:
    given, x = words()
    x = L.Bidirectional(L.GRU(UNITS, return_sequences=True))(x)
    x = L.Dropout(0.3)(L.LayerNormalization()(x))
    x = L.Bidirectional(L.RNN([L.LSTMCell(UNITS), L.GRUCell(3)], return_sequences=True))(x)
    x = L.Bidirectional(L.SimpleRNN(UNITS))(x)
    return keras.Model(given, L.Dense(3, activation="softmax")(x))


@architecture
def time_distributed_dense() -> Any:
    given, x = words()
    x = L.TimeDistributed(L.Dense(6, activation="elu"))(x)
    return keras.Model(given, L.GRU(UNITS)(x))


@architecture
def time_distributed_layers() -> Any:
    x = numbers(None, 6, 3)
    y = L.TimeDistributed(L.Conv1D(4, 3, padding="same", activation="relu"))(x)
    y = L.TimeDistributed(L.MaxPooling1D(2))(y)
    y = L.TimeDistributed(L.Bidirectional(L.GRU(UNITS, return_sequences=True)))(y)
    return keras.Model(x, L.LSTM(UNITS)(L.TimeDistributed(L.Flatten())(y)))


@architecture
def time_distributed_model() -> Any:
    of_word = keras.Sequential([keras.Input((4,)), L.Dense(6, activation="tanh"), L.Dense(3)], name="of_word")
    letters = keras.Input((None, 4), name="ids_letters", dtype="int32")
    x = L.Embedding(WORDS, 4, mask_zero=True)(letters)
    x = L.TimeDistributed(L.GRU(4))(x)
    return keras.Model(letters, L.TimeDistributed(of_word)(x))


# --- Features ---


def _activation(name: str) -> Callable[[], Any]:
    return lambda: stack(L.Dense(8, activation=name), L.Activation(name))


for _name in (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "softplus", "softsign", "tanh", "sigmoid"),
    *("exponential", "mish", "hard_sigmoid", "hard_silu", "hard_tanh", "log_sigmoid", "tanh_shrink", "soft_shrink"),
    *("hard_shrink", "squareplus", "sparse_plus", "sparse_sigmoid", "softmax", "log_softmax", "glu", "linear"),
):
    if hasattr(keras.activations, _name):
        MODELS[f"activation_{_name}"] = _activation(_name)


@architecture
def activation_layers() -> Any:
    layers = [
        *(L.Dense(6), L.LeakyReLU(negative_slope=0.1), L.Dense(6), L.ELU(alpha=0.7), L.Dense(6)),
        *(L.ReLU(max_value=0.9, negative_slope=0.2, threshold=0.1), L.Dense(6), L.PReLU(shared_axes=[1])),
        *(L.Dense(6, activation=L.LeakyReLU(negative_slope=0.3)), L.Dense(6, activation=keras.ops.gelu), L.Softmax()),
    ]
    return stack(*layers)


@architecture
def prelu_of_each_step() -> Any:
    return stack(L.PReLU(), L.GRU(UNITS), shape=(7, FEATURES))


@architecture
def normalisations() -> Any:
    layers = [L.BatchNormalization(epsilon=0.02), L.Dense(6), L.LayerNormalization(center=False), L.Dense(6)]
    layers += [L.BatchNormalization(scale=False), L.LayerNormalization(scale=False, epsilon=1e-5), L.Dense(6)]
    return stack(L.Masking(), *layers, L.UnitNormalization(), L.GRU(UNITS, return_sequences=True))


@architecture
def rms_normalisation() -> Any:
    return stack(L.RMSNormalization(), L.GRU(UNITS, return_sequences=True), L.RMSNormalization(epsilon=1e-3))


@architecture
def scaled() -> Any:
    layers = [L.Rescaling(0.5, offset=-0.2), L.Rescaling([0.5, 1, 1, 2, 1]), L.Normalization()]
    layers += [L.Normalization(mean=3.0, variance=0.04), L.Normalization(mean=[1.0] * 5, variance=[2.0] * 5)]
    return stack(*layers, L.Normalization(mean=100.0, variance=4.0, invert=True), L.Rescaling(0.01), L.GRU(UNITS))


@architecture
def normalisation_of_steps() -> Any:
    return stack(L.Normalization(axis=(1, 2)), L.LSTM(UNITS), shape=(7, FEATURES))


@architecture
def einsum_dense() -> Any:
    layers = [L.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d", activation="tanh")]
    return stack(*layers, L.EinsumDense("...x,xy->...y", 3, bias_axes="y"), L.EinsumDense("abc,dc->abd", (None, 4)))


@architecture
def vanishing() -> Any:
    layers = [L.Dropout(0.5), L.SpatialDropout1D(0.5), L.GaussianNoise(1.0), L.GaussianDropout(0.5)]
    layers += [L.AlphaDropout(0.5), L.ActivityRegularization(l2=0.1), L.Identity()]
    return stack(L.Masking(), *layers, L.GRU(UNITS, kernel_regularizer="l2"), L.Dense(2))


@architecture
def ids_as_floats() -> Any:
    x = keras.Input((None,), name="ids")
    return keras.Model(x, L.LSTM(UNITS)(L.Embedding(WORDS, 4, mask_zero=True)(x)))


@architecture
def embedding_without_a_mask() -> Any:
    x = ids()
    return keras.Model(x, L.GRU(UNITS)(L.Embedding(WORDS, 4)(x)))


@architecture
def preprocessed() -> Any:
    kept = Scaler().adapt(np.arange(10.0).reshape(5, 2))
    return stack(Preprocessing(scaler=kept), L.Masking(), L.GRU(UNITS), L.Dense(2))


# --- Time ---


@architecture
def convolutions() -> Any:
    layers = [L.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu"), L.Conv1D(4, 2, padding="same")]
    layers += [L.Conv1D(4, 2, strides=2, padding="valid", groups=2, use_bias=False)]
    return stack(*layers, L.GRU(UNITS))


@architecture
def causal_convolutions() -> Any:
    layers = [L.Conv1D(6, 4, padding="causal", activation="silu"), L.Conv1D(6, 3, strides=2, padding="causal")]
    return stack(*layers, L.GRU(UNITS, return_sequences=True), L.Dense(2))


@architecture
def same_and_strided() -> Any:
    return stack(L.Conv1D(6, 4, strides=2, padding="same"), L.Conv1D(4, 3, padding="same", dilation_rate=2))


@architecture
def convolutions_by_channel() -> Any:
    layers = [L.DepthwiseConv1D(3, depth_multiplier=2, padding="same"), L.DepthwiseConv1D(2, activation="tanh")]
    return stack(*layers, L.SeparableConv1D(4, 3, padding="same", depth_multiplier=2, activation="relu"), L.LSTM(UNITS))


@architecture
def pools() -> Any:
    layers = [L.MaxPooling1D(2, strides=1, padding="same"), L.AveragePooling1D(2, strides=1), L.MaxPooling1D(2)]
    return stack(*layers, L.Conv1D(4, 2, padding="same"), L.GlobalMaxPooling1D(keepdims=True))


@architecture
def average_pool_same() -> Any:
    padding = "valid" if BACKEND == "torch" else "same"  # there Keras averages over its padding too
    return stack(L.AveragePooling1D(3, strides=2, padding=padding), L.GRU(UNITS))


@architecture
def pooled_over_valid_steps() -> Any:
    given, x = words()
    y = L.GRU(UNITS, return_sequences=True)(x)
    pooled = [L.GlobalAveragePooling1D()(y), L.GlobalMaxPooling1D()(y), L.GlobalAveragePooling1D()(L.Conv1D(3, 2)(y))]
    return keras.Model(given, [*pooled, L.GlobalAveragePooling1D(keepdims=True)(y)])


@architecture
def shapes() -> Any:
    layers = [L.Reshape((5, 7)), L.Permute((2, 1)), L.Cropping1D((1, 2)), L.ZeroPadding1D((2, 1))]
    layers += [L.UpSampling1D(2), L.Cropping1D((1, 0)), L.Flatten(), L.Dense(4), L.RepeatVector(3)]
    return stack(*layers, L.GRU(UNITS, return_sequences=True), L.Flatten(), shape=(7, FEATURES))


@architecture
def reshaped_with_an_unknown_length() -> Any:
    return stack(L.Reshape((-1, 3)), L.GRU(UNITS), shape=(None, 6))


# --- Merging ---


def _merged(layer: Any) -> Callable[[], Any]:
    def build() -> Any:
        (a, x), (b, y) = words("ids_a"), words("ids_b")
        merged = layer()([x, y])
        return keras.Model([a, b], [L.GRU(UNITS)(merged), merged])

    return build


for _name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
    MODELS[f"merge_{_name.lower()}"] = _merged(getattr(L, _name))


@architecture
def merge_with_one_mask() -> Any:
    (a, x), b = words("ids_a"), numbers(name="x")
    masked = [getattr(L, name)()([x, b]) for name in ("Add", "Multiply", "Maximum", "Minimum", "Concatenate")]
    return keras.Model([a, b], [L.GRU(UNITS)(one) for one in masked])


@architecture
def concatenate_steps() -> Any:
    (a, x), b = words("ids_a"), numbers(name="x")
    joined = L.Concatenate(axis=1)([x, b, x])
    return keras.Model([a, b], [L.LSTM(UNITS)(joined), L.GlobalAveragePooling1D()(joined)])


@architecture
def merge_of_three_and_ranks() -> Any:
    x, y, vector = numbers(name="x"), numbers(name="x_b"), numbers(FEATURES, name="x_vector")
    merged = [L.Add()([x, y, x]), L.Multiply()([x, vector]), L.Average()([x, y, y]), L.Maximum()([x, y, vector])]
    return keras.Model([x, y, vector], merged)


@architecture
def dots() -> Any:
    x, y = numbers(7, 5, name="x"), numbers(7, 5, name="x_b")
    a, b = numbers(5, name="x_c"), numbers(5, name="x_d")
    steps = [L.Dot(axes=2)([x, y]), L.Dot(axes=(1, 1))([x, y]), L.Dot(axes=2, normalize=True)([x, y])]
    rows = [L.Dot(axes=1)([a, b]), L.Dot(axes=-1, normalize=True)([a, b]), L.Dot(axes=(1, 2))([a, x])]
    return keras.Model([x, y, a, b], [*steps, *rows, L.Dot(axes=(2, 1))([x, a])])


# --- Attention ---


@architecture
def attention() -> Any:
    (a, x), (b, y) = words("ids_a"), words("ids_b")
    x, y = L.GRU(UNITS, return_sequences=True)(x), L.LSTM(UNITS, return_sequences=True)(y)
    seen, scores = L.Attention(use_scale=True)([x, y], return_attention_scores=True)
    return keras.Model([a, b], [L.GRU(UNITS)(seen), scores, L.Attention()([x, y, L.Dense(UNITS)(y)]), seen])


@architecture
def attention_causal() -> Any:
    given, x = words()
    seen = L.Attention(dropout=0.3)([x, x], use_causal_mask=True)
    return keras.Model(given, L.GlobalAveragePooling1D()(seen))


@architecture
def attention_concat() -> Any:
    x, y = numbers(name="x"), numbers(name="x_b")
    with_scale = L.Attention(score_mode="concat", use_scale=True)([x, y])
    return keras.Model([x, y], [with_scale, L.Attention(score_mode="concat")([x, y], use_causal_mask=True)])


@architecture
def additive_attention() -> Any:
    (a, x), (b, y) = words("ids_a"), words("ids_b")
    seen, scores = L.AdditiveAttention()([x, y], return_attention_scores=True)
    return keras.Model([a, b], [seen, scores, L.AdditiveAttention(use_scale=False)([y, x])])


@architecture
def multi_head_attention() -> Any:
    given, x = words(width=6)
    x = L.GRU(6, return_sequences=True)(x)
    wide = None if BACKEND == "jax" else 4  # there Keras fails if values and keys differ in width
    seen = L.MultiHeadAttention(2, 3, value_dim=wide, output_shape=5)(x, x)
    return keras.Model(given, [seen, L.GRU(UNITS)(seen), L.Flatten()(L.GlobalAveragePooling1D()(seen))])


@architecture
def multi_head_attention_causal() -> Any:
    x, y = numbers(name="x"), numbers(name="x_b")
    first = L.MultiHeadAttention(3, 2, use_bias=False, dropout=0.2)(x, y, use_causal_mask=True)
    seen, scores = L.MultiHeadAttention(2, 3)(first, y, key=x, return_attention_scores=True)
    return keras.Model([x, y], [seen, scores])


@architecture
def multi_head_attention_masks() -> Any:
    (a, x), (b, y) = words("ids_a"), words("ids_b")
    mask = keras.ops.expand_dims(keras.ops.not_equal(b, 0), 1)
    plain = L.MultiHeadAttention(2, 3)(numbers_without_mask(x), numbers_without_mask(y), attention_mask=mask)
    return keras.Model([a, b], [plain, L.MultiHeadAttention(2, 3)(x, y, use_causal_mask=True)])


def numbers_without_mask(x: Tensor) -> Tensor:
    return L.Conv1D(FEATURES, 1)(x)


@architecture
def transformer_block() -> Any:
    given, x = words(width=6)
    seen = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)]))
    y = L.Dense(6)(L.Dense(12, activation="gelu")(seen))
    y = L.LayerNormalization(epsilon=1e-6)(L.Add()([seen, y]))
    return keras.Model(given, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(y)))


# --- Models of several parts ---


@architecture
def encoder_decoder() -> Any:
    (source, x), (written, y) = words("ids_source"), words("ids_written")
    encoder = L.Bidirectional(L.GRU(UNITS, return_sequences=True, return_state=True), name="encoder")
    encoded, forward, backward = encoder(x)
    state = L.Dense(2 * UNITS, activation="tanh", name="begin")(L.Concatenate()([forward, backward]))
    decoder = L.GRU(2 * UNITS, return_sequences=True, return_state=True, name="decoder")
    outputs, after = decoder(y, initial_state=state)
    mask = keras.ops.not_equal(source, 0)
    seen, scores = L.Attention(use_scale=True)([outputs, encoded], mask=[None, mask], return_attention_scores=True)
    answer = L.Dense(WORDS, activation="softmax", name="answer")(L.Concatenate()([outputs, seen]))
    return keras.Model([source, written], {"answer": answer, "scores": scores, "after": after})


@architecture
def sequence_to_sequence() -> Any:
    x, y = numbers(name="x"), numbers(name="x_b")
    _, h, c = L.LSTM(UNITS, return_state=True)(L.Masking()(x))
    outputs = L.LSTM(UNITS, return_sequences=True)(y, initial_state=[h, c])
    return keras.Model({"x": x, "x_b": y}, L.TimeDistributed(L.Dense(2))(outputs))


@architecture
def shared_layers() -> Any:
    a, b = ids("ids_a"), ids("ids_b")
    embed, read = L.Embedding(WORDS, 4, mask_zero=True), L.Bidirectional(L.GRU(UNITS))
    x, y = read(embed(a)), read(embed(b))
    return keras.Model([a, b], L.Dense(1, activation="sigmoid")(L.Concatenate()([x, y, L.Subtract()([x, y])])))


@architecture
def nested_models() -> Any:
    given, x = words("ids_inner")
    inner = keras.Model(given, L.GRU(UNITS, return_sequences=True)(x), name="encoder")
    head = keras.Sequential([L.Dense(6, activation="relu"), L.GRU(3)], name="head")
    a, b = ids("ids_a"), ids("ids_b")
    return keras.Model([a, b], [head(inner(a)), head(inner(b))])


@architecture
def nested_models_of_several_inputs() -> Any:
    u, v = numbers(name="x_u"), numbers(name="x_v")
    joined = L.GRU(UNITS, return_sequences=True)(L.Add()([u, v]))
    pair = keras.Model({"x_u": u, "x_v": v}, {"last": L.LSTM(3)(joined), "all": joined}, name="pair")
    x = numbers(name="x")
    masked = L.Masking()(x)
    found = pair({"x_u": masked, "x_v": masked})
    return keras.Model(x, [found["all"], found["last"]])


@architecture
def deep_residual() -> Any:
    x = numbers()
    y = L.Dense(6)(L.Masking()(x))
    for _ in range(3):
        z = L.LSTM(6, return_sequences=True)(L.LayerNormalization()(y))
        y = L.Add()([y, L.Dropout(0.1)(z)])
    return keras.Model(x, [L.Dense(2)(y[:, -1]), L.Dense(2, activation="softmax")(L.GlobalAveragePooling1D()(y))])


@architecture
def convolution_and_recurrence() -> Any:
    layers = [L.Conv1D(8, 3, padding="same"), L.BatchNormalization(), L.Activation("relu"), L.MaxPooling1D(2)]
    layers += [L.Bidirectional(L.LSTM(UNITS, return_sequences=True)), L.GlobalMaxPooling1D(), L.Dropout(0.5)]
    return stack(*layers, L.Dense(6, activation="relu"), L.Dense(2, activation="softmax"))


@architecture
def wavenet() -> Any:
    x = numbers()
    y = L.Conv1D(6, 1)(x)
    skips = []
    for dilation in (1, 2, 4):
        gate = L.Conv1D(6, 2, padding="causal", dilation_rate=dilation, activation="sigmoid")(y)
        z = L.Multiply()([L.Conv1D(6, 2, padding="causal", dilation_rate=dilation, activation="tanh")(y), gate])
        skips.append(L.Conv1D(6, 1)(z))
        y = L.Add()([y, z])
    return keras.Model(x, L.Dense(2)(L.ReLU()(L.Add()(skips))))


@architecture
def several_outputs() -> Any:
    x, speaker = numbers(name="x"), numbers(3, name="x_speaker")
    y = L.GRU(UNITS, return_sequences=True, name="reader")(L.Masking()(x))
    last = L.GRU(UNITS, return_state=True, name="last")(y)
    return keras.Model([x, speaker], [L.Dense(2, name="tags")(y), *last, L.Concatenate()([last[0], speaker])])


@architecture
def forecaster() -> Any:
    values, mask = numbers(name="x_values"), keras.Input((None,), dtype="bool", name="mask")
    state = ours.GRU(UNITS)(L.GaussianNoise(0.1)(values), mask=mask)
    # Not three quantiles: on TensorFlow, Keras takes (batch, 1, 1) for a bias where the batch is the last axis' size
    ahead = L.Reshape((2, 4))(L.Dense(8)(state)) + values[:, -1:, :1]
    return keras.Model({"x_values": values, "mask": mask}, ahead)


@architecture
def reviewer() -> Any:
    given, x = words()
    x = L.SpatialDropout1D(0.3)(L.Dropout(0.3, noise_shape=(None, None, 1))(x))
    x = L.Bidirectional(ours.GRU(UNITS, return_sequences=True))(x)
    x = L.Concatenate()([L.GlobalAveragePooling1D()(x), keras.ops.max(x, axis=1)])
    return keras.Model(given, L.Dense(1, activation="sigmoid")(L.Dropout(0.5)(x)))


# --- Operations of keras.ops ---


@architecture
def slices() -> Any:
    x = numbers()
    y = L.GRU(6, return_sequences=True)(x)
    parts = [y[:, -1], y[:, 1:, :3], y[:, ::2], y[..., 0], y[:, -3:-1, 2], y[:, None, 0]]
    parts += [] if BACKEND == "torch" else [y[:, ::-1]]  # which has no negative steps
    return keras.Model(x, [*parts, L.LSTM(UNITS)(y[:, 2:])])


@architecture
def elementary_operations() -> Any:
    ops, x, y = keras.ops, numbers(name="x"), numbers(name="x_b")
    z = 2.0 * x + y / 4 - 1.5
    z = ops.concatenate([ops.relu(z), ops.tanh(-z), 1 - z], axis=-1)
    several = [ops.mean(z, axis=1), ops.max(z, axis=(1, 2)), ops.sum(z, axis=-1, keepdims=True), ops.square(z)]
    several += [ops.squeeze(ops.expand_dims(z[:, -1], 1), 1), ops.maximum(x, y), ops.minimum(x, 0.1)]
    several += [ops.transpose(z, (0, 2, 1)), ops.matmul(x, ops.swapaxes(y, 1, 2)), ops.softmax(x)]
    several += [ops.stack([x, y], axis=1), x * np.float32([1, 2, 3, 4, 5]), ops.leaky_relu(x, 0.3), ops.flip(x, 1)]
    return keras.Model(
        [x, y], [*several, ops.gelu(x), ops.abs(x), ops.exp(y), ops.sqrt(ops.square(y) + 1), 2 / (z * z + 1)]
    )


@architecture
def masks_of_operations() -> Any:
    ops, x, tokens = keras.ops, numbers(), ids()
    there = ops.any(ops.not_equal(x, 0), axis=-1)
    both = ops.logical_and(there, ops.logical_not(ops.logical_not(ops.not_equal(tokens, 0))))
    read = L.GRU(UNITS, return_sequences=True)(x, mask=there)
    return keras.Model([x, tokens], [read, L.LSTM(UNITS)(x, mask=ops.logical_or(there, both)), L.GRU(3)(x, mask=both)])


@architecture
def operations_end_masks() -> Any:
    given, x = words()
    return keras.Model(given, [L.GRU(UNITS)(x + 1.0), L.GRU(UNITS)(x[:, 1:]), L.GRU(UNITS)(L.Dense(3)(x))])
