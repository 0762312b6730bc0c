# SPDX-License-Identifier: Apache-2.0
"""ONNX models made by hand: recurrent nodes with each option, and each ordinary node as exporters write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from onnx import ModelProto

    Array = npt.NDArray[Any]

FEATURES, UNITS = 6, 5
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
STATES = {"GRU": ("initial_h",), "LSTM": ("initial_h", "initial_c"), "RNN": ("initial_h",)}
TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}


class Sketch:
    """An ONNX model as it grows."""

    def __init__(self, opset: int = 18, seed: int = 0) -> None:
        self.opset, self.rng = opset, np.random.default_rng(seed)
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def given(self, name: str, *sizes: int | str, dtype: str = "float32") -> str:
        """Adds an input."""
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], sizes))
        return name

    def weight(self, *sizes: int, scale: float = 0.5, offset: float = 0.0) -> str:
        """Adds a tensor of random numbers."""
        return self.tensor(self.rng.normal(offset, scale, sizes).astype(np.float32))

    def tensor(self, array: Any, dtype: str | None = None) -> str:
        """Adds a tensor."""
        name = f"tensor{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def add(self, op: str, *inputs: str, outputs: Sequence[str] | None = None, **attributes: Any) -> str:
        """Adds a node. Returns its first output that is named."""
        name = f"{op.lower()}{len(self.nodes)}"
        outputs = [f"{name}:0"] if outputs is None else list(outputs)
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=name, **attributes))
        return next(each for each in outputs if each)

    def gives(self, *names: str) -> None:
        """Adds outputs."""
        self.outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]

    def model(self) -> ModelProto:
        """The model."""
        graph = helper.make_graph(self.nodes, "sketch", self.inputs, self.outputs, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def recurrent(
    op: str,
    *,
    direction: str = "forward",
    layout: int = 0,
    lengths: str | None = None,
    starts: str | None = None,
    outputs: Sequence[str] = ("Y", "Y_h", "Y_c"),
    opset: int = 18,
    bias: bool = True,
    **attributes: Any,
) -> ModelProto:
    """A model of one recurrent node. `lengths` and `starts` say where these come from: "input", "constant" or None."""
    sketch, n, gates = Sketch(opset), 2 if direction == "bidirectional" else 1, GATES[op]
    x = sketch.given("X", *(["T", "B"] if layout == 0 else ["B", "T"]), FEATURES)
    weights = [sketch.weight(n, gates * UNITS, FEATURES), sketch.weight(n, gates * UNITS, UNITS)]
    weights.append(sketch.weight(n, 2 * gates * UNITS) if bias else "")
    lens = ""
    if lengths is not None:
        lens = sketch.given("lens", "B", dtype="int32") if lengths == "input" else sketch.tensor([4] * 3, "int32")
    states = []
    for name in STATES[op] if starts else ():
        rows: list[Any] = ["B"] if starts == "input" else [1]
        sizes = [n, *rows, UNITS] if layout == 0 else [*rows, n, UNITS]
        if starts == "input":
            states.append(sketch.given(name, *sizes))
        else:  # for as many rows as the batch has
            batch = sketch.add("Shape", x)
            batch = sketch.add("Gather", batch, sketch.tensor([1], "int64"))
            sizes_of = sketch.add("Concat", sketch.tensor([n], "int64"), batch, sketch.tensor([UNITS], "int64"), axis=0)
            states.append(sketch.add("Expand", sketch.weight(n, 1, UNITS), sizes_of))
    names = [name for name in outputs if op == "LSTM" or name != "Y_c"]
    made = [name if name in names else "" for name in ("Y", "Y_h", *(["Y_c"] if op == "LSTM" else []))]
    options = {"hidden_size": UNITS, "direction": direction} | ({"layout": layout} if layout else {}) | attributes
    sketch.add(op, x, *weights, lens, *states, outputs=made, **options)
    sketch.gives(*names)
    return sketch.model()


# --- Ordinary nodes: from x (B, T, 6), of numbers around 0, to a value ---


def _unary(op: str, **attributes: Any) -> Callable[[Sketch, str], str]:
    return lambda s, x: s.add(op, x, **attributes)


def _positive(op: str) -> Callable[[Sketch, str], str]:
    return lambda s, x: s.add(op, s.add("Abs", x))


def _clip(least: float | None, most: float | None) -> Callable[[Sketch, str], str]:
    def make(s: Sketch, x: str) -> str:
        return s.add("Clip", x, *("" if bound is None else s.tensor(np.float32(bound)) for bound in (least, most)))

    return make


def _with(op: str, *sizes: int, first: bool = False, offset: float = 0.0) -> Callable[[Sketch, str], str]:
    def make(s: Sketch, x: str) -> str:
        pair = [x, s.weight(*sizes, offset=offset)]
        return s.add(op, *(pair[::-1] if first else pair))

    return make


def _two(op: str) -> Callable[[Sketch, str], str]:
    """Two values whose axes stand in other orders on the way."""

    def make(s: Sketch, x: str) -> str:
        left = s.add("Transpose", s.add("Tanh", x), perm=[1, 0, 2])
        mean = s.add("ReduceMean", s.add("Abs", x), s.tensor([1], "int64"), keepdims=1)  # (B, 1, 6)
        right = s.add("Transpose", s.add("Add", mean, s.tensor(np.float32(1))), perm=[1, 0, 2])
        return s.add("Transpose", s.add(op, left, right), perm=[1, 0, 2])

    return make


def _channels_first(make: Callable[[Sketch, str], str]) -> Callable[[Sketch, str], str]:
    return lambda s, x: s.add("Transpose", make(s, s.add("Transpose", x, perm=[0, 2, 1])), perm=[0, 2, 1])


def _conv(out: int = 4, size: int = 3, group: int = 1, **attributes: Any) -> Callable[[Sketch, str], str]:
    return _channels_first(
        lambda s, x: s.add("Conv", x, s.weight(out, FEATURES // group, size), s.weight(out), group=group, **attributes)
    )


def _conv_2d(s: Sketch, x: str) -> str:
    """As tf2onnx writes a Conv1D: with a height of one."""
    x = s.add("Unsqueeze", s.add("Transpose", x, perm=[0, 2, 1]), s.tensor([2], "int64"))
    y = s.add("Conv", x, s.weight(4, FEATURES, 1, 3), pads=[0, 2, 0, 0])
    return s.add("Transpose", s.add("Squeeze", y, s.tensor([2], "int64")), perm=[0, 2, 1])


def _padded_conv(s: Sketch, x: str) -> str:
    """Causal, by zeros before."""
    x = s.add("Pad", s.add("Transpose", x, perm=[0, 2, 1]), s.tensor([0, 0, 2, 0, 0, 0], "int64"))
    return s.add("Transpose", s.add("Conv", x, s.weight(4, FEATURES, 3)), perm=[0, 2, 1])


def _pool(op: str, **attributes: Any) -> Callable[[Sketch, str], str]:
    return _channels_first(_unary(op, **attributes))


def _gemm(s: Sketch, x: str) -> str:
    last = s.add("Gather", x, s.tensor(-1, "int64"), axis=1)
    return s.add("Gemm", last, s.weight(3, FEATURES), s.weight(3), transB=1, alpha=0.5, beta=2.0)


def _flat_dense(s: Sketch, x: str) -> str:
    """The steps and the batch in one axis around a product, as views do."""
    turned = s.add("Transpose", x, perm=[1, 0, 2])
    flat = s.add("Reshape", turned, s.tensor([-1, FEATURES], "int64"))
    y = s.add("Relu", s.add("Add", s.add("MatMul", flat, s.weight(FEATURES, 4)), s.weight(4)))
    sizes = s.add("Concat", s.add("Slice", s.add("Shape", turned), s.tensor([0], "int64"), s.tensor([2], "int64")),
                  s.tensor([-1], "int64"), axis=0)  # fmt: skip
    return s.add("Transpose", s.add("Reshape", y, sizes), perm=[1, 0, 2])


def _read_twice(s: Sketch, x: str) -> str:
    product = s.add("MatMul", x, s.weight(FEATURES, 4))
    one, other = (s.add("Transpose", product, perm=[1, 0, 2]) for _ in range(2))
    return s.add("Transpose", s.add("Mul", s.add("Add", one, s.weight(4)), other), perm=[1, 0, 2])


def _heads(s: Sketch, x: str) -> str:
    """Attention with two heads, as it is composed."""
    three = []
    for _ in range(3):
        y = s.add("Reshape", s.add("MatMul", x, s.weight(FEATURES, 8)), s.tensor([0, 0, 2, 4], "int64"))
        three.append(s.add("Transpose", y, perm=[0, 2, 1, 3]))
    query, key, value = three
    scores = s.add("MatMul", query, s.add("Transpose", key, perm=[0, 1, 3, 2]))
    weights = s.add("Softmax", s.add("Div", scores, s.tensor(np.float32(2))), axis=-1)
    y = s.add("Transpose", s.add("MatMul", weights, value), perm=[0, 2, 1, 3])
    return s.add("Reshape", y, s.tensor([0, 0, 8], "int64"))


def _pooled_by_softmax(s: Sketch, x: str) -> str:
    """Attention over the steps: softmax along axis 1."""
    weights = s.add("Softmax", s.add("MatMul", x, s.weight(FEATURES, 1)), axis=1)
    return s.add("ReduceSum", s.add("Mul", weights, x), s.tensor([1], "int64"), keepdims=0)


def _gelu_by_erf(s: Sketch, x: str) -> str:
    erf = s.add("Erf", s.add("Div", x, s.tensor(np.float32(2**0.5))))
    whole = s.add("Mul", x, s.add("Add", erf, s.tensor(np.float32(1))))
    return s.add("Mul", whole, s.tensor(np.float32(0.5)))


def _gelu_by_half(s: Sketch, x: str) -> str:
    erf = s.add("Erf", s.add("Mul", x, s.tensor(np.float32(0.5**0.5))))
    return s.add("Mul", s.add("Mul", s.tensor(np.float32(0.5)), x), s.add("Add", erf, s.tensor(np.float32(1))))


def _layer_norm_by_hand(s: Sketch, x: str) -> str:
    axis = s.tensor([-1], "int64")
    centred = s.add("Sub", x, s.add("ReduceMean", x, axis))
    variance = s.add("ReduceMean", s.add("Pow", centred, s.tensor(np.float32(2))), axis)
    deviation = s.add("Sqrt", s.add("Add", variance, s.tensor(np.float32(1e-3))))
    return s.add("Add", s.add("Mul", s.add("Div", centred, deviation), s.weight(FEATURES)), s.weight(FEATURES))


def _batch_norm(s: Sketch, x: str) -> str:
    variance = s.tensor(s.rng.uniform(0.5, 2, FEATURES).astype(np.float32))
    turned = s.add("Transpose", x, perm=[0, 2, 1])
    y = s.add("BatchNormalization", turned, s.weight(FEATURES), s.weight(FEATURES), s.weight(FEATURES), variance)
    return s.add("Transpose", y, perm=[0, 2, 1])


def _embedding(s: Sketch, x: str) -> str:
    s.given("ids", "B", "T", dtype="int64")
    found = s.add("Gather", s.weight(11, 4), s.add("Transpose", "ids", perm=[1, 0]))
    return s.add("Concat", s.add("Transpose", x, perm=[1, 0, 2]), found, axis=2)


def _split(s: Sketch, x: str) -> str:
    s.add("Split", x, s.tensor([2, 1, 3], "int64"), axis=2, outputs=["a", "b", "c"])
    return s.add("Concat", "c", s.add("Mul", "a", "b"), axis=-1)


def _slices(s: Sketch, x: str) -> str:
    def bounds(*numbers: int) -> list[str]:
        return [s.tensor([number], "int64") for number in numbers]

    last = s.add("Slice", x, *bounds(-1, 2**62, 1, 1))  # (B, 1, 6)
    backwards = s.add("Slice", x, *bounds(-1, -(2**63), 1, -1))
    every_other = s.add("Slice", backwards, *bounds(0, 2**62, 2, 2))
    most = s.add("Slice", last, *bounds(0, -3, 2, 1))
    return s.add("Add", every_other, most)


def _take(s: Sketch, x: str) -> str:
    return s.add("Gather", x, s.tensor([4, 0, 3], "int64"), axis=2)


def _repeat(s: Sketch, x: str) -> str:
    last = s.add("Unsqueeze", s.add("Gather", x, s.tensor(-1, "int64"), axis=1), s.tensor([1], "int64"))
    return s.add("Tile", last, s.tensor([1, 4, 1], "int64"))


def _repeat_for_each_step(s: Sketch, x: str) -> str:
    """The first step's features beside those of every step."""
    first = s.add("Slice", x, s.tensor([0], "int64"), s.tensor([1], "int64"), s.tensor([1], "int64"))
    sizes = s.add("Concat", s.add("Shape", x, start=0, end=2), s.tensor([FEATURES], "int64"), axis=0)
    return s.add("Concat", x, s.add("Expand", first, sizes), axis=-1)


def _heads_in_batch(s: Sketch, x: str) -> str:
    """Attention with two heads that are rows of the batch, the steps first, as PyTorch composes it."""
    turned, three = s.add("Transpose", x, perm=[1, 0, 2]), []
    for _ in range(3):
        y = s.add("MatMul", turned, s.weight(FEATURES, 8))
        sizes = s.add("Shape", y, start=0, end=2)
        many = s.add("Mul", sizes, s.tensor([1, 2], "int64"))
        y = s.add("Reshape", y, s.add("Concat", many, s.tensor([4], "int64"), axis=0))  # (T, B * 2, 4)
        three.append(s.add("Transpose", y, perm=[1, 0, 2]))
    query, key, value = three
    weights = s.add("Softmax", s.add("MatMul", query, s.add("Transpose", key, perm=[0, 2, 1])), axis=-1)
    y = s.add("Transpose", s.add("MatMul", weights, value), perm=[1, 0, 2])
    whole = s.add("Reshape", y, s.add("Concat", sizes, s.tensor([8], "int64"), axis=0))
    return s.add("Transpose", s.add("MatMul", whole, s.weight(8, 3)), perm=[1, 0, 2])


def _flatten(s: Sketch, x: str) -> str:
    first = s.add("Concat", *(s.add("Slice", x, s.tensor([i], "int64"), s.tensor([i + 1], "int64"),
                                    s.tensor([1], "int64")) for i in (0, 1)), axis=1)  # fmt: skip
    return s.add("MatMul", s.add("Flatten", first), s.weight(2 * FEATURES, 3))


def _odd_reshape(s: Sketch, x: str) -> str:
    """(B, T, 6) to (B, T, 2, 3), turned, to (B, T, 6)."""
    y = s.add("Transpose", s.add("Reshape", x, s.tensor([0, 0, 2, 3], "int64")), perm=[0, 1, 3, 2])
    return s.add("MatMul", s.add("Reshape", y, s.tensor([0, 0, -1], "int64")), s.weight(FEATURES, 3))


ORDINARY: dict[str, Callable[[Sketch, str], str]] = {
    **{op.lower(): _unary(op) for op in (
        "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign",
        "HardSwish", "Mish", "Exp", "Abs", "Neg", "Softmax", "LogSoftmax", "Identity", "ThresholdedRelu", "Dropout",
    )},
    "elu of alpha": _unary("Elu", alpha=0.3),
    "hard sigmoid of Keras": _unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    "shrink": _unary("Shrink", bias=0.4, lambd=0.4),
    "sqrt": _positive("Sqrt"),
    "relu6": _clip(0, 6),
    "hard tanh": _clip(-1, 1),
    "clip below": _clip(-0.3, None),
    "clip to a range": _clip(-0.3, 0.7),
    "clip from zero": _clip(0, 0.7),
    **{f"{op.lower()} a vector": _with(op, FEATURES, offset=2.0) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")},
    **{f"{op.lower()} from a number": _with(op, first=True) for op in ("Sub", "Mul", "Max")},
    "number by a value": lambda s, x: s.add("Div", s.weight(offset=3.0), s.add("Exp", x)),
    "a vector by a value of width one": lambda s, x: s.add("Mul", s.add("ReduceMean", x, s.tensor([-1], "int64")),
                                                           s.weight(4)),
    "a vector by a product of width one": lambda s, x: s.add("Mul", s.add("MatMul", x, s.weight(FEATURES, 1)),
                                                             s.weight(4)),
    "prelu": _with("PRelu", FEATURES),
    "prelu of channels": _channels_first(lambda s, x: s.add("PRelu", x, s.weight(FEATURES, 1))),
    "add to channels": _channels_first(lambda s, x: s.add("Add", x, s.weight(1, FEATURES, 1))),
    **{f"{op.lower()} of two": _two(op) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum")},
    "silu": lambda s, x: s.add("Mul", x, s.add("Sigmoid", x)),
    "reciprocal": lambda s, x: s.add("Reciprocal", s.add("Exp", x)),
    "gelu by erf": _gelu_by_erf,
    "gelu by half": _gelu_by_half,
    "gemm": _gemm,
    "matmul of channels": lambda s, x: s.add("MatMul", s.weight(4, FEATURES), s.add("Transpose", x, perm=[0, 2, 1])),
    "dense over flat steps": _flat_dense,
    "heads": _heads,
    "heads in the batch": _heads_in_batch,
    "softmax over steps": _pooled_by_softmax,
    "layer normalization": lambda s, x: s.add("LayerNormalization", x, s.weight(6), s.weight(6), epsilon=1e-3),
    "layer normalization by hand": _layer_norm_by_hand,
    "batch normalization": _batch_norm,
    "convolution": _conv(),
    "convolution, same": _conv(pads=[1, 1]),
    "convolution, SAME_UPPER with strides": _conv(auto_pad="SAME_UPPER", strides=[2]),
    "convolution, causal, dilated": _conv(pads=[4, 0], dilations=[2]),
    "convolution, odd pads and strides": _conv(pads=[2, 1], strides=[2]),
    "convolution, depthwise": _conv(out=6, group=6),
    "convolution of two dimensions": _conv_2d,
    "convolution of a padded value": _padded_conv,
    "max pool": _pool("MaxPool", kernel_shape=[2], strides=[2]),
    "max pool, same": _pool("MaxPool", kernel_shape=[3], pads=[1, 1]),
    "average pool": _pool("AveragePool", kernel_shape=[3], strides=[2]),
    "average pool, same": _pool("AveragePool", kernel_shape=[3], pads=[1, 1]),
    **{f"average pool that counts zeros, {strides}": _pool("AveragePool", kernel_shape=[3], strides=[strides],
                                                           pads=[1, 1], count_include_pad=1) for strides in (1, 2)},
    "a product read with its bias and without": _read_twice,
    "global average pool": _pool("GlobalAveragePool"),
    "global max pool": _pool("GlobalMaxPool"),
    **{f"reduce{name.lower()}": (lambda s, x, name=name: s.add(f"Reduce{name}", x, s.tensor([1], "int64"), keepdims=0))
       for name in ("Mean", "Max", "Sum", "Min", "L1", "L2", "SumSquare")},
    "reduce steps and features": lambda s, x: s.add("ReduceMax", x, s.tensor([1, 2], "int64")),
    "embedding": _embedding,
    "split": _split,
    "slices": _slices,
    "take": _take,
    "repeat": _repeat,
    "repeat for each step": _repeat_for_each_step,
    "expand to a number": lambda s, x: s.add("Expand", s.add("ReduceMax", x, s.tensor([2], "int64")),
                                             s.tensor([1, 1, 4], "int64")),
    "steps of a fixed length": lambda s, x: s.add("Reshape", s.add("Reshape", x, s.tensor([0, -1, 3, 2], "int64")),
                                                  s.tensor([0, 0, 2, 3], "int64")),
    "flatten": _flatten,
    "reshape": _odd_reshape,
}  # fmt: skip


def ordinary(name: str, opset: int = 18) -> ModelProto:
    """A model of ordinary nodes: x (B, T, 6), and ids where it has some, to y."""
    sketch = Sketch(opset)
    sketch.gives(sketch.add("Identity", ORDINARY[name](sketch, sketch.given("x", "B", "T", FEATURES)), outputs=["y"]))
    return sketch.model()
