# SPDX-License-Identifier: Apache-2.0
"""What is computed of the features of each row and step alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.runtime.operations.operation import Operation, Option, Problem, checked_mask, fits, numbers, rank, weight

if TYPE_CHECKING:
    from gatewise.runtime.operations.operation import Array, Known, Shape

# Keras's names; of parameters, those of Keras and PyTorch
FUNCTIONS = (
    "linear", "tanh", "sigmoid", "relu", "hard_sigmoid", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu",
    "hard_silu", "hard_tanh", "softplus", "softsign", "exponential", "mish", "log_sigmoid", "tanh_shrink",
    "soft_shrink", "hard_shrink", "threshold", "squareplus", "sparse_plus", "sparse_sigmoid", "sqrt", "absolute",
)  # fmt: skip


def _dense(given: list[Any], _options: dict[str, Any], weights: dict[str, Array]) -> list[Known]:
    shape = numbers(given[0], "x")
    kernel = weight(weights, "kernel", None, None)
    width = 0 if kernel is None else kernel.shape[1]
    weight(weights, "bias", width)
    fits(rank(given[0], tuple(range(2, 9)), "x")[-1], weights["kernel"].shape[0], "the width of x")
    return [((*shape[:-1], width), "float32")]


def _embedding(given: list[Any], _options: dict[str, Any], weights: dict[str, Array]) -> list[Known]:
    if given[0][1] != "int64":
        raise Problem(f"ids are of {given[0][1]}. Expected int64.")
    table = weight(weights, "table", None, None)
    return [((*given[0][0], 0 if table is None else table.shape[1]), "float32")]


def _affine(given: list[Any], _options: dict[str, Any], weights: dict[str, Array]) -> list[Known]:
    shape = numbers(given[0], "x")
    for name in weights:
        width = weight(weights, name, None)
        if width is not None and len(width) != 1:
            fits(_with_features(given[0])[-1], len(width), "the width of x")
    return [(shape, "float32")]


def _with_features(known: Known) -> Shape:
    """The shape of numbers whose last axis is not the batch: rows stay apart."""
    return rank((numbers(known, "x"), "float32"), tuple(range(2, 9)), "x")


def _normalised(given: list[Any], options: dict[str, Any], weights: dict[str, Array]) -> list[Known]:
    _with_features(given[0])
    return _affine(given, options, weights)


def _over_features(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    return [(_with_features(given[0]), "float32")]


def _same(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    return [(numbers(given[0], "x"), "float32")]


def _zero_masked(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    checked_mask(given[1], rank((numbers(given[0], "x"), "float32"), 3, "x"))
    return [(given[0][0], "float32")]


def _mask(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    shape, dtype = given[0]
    return [(shape if dtype == "int64" else rank((numbers(given[0], "x"), dtype), 3, "x")[:-1], "bool")]


def _all(given: list[Any], _options: dict[str, Any], _weights: dict[str, Array]) -> list[Known]:
    for known in given:
        checked_mask(known, given[0][0])
    return [given[0]]


_EPSILON = {"epsilon": Option(1e-3, float, least=0)}

ROWS = {
    # y = x kernel + bias
    "dense": Operation(("x",), ("y",), _dense, ("kernel", "bias?")),
    # y = table[ids]; an id out of range is an error
    "embedding": Operation(("ids",), ("y",), _embedding, ("table",)),
    # y = x * gain + offset, each of the last axis' size or of one number
    "affine": Operation(("x",), ("y",), _affine, ("gain?", "offset?")),
    # over the last axis: y = (x - mean) / sqrt(variance + epsilon) * gain + offset
    "layer_normalization": Operation(("x",), ("y",), _normalised, ("gain?", "offset?"), _EPSILON),
    # over the last axis: y = x / sqrt(mean(x * x) + epsilon) * gain
    "rms_normalization": Operation(("x",), ("y",), _normalised, ("gain?",), _EPSILON),
    # over the last axis: y = x / max(sqrt(sum(x * x)), epsilon)
    "unit_normalization": Operation(("x",), ("y",), _over_features, (), {"epsilon": Option(1e-12, float, least=0)}),
    # element by element; `slope` is that of leaky_relu and relu below the threshold, `alpha` that of elu and celu,
    # `threshold` that of relu, threshold and the shrinks, `most` that of relu, `least` what threshold gives below its,
    # `approximate` is gelu by tanh
    "activation": Operation(
        ("x",),
        ("y",),
        _same,
        (),
        {
            "function": Option("linear", str, names=FUNCTIONS),
            "slope": Option(0.0, float),
            "alpha": Option(1.0, float),
            "threshold": Option(0.0, float),
            "most": Option(float(2**31 - 1), float),
            "least": Option(0.0, float),
            "approximate": Option(default=False, kind=bool),
        },
    ),
    # y = x where x > 0, else x * slope, of the last axis' size or one number
    "prelu": Operation(("x",), ("y",), _affine, ("slope",)),
    # over the last axis
    "softmax": Operation(("x",), ("y",), _over_features),
    "log_softmax": Operation(("x",), ("y",), _over_features),
    # a mask: id != value, or any feature != value
    "not_equal": Operation(("x",), ("mask",), _mask, (), {"value": Option(0.0, float)}),
    # y = x where the mask is true, else 0
    "zero_masked": Operation(("x", "mask"), ("y",), _zero_masked),
    # masks: true where it is not; where all are; where any is
    "not": Operation(("mask",), ("mask",), _all),
    "all": Operation(("masks*",), ("mask",), _all),
    "any": Operation(("masks*",), ("mask",), _all),
}
