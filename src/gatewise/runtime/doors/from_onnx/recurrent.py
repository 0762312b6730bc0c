# SPDX-License-Identifier: Apache-2.0
"""GRU, LSTM and RNN nodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.runtime.doors.from_onnx import layout
from gatewise.runtime.doors.from_onnx.elementwise import is_hard_sigmoid
from gatewise.runtime.doors.from_onnx.problem import problem
from gatewise.runtime.doors.from_onnx.values import Filled, Parts, Size, Tensor
from gatewise.weights import GRUWeights, LSTMWeights, SimpleRNNWeights, Weights

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from gatewise.runtime.doors.from_onnx.node import Read

    Array = npt.NDArray[Any]

_DEFAULTS = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}
# ONNX's names in lower case: how many of alpha and beta each takes, and what stands for one that is not given
_PARAMETERS = {
    "affine": (1.0, 0.0), "leakyrelu": (0.01, None), "thresholdedrelu": (1.0, None), "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5), "elu": (1.0, None),
}  # fmt: skip
_PLAIN = {"tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu"}


class _Axes(NamedTuple):
    """Where a node has its axes, by its `layout`: of x, Y and of the states."""

    batch_of_x: int
    time_of_x: int
    directions_of_y: int
    directions_of_state: int
    y: tuple[tuple[int, ...], ...]
    state: tuple[tuple[int, ...], ...]


_AXES = {
    0: _Axes(1, 0, 1, 0, ((1,), (), (0,), (2,)), ((), (0,), (1,))),
    1: _Axes(0, 1, 2, 1, ((0,), (1,), (), (2,)), ((0,), (), (1,))),
}


def _recurrent(node: Read) -> list[Any]:
    node.only("layout", 0, 1)
    node.only("direction", "forward", "reverse", "bidirectional")
    if node.attribute("clip", 0.0):
        raise node.fail(
            "attribute clip is not supported", "none", str(node.attribute("clip")), "Export the model without clipping."
        )
    if node.attribute("input_forget", 0):
        raise node.fail(
            "attribute input_forget is not supported", "0", "1", "Train the LSTM with a forget gate of its own."
        )
    axes = _AXES[node.attribute("layout", 0)]
    direction = node.attribute("direction", "forward")
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    x = _batch_first(node, axes)
    mask = _mask(node, x)
    functions = _functions(node, len(backwards))
    found = [
        _direction(node, x, mask, axes, d, go_backwards, functions[d], len(backwards))
        for d, go_backwards in enumerate(backwards)
    ]
    joins = [axes.directions_of_y, *[axes.directions_of_state] * 2]
    return [
        None if None in each else each[0] if len(each) == 1 else Parts(tuple(each), join)
        for each, join in zip(zip(*found, strict=True), joins, strict=False)
    ]


def _batch_first(node: Read, axes: _Axes) -> str:
    """X as (batch, steps, features)."""
    t = node.rank(0, 3)
    place = layout.batch_axis(t)
    if place != axes.batch_of_x:
        order = "(steps, batch, features)" if axes.batch_of_x else "(batch, steps, features)"
        raise node.fail(
            f"{node.what(0)} has the batch at another axis",
            f"axis {axes.batch_of_x}: {order}",
            "no batch" if place is None or not t.axes[axes.batch_of_x] else f"axis {place}",
            "Say which axis of each input is the batch, by batch_axes, or export the model with a batch.",
        )
    return layout.laid(node, t, [axes.time_of_x, 2]).value


def _mask(node: Read, x: str) -> str | None:
    """Which steps are valid, from sequence_lens; None if all are."""
    lengths = node.there(4)
    if lengths is None:
        return None
    steps = node.builder.sizes[x][1]
    base = lengths.base if isinstance(lengths, Filled) else lengths
    if isinstance(base, Size):
        if base != steps:
            raise node.fail("sequence_lens is another size", "that of the steps, or an input", "another")
        return None
    if isinstance(base, np.ndarray):
        if base.ndim != 1:
            raise node.fail("sequence_lens has the wrong rank", "(batch,)", f"shape {base.shape}")
        length = layout.one_row(node, base, 0).astype(np.int64)
        if steps.fixed is not None and length[0] == steps.fixed:
            return None
        (value,) = node.emit("constant", (), None, {"value": length}, part="lengths")
    else:
        t = node.settled(lengths, node.what(4))
        if t.axes != ((0,),):
            raise node.fail("sequence_lens has the wrong rank", "(batch,)", f"{len(t.axes)} axes")
        value = t.value
    return node.emit("lengths", (value, x), part="mask")[0]


def _direction(
    node: Read, x: str, mask: str | None, axes: _Axes, d: int, go_backwards: bool, functions: dict[str, str], n: int
) -> list[Tensor | None]:
    """One direction: its outputs and its states, with ONNX's axes, None where nobody wants them."""
    weights = _weights(node, d, n)
    states = len(weights.cell.row.states)
    initial = [_state(node, axes, node.there(5 + i), node.what(5 + i), d, n, weights.units) for i in range(states)]
    sequences = node.wants(0)
    options: dict[str, Any] = functions | {
        "return_sequences": sequences,
        "go_backwards": go_backwards,
        "zero_output_for_mask": mask is not None,
    }
    part = "" if n == 1 else ("backward" if d else "forward")
    suffix = f"/{part}" if part else ""
    own = [node.names[i] + suffix if i < len(node.names) and node.names[i] else "" for i in range(1 + states)]
    base = (node.name.strip("/") or node.op) + suffix
    outputs = [name or f"{base}/{what}" for name, what in zip(own, ("outputs", "h", "c"), strict=False)]
    if sequences and go_backwards:
        outputs[0] = f"{base}/backwards"  # in the order in which it reads
    if not any(node.wants(i) for i in range(1, 1 + states)):
        del outputs[1:]
    arrays = {"kernel": weights.kernel, "recurrent_kernel": weights.recurrent_kernel}
    arrays |= {} if weights.bias is None else {"bias": weights.bias}
    source = tuple(node.inputs[i] if i < len(node.inputs) else "" for i in (1, 2, 3))
    keys = {name: (*source, node.op, weights.cell, d, name) for name in arrays}
    inputs = [x, mask, *initial]
    while inputs[-1] is None:
        del inputs[-1]
    made = node.emit(weights.cell.name.lower(), inputs, options, arrays, part=part, keys=keys, outputs=outputs)
    y: Tensor | None = None
    if sequences:
        value = made[0]
        if go_backwards:
            (value,) = node.emit("reverse", (value,), {"axis": 1}, part=f"{part}/in_order".strip("/"))
        y = Tensor(value, axes.y)
    after = [Tensor(value, axes.state) if node.wants(i) else None for i, value in enumerate(made[1:], 1)]
    return [y, *after, *[None] * (states - len(after))]


def _weights(node: Read, d: int, n: int) -> Weights:
    """The weights of a direction."""
    given = node.numbers(1), node.numbers(2), node.floats(3)
    if any(array is not None and array.shape[:1] != (n,) for array in given):
        raise node.fail("the weights are of another number of directions", str(n), "others", "Export the model again.")
    kernel, recurrent_kernel = given[0][d : d + 1], given[1][d : d + 1]
    bias = None if given[2] is None else given[2][d : d + 1]
    peepholes = node.floats(7) if node.op == "LSTM" else None
    if peepholes is not None and peepholes.any():
        raise node.fail("peepholes are not supported", "no input P, or zeros", "others", "Train the LSTM without them.")
    weights: Weights
    try:
        if node.op == "GRU":
            weights = GRUWeights.from_onnx(kernel, recurrent_kernel, bias, node.attribute("linear_before_reset", 0))
        elif node.op == "LSTM":
            weights = LSTMWeights.from_onnx(kernel, recurrent_kernel, bias)
        else:
            weights = SimpleRNNWeights.from_onnx(kernel, recurrent_kernel, bias)
    except ValueError as error:
        raise problem("the weights do not fit", "those of the cell", str(error), "", node.place) from error
    size = node.attribute("hidden_size", weights.units)
    if size != weights.units:
        raise node.fail(
            "attribute hidden_size does not fit the weights", str(weights.units), str(size), "Export it again."
        )
    return weights


def _state(node: Read, axes: _Axes, given: Any, what: str, d: int, n: int, units: int) -> str | None:
    """Where a direction starts, as (batch, units); None for zeros."""
    join = axes.directions_of_state
    if given is None:
        return None
    if isinstance(given, Filled) and isinstance(given.base, np.ndarray):
        given = given.base
    if isinstance(given, np.ndarray):
        if given.ndim != 3:
            raise node.fail(f"{what} has the wrong rank", "3 axes", f"shape {given.shape}")
        mine = given.take([d if given.shape[join] != 1 else 0], axis=join)
        row = layout.one_row(node, mine, 1 - join).reshape(1, -1).astype(np.float32)
        if not row.any():
            return None
        row = np.broadcast_to(row, (1, units))
        return node.emit("constant", (), None, {"value": row}, part=f"start{d}")[0]
    if isinstance(given, Parts) and given.axis == join and len(given.parts) == n:
        t = given.parts[d]
    else:
        t = node.settled(given, what)
        size = layout.sizes(node, t)[join].fixed
        if len(t.axes) != 3 or size != n:
            raise node.fail(f"{what} does not fit", f"{n} directions at axis {join} of 3", f"{size}")
        t = layout.taken(node, t, join, d)
    if t.axes[1 - join] != (0,):
        raise node.fail(
            f"{what} has the batch at another axis", f"axis {1 - join}", "another",
            "Say which axis of each input is the batch, by batch_axes.",
        )  # fmt: skip
    return layout.laid(node, layout.without(layout.taken(node, t, join, 0), join), [1]).value


# --- Activations ---


def _functions(node: Read, directions: int) -> list[dict[str, str]]:
    """The options of each direction that name its activations."""
    defaults = _DEFAULTS[node.op]
    names = node.attribute("activations") or defaults * directions
    each = len(defaults)
    if len(names) != each * directions:
        raise node.fail("attribute activations does not fit", f"{each} names a direction", f"{len(names)} names")
    alphas, betas = (list(node.attribute(f"activation_{name}") or []) for name in ("alpha", "beta"))
    ours = [_function(node, str(name), alphas, betas) for name in names]
    found = []
    for d in range(directions):
        gates, *others = ours[d * each : (d + 1) * each] if each > 1 else ["", ours[d]]
        if len(set(others)) > 1:
            raise node.fail(
                "the candidate and the output of the LSTM have other activations",
                "the same for both",
                ", ".join(others),
            )
        found.append({"activation": others[0]} | ({"recurrent_activation": gates} if gates else {}))
    return found


def _function(node: Read, name: str, alphas: list[float], betas: list[float]) -> str:
    """Our name of an activation. Takes its parameters off the lists, as all that have some do in turn."""
    low = name.lower()
    alpha, beta = _PARAMETERS.get(low, (None, None))
    if alpha is not None and alphas:
        alpha = alphas.pop(0)
    if beta is not None and betas:
        beta = betas.pop(0)
    if low in _PLAIN:
        return _PLAIN[low]
    if low == "affine" and (alpha, beta) == (1.0, 0.0):
        return "linear"
    if low == "scaledtanh" and (alpha, beta) == (1.0, 1.0):
        return "tanh"
    if low == "hardsigmoid" and is_hard_sigmoid(alpha or math.nan, beta or math.nan):
        return "hard_sigmoid"
    received = name if alpha is None else f"{name} with alpha={alpha:g}" + ("" if beta is None else f", beta={beta:g}")
    raise node.fail(
        "an activation is not supported",
        "Tanh, Sigmoid, Relu, Affine with alpha=1, beta=0, or HardSigmoid with alpha=1/6, beta=0.5",
        received,
        "Train the layer with one of these.",
    )


HANDLERS: dict[str, Callable[[Read], list[Any]]] = dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent)
