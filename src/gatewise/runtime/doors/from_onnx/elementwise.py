# SPDX-License-Identifier: Apache-2.0
"""Nodes that compute number by number: activations, and the arithmetic of several values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_onnx import layout
from gatewise.runtime.doors.from_onnx.values import (
    BATCH,
    ONE,
    Erf,
    Filled,
    Parts,
    Size,
    Sizes,
    Tensor,
    as_sizes,
    sizes_or_array,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from gatewise.runtime.doors.from_onnx.node import Read

    Array = npt.NDArray[Any]
    # What an activation node is in our table: the function and its options.
    Function = tuple[str, dict[str, Any]]

# --- Activations ---


def _named(function: str) -> Callable[[Read], Function]:
    return lambda _: (function, {})


def _with(function: str, option: str, attribute: str, default: float) -> Callable[[Read], Function]:
    return lambda node: (function, {option: float(node.attribute(attribute, default))})


def _selu(node: Read) -> Function:
    alpha, gamma = node.attribute("alpha", 1.67326319217681884), node.attribute("gamma", 1.05070102214813232)
    if not (np.isclose(alpha, 1.6732632423543772, rtol=1e-6) and np.isclose(gamma, 1.0507009873554805, rtol=1e-6)):
        raise node.fail("its parameters are not SELU's", "alpha 1.67326, gamma 1.05070", f"{alpha}, {gamma}")
    return "selu", {}


def _gelu(node: Read) -> Function:
    node.only("approximate", "none", "tanh")
    return "gelu", {"approximate": node.attribute("approximate", "none") == "tanh"}


def _swish(node: Read) -> Function:
    node.only("alpha", 1.0)
    return "silu", {}


def _shrink(node: Read) -> Function:
    bias, lambd = node.attribute("bias", 0.0), node.attribute("lambd", 0.5)
    if bias not in {0.0, lambd}:
        raise node.fail("attribute bias is not supported", f"0, or lambd, {lambd}", str(bias))
    return ("hard_shrink" if bias == 0.0 else "soft_shrink"), {"threshold": float(lambd)}


def _thresholded(node: Read) -> Function:
    return "threshold", {"threshold": float(node.attribute("alpha", 1.0))}


FUNCTIONS: dict[str, Callable[[Read], Function]] = {
    "Relu": _named("relu"),
    "LeakyRelu": _with("leaky_relu", "slope", "alpha", 0.01),
    "Elu": _with("elu", "alpha", "alpha", 1.0),
    "Selu": _selu,
    "Celu": _with("celu", "alpha", "alpha", 1.0),
    "Sigmoid": _named("sigmoid"),
    "Tanh": _named("tanh"),
    "Softplus": _named("softplus"),
    "Softsign": _named("softsign"),
    "Gelu": _gelu,
    "HardSwish": _named("hard_silu"),
    "Mish": _named("mish"),
    "Swish": _swish,
    "Shrink": _shrink,
    "ThresholdedRelu": _thresholded,
    "Exp": _named("exponential"),
    "Sqrt": _named("sqrt"),
    "Abs": _named("absolute"),
}


def _activation(node: Read) -> list[Any]:
    t = node.tensor(0)
    function, options = FUNCTIONS[node.op](node)
    return [Tensor(node.result("activation", (t.value,), {"function": function} | options), t.axes)]


def _hard_sigmoid(node: Read) -> list[Any]:
    t = node.tensor(0)
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    if is_hard_sigmoid(alpha, beta):
        return [Tensor(node.result("activation", (t.value,), {"function": "hard_sigmoid"}), t.axes)]
    line = {"gain": np.array([alpha], np.float32), "offset": np.array([beta], np.float32)}
    (value,) = node.emit("affine", (t.value,), None, line, part="line")
    return [Tensor(node.result("activation", (value,), {"function": "relu", "most": 1.0}), t.axes)]


def is_hard_sigmoid(alpha: float, beta: float) -> bool:
    """Says whether ONNX's HardSigmoid with these parameters is our hard_sigmoid, (x + 3) / 6 between 0 and 1.

    Example:
        >>> is_hard_sigmoid(np.float32(1 / 6), 0.5), is_hard_sigmoid(0.2, 0.5)  # ONNX's own are the latter
        (True, False)
    """
    return math.isclose(alpha, 1 / 6, rel_tol=1e-6) and math.isclose(beta, 0.5, rel_tol=1e-6)


def _clip(node: Read) -> list[Any]:
    t = node.tensor(0)
    if node.opset < 11:
        least, most = node.attribute("min", -np.inf), node.attribute("max", np.inf)
    else:
        least, most = (float(node.constant(i, default)) for i, default in ((1, -np.inf), (2, np.inf)))
    # some exporters write the largest float32 for no bound
    least, most = (least if least > -3.4e38 else -np.inf), (most if most < 3.4e38 else np.inf)
    known = {(0.0, 6.0): "relu6", (-1.0, 1.0): "hard_tanh", (0.0, np.inf): "relu"}
    if (least, most) in known:
        return [Tensor(node.result("activation", (t.value,), {"function": known[least, most]}), t.axes)]
    if least == 0:
        return [Tensor(node.result("activation", (t.value,), {"function": "relu", "most": float(most)}), t.axes)]
    for bound, operation in ((least, "maximum"), (most, "minimum")):
        if np.isfinite(bound):
            t = _with_constant(node, operation, t, np.array(bound, np.float32))
    return [t]


def _prelu(node: Read) -> list[Any]:
    t, slope = node.tensor(0), node.numbers(1)
    t, slope = layout.for_constant(node, t, slope)
    t, of_last = _of_last_axis(node, t, slope)
    if of_last is None:
        raise node.fail("slope varies along several axes", "one axis", f"shape {slope.shape}")
    weights = {"slope": of_last}
    return [Tensor(node.result("prelu", (t.value,), None, weights, keys={"slope": _key(node, 1, t)}), t.axes)]


def _of_last_axis(node: Read, t: Tensor, constant: Array) -> tuple[Tensor, Array | None]:
    """A value whose last axis is the only one that the constant, laid out as ours, varies along; and its numbers."""
    varied = [axis for axis, n in enumerate(constant.shape) if n != 1]
    if len(varied) > 1:
        return t, None
    if varied and varied[0] != constant.ndim - 1:
        t = layout.laid(node, t, [next(axis for axis, ours in enumerate(t.axes) if ours == (varied[0],))])
    return t, constant.reshape(-1)


def _key(node: Read, i: int, t: Tensor) -> tuple[Any, ...]:
    return (node.inputs[i], node.op, len(t.axes))


def _erf(node: Read) -> list[Any]:
    t = node.tensor(0)
    made = node.builder.maker(t.value)
    gain = None if made is None else node.builder.tensors.get(made.weights.get("gain", ""))
    plain = gain is not None and gain.size == 1 and made is not None and "offset" not in made.weights
    if made is None or gain is None or not plain or not np.isclose(gain[0], math.sqrt(0.5), rtol=1e-5):
        raise node.fail("the error function stands alone", "erf(x / sqrt(2)), of a GELU", "erf of another value")
    return [Erf(Tensor(str(made.inputs[0]), t.axes), 0.0, 1.0)]


# --- Arithmetic ---

_OPERATIONS = {
    "Add": "add", "Sum": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide", "Max": "maximum",
    "Min": "minimum", "Mean": "average",
}  # fmt: skip

_COMBINE: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def _arithmetic(node: Read) -> list[Any]:
    given = [_operand(node, value) for value in node.given]
    if any(isinstance(value, Sizes) for value in given):
        return [_of_sizes(node, given)]
    operation = _OPERATIONS[node.op]
    if operation == "average" and len(given) > 1:
        return [_average(node, given)]
    total = given[0]
    for other in given[1:]:
        total = _pair(node, operation, total, other)
    if isinstance(total, Erf | Tensor):
        return [total]
    return [_filled(node, total)]


def _operand(node: Read, value: Any) -> Any:
    """A number is a number, whether it is repeated or not; but not where it makes others larger."""
    if isinstance(value, Filled):
        if isinstance(value.base, Size):
            return Sizes((value.base,), scalar=True)
        have = [node.sizes_of(other) for other in node.given if isinstance(other, Tensor | Parts)]
        rank = max([len(sizes) for sizes in have] + [len(value.sizes)])
        for axis, (size, n) in enumerate(zip(value.sizes, value.base.shape, strict=True), rank - len(value.sizes)):
            there = {sizes[axis - rank] for sizes in have if axis - rank >= -len(sizes)}
            same = size in there or (BATCH in there and size.fixed == node.builder.batch is not None)
            if have and n == 1 and size != ONE and not same:
                raise node.fail("a repeated constant makes another input larger", "as large as the other", "larger")
        return value.base
    return value if isinstance(value, np.ndarray | Sizes | Erf) else node.settled(value)


def _filled(node: Read, base: Array) -> Filled:
    """Constants of which one is repeated: so is what they make."""
    found = [ONE] * base.ndim
    for value in node.given:
        sizes = value.sizes if isinstance(value, Filled) else tuple(Size(n) for n in value.shape)
        for axis, size in enumerate(sizes, base.ndim - len(sizes)):
            found[axis] = size if size != ONE else found[axis]
    return Filled(tuple(found), base)


def _average(node: Read, given: list[Any]) -> Tensor:
    tensors = [node.settled(value) for value in given]
    first = tensors[0]
    for other in tensors[1:]:
        first, _ = layout.aligned(node, first, other)
    ready = [layout.aligned(node, first, other)[1] for other in tensors]
    return Tensor(node.result("average", [t.value for t in ready]), ready[0].axes)


def _pair(node: Read, operation: str, a: Any, b: Any) -> Any:
    for one, other, swapped in ((a, b, False), (b, a, True)):
        if isinstance(one, Erf):
            found = _with_erf(operation, one, other, node, swapped=swapped)
            if found is not None:
                return found
    a, b = (node.settled(value) if isinstance(value, Erf) else value for value in (a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        a, b = layout.aligned(node, a, b)
        return Tensor(node.result(operation, (a.value, b.value)), _wider(node, a, b).axes)
    if isinstance(a, Tensor):
        return _with_constant(node, operation, a, np.asarray(b, np.float32))
    if isinstance(b, Tensor):
        return _with_constant(node, operation, b, np.asarray(a, np.float32), swapped=True)
    with np.errstate(all="ignore"):
        return _COMBINE[operation](a, b)


def _wider(node: Read, a: Tensor, b: Tensor) -> Tensor:
    """The one with more axes of ours."""
    return a if len(node.builder.sizes[a.value]) >= len(node.builder.sizes[b.value]) else b


def _with_erf(operation: str, erf: Erf, other: Any, node: Read, *, swapped: bool) -> Erf | None:
    """What becomes of the error function by another step towards a GELU."""
    if isinstance(other, np.ndarray) and other.size == 1:
        number = float(other.reshape(-1)[0])
        if operation == "add" and not erf.times_x:
            return replace(erf, ones=erf.ones + number)
        if operation == "multiply" or (operation == "divide" and not swapped and number):
            factor = number if operation == "multiply" else 1 / number
            return replace(erf, ones=erf.ones * factor, erfs=erf.erfs * factor)
    if operation == "multiply" and isinstance(other, Tensor) and not erf.times_x and other.axes == erf.of.axes:
        if other.value == erf.of.value:
            return replace(erf, times_x=True)
        made = node.builder.maker(other.value)
        if made and made.operation == "affine" and made.inputs == (erf.of.value,) and "offset" not in made.weights:
            gain = node.builder.tensors[made.weights["gain"]]
            if gain.size == 1:
                return Erf(erf.of, erf.ones * float(gain[0]), erf.erfs * float(gain[0]), times_x=True)
    return None


def _with_constant(node: Read, operation: str, t: Tensor, constant: Array, *, swapped: bool = False) -> Tensor:
    """A value and a constant: a gain and an offset where the constant varies along our last axis alone."""
    t, constant = layout.for_constant(node, t, constant)
    width = node.builder.sizes[t.value][-1].fixed
    same_everywhere = all(n == 1 for n in constant.shape[:-1]) and (constant.shape[-1] == 1 or width != 1)
    if same_everywhere and not (swapped and operation == "divide"):
        line = _line(operation, constant.reshape(-1), swapped=swapped)
        if line == {}:
            return _offset(node, t, constant.reshape(-1))
        if line is not None:
            return Tensor(node.result("affine", (t.value,), None, line), t.axes)
    (value,) = node.emit("constant", (), None, {"value": constant.astype(np.float32)}, part="constant")
    pair = (value, t.value) if swapped else (t.value, value)
    return Tensor(node.result(operation, pair), t.axes)


def _line(operation: str, numbers: Array, *, swapped: bool) -> dict[str, Array] | None:
    """Gain and offset of an operation with numbers; {} where it adds them, None where it has none."""
    if operation == "add":
        return {}
    if operation == "subtract":
        return {"gain": np.array([-1], np.float32), "offset": numbers} if swapped else {"offset": -numbers}
    if operation == "multiply":
        return {"gain": numbers}
    if operation == "divide":
        with np.errstate(all="ignore"):  # as when a model runs
            return {"gain": (1 / numbers.astype(np.float64)).astype(np.float32)}
    return None


def _offset(node: Read, t: Tensor, offset: Array) -> Tensor:
    """Adds numbers; those that follow a product nobody else reads become its bias."""
    made = node.builder.maker(t.value)
    alone = t.value in node.inputs and node.readers.get(t.value) == 1  # under no other name either
    if made is not None and alone and made.operation == "dense" and "bias" not in made.weights:
        width = node.builder.sizes[t.value][-1].fixed or 0
        bias = node.builder.tensor((made.name, "bias"), f"{made.name}/bias", np.broadcast_to(offset, width))
        node.builder.replace(t.value, replace(made, weights={**made.weights, "bias": bias}))
        return t
    return Tensor(node.result("affine", (t.value,), None, {"offset": offset}), t.axes)


def _of_sizes(node: Read, given: list[Any]) -> Any:
    """Products and quotients of sizes; sums of those that are known."""
    operands = [as_sizes(value) for value in given]
    scalar = all((isinstance(v, Sizes) and v.scalar) or (isinstance(v, np.ndarray) and not v.ndim) for v in given)
    known = [each for each in operands if each is not None]
    if len(operands) != 2 or len(known) != 2 or node.op not in {"Mul", "Div"}:
        raise node.fail("it computes with sizes", "products and quotients of sizes and constants", node.op)
    a, b = known
    n = max(len(a), len(b))
    found = []
    for x, y in zip(a * n if len(a) == 1 else a, b * n if len(b) == 1 else b, strict=False):
        size = x * y if node.op == "Mul" else x.over(y)
        if size is None:
            raise node.fail("it divides sizes", "a quotient that is whole whatever the sizes are", "another")
        found.append(size)
    return sizes_or_array(tuple(found), scalar=scalar)


def _neg(node: Read) -> list[Any]:
    t = node.tensor(0)
    return [Tensor(node.result("affine", (t.value,), None, {"gain": np.array([-1], np.float32)}), t.axes)]


def _reciprocal(node: Read) -> list[Any]:
    return [_with_constant(node, "divide", node.tensor(0), np.ones((), np.float32), swapped=True)]


def _pow(node: Read) -> list[Any]:
    t, exponent = node.tensor(0), node.numbers(1)
    number = float(exponent.reshape(-1)[0]) if exponent.size == 1 else math.nan
    if number == 1:
        return [t]
    if number == 0.5:
        return [Tensor(node.result("activation", (t.value,), {"function": "sqrt"}), t.axes)]
    if number not in {2.0, 3.0}:
        raise node.fail("the exponent is not supported", "0.5, 1, 2 or 3", str(exponent.tolist()))
    return [Tensor(node.result("multiply", (t.value,) * int(number)), t.axes)]


HANDLERS: dict[str, Callable[[Read], list[Any]]] = {
    **dict.fromkeys(FUNCTIONS, _activation),
    **dict.fromkeys(_OPERATIONS, _arithmetic),
    "HardSigmoid": _hard_sigmoid,
    "Clip": _clip,
    "PRelu": _prelu,
    "Erf": _erf,
    "Neg": _neg,
    "Reciprocal": _reciprocal,
    "Pow": _pow,
}
