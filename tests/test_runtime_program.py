# SPDX-License-Identifier: Apache-2.0
"""Native programs: every operation is the reference's, and a row's bits depend on nothing but the row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from engine_case import ISAS, instruction_set, threads
from gatewise import _native
from gatewise.cells import Cell
from gatewise.operands import facts
from gatewise.reference.operations import FORMULAS
from gatewise.runtime.operations import OPERATIONS
from gatewise.runtime.operations.features import FUNCTIONS
from tolerance import NORMALISED

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = npt.NDArray[Any]
BATCH, STEPS = 5, 12
WIDTHS = (1, 3, 17, 130)


@dataclass
class One:
    """One operation and what it is given: frames (B, steps, width), masks (B, steps, 1) bool, ids int64."""

    kind: str
    inputs: list[Array | None]
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    streams: bool = True
    block: int = 1
    outputs: int = 1
    context: int = 99  # from this input on, inputs do not advance
    name: str = ""

    def __str__(self) -> str:
        shown = {n: v for n, v in self.options.items() if v != OPERATIONS[self.kind].options[n].default}
        widths = ",".join(str(a.shape[-1]) for a in self.inputs if a is not None)
        return f"{self.kind}[{widths}]{self.name}" + "".join(f" {n}={v}" for n, v in shown.items())

    @property
    def given(self) -> tuple[Array, ...]:
        return tuple(a for a in self.inputs if a is not None)

    def program(self) -> _native.Program:
        numbers = iter(range(100))
        places = tuple(-1 if a is None else next(numbers) for a in self.inputs)
        outputs = tuple(range(100, 100 + self.outputs))
        arrays = [a for a in self.inputs if a is not None]
        described = [(i, a.shape[-1], str(a.dtype)) for i, a in enumerate(arrays)]
        return _native.Program([(self.kind, places, outputs, self.options, self.weights)], described, list(outputs))

    def expected(self) -> list[Array]:
        options = {name: option.default for name, option in OPERATIONS[self.kind].options.items()} | self.options
        wide = {name: a.astype(np.float64) for name, a in self.weights.items()}
        given = [None if a is None else self._as_the_reference_has_it(a) for a in self.inputs]
        if (
            "attention" in self.kind
        ):  # a weight of zero times NaN would be NaN: native attention looks at no masked step
            given = [a if a is None or a.dtype == bool else np.nan_to_num(a) for a in given]
        if self.kind in RECURRENT:  # initial states are (B, units)
            given[2:] = [None if a is None else a[:, 0] for a in given[2:]]
        with np.errstate(all="ignore"):
            return [np.asarray(a) for a in FORMULAS[self.kind](given, options, wide)]

    @staticmethod
    def _as_the_reference_has_it(array: Array) -> Array:
        if array.dtype == np.float32:
            return array.astype(np.float64)
        return array[..., 0] if array.shape[-1] == 1 else array

    def states(self, program: _native.Program, capacity: int) -> tuple[Array, ...]:
        return tuple(np.zeros((capacity, -(-width // 16) * 16), np.float32) for _, width in program.states)

    def stream(
        self, program: _native.Program, sizes: list[int], states: tuple[Array, ...], rows: Array | None = None
    ) -> list[Array]:
        """Takes the steps in chunks of these sizes; returns the first output of each, or attention's weights."""
        found, at = [], 0
        for size in sizes:
            chunk = tuple(
                np.ascontiguousarray(a if i >= self.context else a[:, at : at + size]) for i, a in enumerate(self.given)
            )
            found.append(program.run(chunk, states, rows)[1 if "attention" in self.kind and self.outputs > 1 else 0])
            at += size
        return found


RECURRENT = {cell.name.lower(): cell for cell in Cell}


def draw(seed: str) -> np.random.Generator:
    return np.random.default_rng([*seed.encode()])


def frames(rng: np.random.Generator, width: int, steps: int = STEPS, scale: float = 1.0) -> Array:
    return (scale * rng.normal(size=(BATCH, steps, width))).astype(np.float32)


def mask_of(rng: np.random.Generator, steps: int = STEPS) -> Array:
    mask = rng.random((BATCH, steps, 1)) < 0.6
    mask[0], mask[1], mask[2, :3] = True, False, False
    return mask


def hidden(x: Array, mask: Array) -> Array:
    """The frames, NaN where the mask forbids them."""
    return np.where(mask, x, np.float32("nan"))


def features() -> Iterator[One]:
    for width in WIDTHS:
        rng = draw(f"features{width}")
        x = frames(rng, width, scale=3)
        w = {n: rng.normal(size=width).astype(np.float32) for n in ("gain", "offset")}
        ones = {n: rng.normal(size=1).astype(np.float32) for n in ("gain", "offset")}
        for outputs in (1, 9, 40):
            kernel = rng.normal(size=(width, outputs)).astype(np.float32)
            bias = rng.normal(size=outputs).astype(np.float32)
            yield One("dense", [x], {}, {"kernel": kernel, "bias": bias} if outputs > 1 else {"kernel": kernel})
        for some in ({}, w, ones, {"gain": w["gain"]}, {"offset": w["offset"]}):
            name = f" {len(some)}x{0 if not some else len(next(iter(some.values())))}{''.join(some)[:1]}"
            yield One("affine", [x], {}, some, name=name)
            if width > 1:
                yield One("layer_normalization", [x + 20], {"epsilon": 1e-5}, some, name=name)
        for gain in ({}, {"gain": w["gain"]}, {"gain": ones["gain"]}):
            yield One("rms_normalization", [x], {}, gain, name=f" {len(gain) and len(gain['gain'])}")
        yield One("unit_normalization", [x])
        for slope in (w["gain"], ones["gain"]):
            yield One("prelu", [x], {}, {"slope": slope}, name=f" {len(slope)}")
        yield One("softmax", [x])
        yield One("log_softmax", [3 * x])
        yield One("not_equal", [np.where(rng.random(x.shape) < 0.9 / width, x, np.float32(0))])
        yield One("zero_masked", [hidden(x, mask := mask_of(rng)), mask])
        yield One("upsample", [x], {"times": 3}) if width < 100 else One("softmax", [x * 20], name=" large")
        for axis in ("mean", "sum", "max", "min"):
            yield One("reduce", [x], {"function": axis, "axis": 2, "keepdims": True})
    rng = draw("ids")
    table = rng.normal(size=(7, 5)).astype(np.float32)
    yield One("embedding", [rng.integers(0, 7, (BATCH, STEPS, 1))], {}, {"table": table})
    yield One("not_equal", [rng.integers(0, 3, (BATCH, STEPS, 1))], {"value": 2.0})
    for kind in ("all", "any"):
        yield One(kind, [mask_of(rng) for _ in range(3)])


def activations() -> Iterator[One]:
    rng = draw("activations")
    x = np.concatenate([frames(rng, 17, scale=s) for s in (0.01, 1, 6)], axis=-1)
    special: dict[str, list[dict[str, Any]]] = {
        "relu": [{}, {"slope": 0.3, "threshold": 0.5, "most": 2.0}],
        "leaky_relu": [{"slope": 0.2}, {"slope": -0.5}],
        "elu": [{}, {"alpha": 1.7}],
        "celu": [{}, {"alpha": 0.4}],
        "gelu": [{}, {"approximate": True}],
        "soft_shrink": [{"threshold": 0.5}],
        "hard_shrink": [{"threshold": 0.5}],
        "threshold": [{"threshold": 0.1, "least": -3.0}],
        "squareplus": [{"alpha": 4.0}, {"alpha": 0.0}],
    }
    for function in FUNCTIONS:
        for options in special.get(function, [{}]):
            given = np.abs(x) if function == "sqrt" else x
            yield One("activation", [given], {"function": function, **options})


def merges() -> Iterator[One]:
    for width in WIDTHS:
        rng = draw(f"merges{width}")
        a, b, c, one, still = (frames(rng, w, t) for w, t in ((width, STEPS),) * 3 + ((1, STEPS), (width, 1)))
        for kind in ("add", "subtract", "multiply", "divide", "average", "maximum", "minimum"):
            yield One(kind, [a, b, c])
            if width > 1:
                yield One(kind, [a, one, b])
                yield One(kind, [a, still], context=1, name=" still")
        yield One("concatenate", [a, one, b], {"axis": 2})
        if width > 1:
            yield One("slice", [a], {"axis": 2, "start": 1, "stop": -1} if width > 2 else {"axis": 2})
            yield One("slice", [a], {"axis": -1, "start": -width, "step": 2})
            yield One("slice", [a], {"axis": 1, "start": -5, "stop": 100, "step": 2}, streams=False)
        yield One("take", [a], {"axis": 1, "index": 3}, streams=False)
        yield One("take", [a], {"axis": 1, "index": -1})


def windows() -> Iterator[One]:
    for width in (1, 3, 17):
        rng = draw(f"windows{width}")
        x = frames(rng, width)
        for size, strides, dilation, padding in (
            (3, 1, 1, "causal"), (1, 1, 1, "valid"), (3, 2, 1, "causal"), (2, 1, 4, "causal"), (4, 3, 2, "causal"),
            (3, 3, 1, "valid"), (2, 4, 1, "same"), (3, 1, 1, "valid"), (3, 2, 1, "same"), (5, 1, 3, "same"),
        ):  # fmt: skip
            streams = padding == "causal" or (size - 1) * dilation < strides
            for groups, filters in {(1, 5), (1, 40), (width, width), (width, 2 * width)}:
                kernel = rng.normal(size=(size, width // groups, filters)).astype(np.float32)
                bias = {"bias": rng.normal(size=filters).astype(np.float32)} if filters != 40 else {}
                options = {"strides": strides, "dilation": dilation, "padding": padding, "groups": groups}
                name = f" {size}x{filters}"
                yield One("conv1d", [x], options, {"kernel": kernel, **bias}, streams, strides, name=name)
            for kind in ("max_pool1d", "average_pool1d"):
                if dilation == 1:
                    options = {"size": size, "strides": strides, "padding": padding}
                    yield One(kind, [x - 2], options, {}, streams, strides)


def reductions() -> Iterator[One]:
    rng = draw("reductions")
    for width in (1, 17):
        x, mask = frames(rng, width), mask_of(rng)
        mask[1, 4] = True
        for function in ("mean", "sum", "max", "min"):
            for given in ([x], [hidden(x, mask), mask]):
                yield One("reduce", [*given], {"function": function, "keepdims": True}, streams=False)
    yield One("matmul", [frames(rng, 7), frames(rng, 18, 7)], streams=False)


def attentions() -> Iterator[One]:
    for width, value_width, heads in ((4, 6, 2), (17, 17, 1), (24, 40, 4)):
        rng = draw(f"attentions{width}")
        query, value, key = frames(rng, width), frames(rng, value_width, 9), frames(rng, width, 9)
        mask, query_mask = mask_of(rng, 9), mask_of(rng)
        mask[1, 2] = True
        options = {"heads": heads, "scale": width**-0.5}
        yield One("attention", [query, value, key], options, context=1, outputs=2)
        yield One(
            "attention", [query, hidden(value, mask), hidden(key, mask), None, mask], options, context=1, outputs=2
        )
        yield One("attention", [query, value, key, query_mask], options, streams=False)
        yield One("attention", [query, frames(rng, width), None], options | {"causal": True}, streams=False, outputs=2)
        scale = {"scale": rng.normal(size=width).astype(np.float32)}
        for weights in ({}, scale):
            yield One("additive_attention", [query, value, key, None, mask], {}, weights, context=1, outputs=2)


def layers() -> Iterator[One]:
    for name, cell in RECURRENT.items():
        for features_, units in ((1, 3), (7, 17), (5, 130)):
            rng = draw(f"{name}{units}")
            gates = len(cell.row.gates)
            bias = (2,) if facts(cell).recurrent_bias else ()
            shapes = {
                "kernel": (features_, gates * units),
                "recurrent_kernel": (units, gates * units),
                "bias": (*bias, gates * units),
            }
            weights = {n: (rng.normal(size=s) / np.sqrt(s[0])).astype(np.float32) for n, s in shapes.items()}
            x, mask = frames(rng, features_), mask_of(rng)
            for n in cell.row.weights:
                noise = rng.normal(size=units if n.startswith("state") else gates * units) / 4
                weights[n] = (noise if n.endswith("bias") else 1 + noise).astype(np.float32)
            states = [frames(rng, units, 1) for _ in cell.row.states]
            outputs = 1 + len(states)
            sequences = {"return_sequences": True}
            yield One(name, [x], sequences, weights, outputs=outputs)
            yield One(name, [x], {}, weights, outputs=outputs)
            if units == 130:
                continue
            for options in ({}, sequences, sequences | {"zero_output_for_mask": True}):
                yield One(name, [hidden(x, mask), mask], options, weights, outputs=outputs)
            yield One(name, [x, None, *states], sequences, weights, streams=False, outputs=outputs)
            yield One(name, [hidden(x, mask), mask, *states], sequences, weights, streams=False, outputs=outputs)
            backwards = sequences | {"go_backwards": True}
            yield One(name, [x, mask], backwards, weights, streams=False, outputs=outputs)
            others = sequences | {"activation": "relu", "recurrent_activation": "hard_sigmoid"}
            others |= {"epsilon": 0.02} if cell.row.weights else {}
            yield One(name, [x], others, {n: w for n, w in weights.items() if n != "bias"}, outputs=1)


FAMILIES = (features, activations, merges, windows, reductions, attentions, layers)
EVERY = [one for family in FAMILIES for one in family()]
for _number, _one in enumerate(EVERY):
    _one.name += f" {_number}"
STREAMING = [one for one in EVERY if one.streams]


def rows_of(given: tuple[Array, ...], rows: Any) -> tuple[Array, ...]:
    return tuple(np.ascontiguousarray(a[rows]) for a in given)


def same(found: Array, expected: Array) -> bool:
    return found.shape == expected.shape and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("one", EVERY, ids=str)
def test_an_operation_computes_what_is_specified(one: One, isa: str) -> None:
    with instruction_set(isa):
        found = one.program().run(one.given, None, None)
    expected = one.expected()
    for i, (got, want) in enumerate(zip(found, expected, strict=False)):
        if want.ndim == 4:  # weights of attention, (B, heads, steps, steps of the value)
            want = np.moveaxis(want, 1, 2)  # noqa: PLW2901  # as frames
        assert got.size == want.size
        got_ = got.reshape(want.shape)
        if want.dtype.kind == "b":
            np.testing.assert_array_equal(got_, want)
            continue
        np.testing.assert_array_equal(np.isnan(got_), np.isnan(want))
        np.testing.assert_array_equal(np.isinf(got_), np.isinf(want))
        there = np.isfinite(want)
        largest = np.abs(want[there]).max(initial=1e-30)
        error = np.abs(got_[there] - want[there]).max(initial=0) / largest
        allowed = 3e-6 * (NORMALISED if one.kind.startswith("layer_norm_") else 1)
        assert error <= allowed, f"output {i} errs by {error:.2g} of the largest, {largest:.3g}"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("one", STREAMING, ids=str)
def test_chunks_of_any_size_give_the_bits_of_the_whole(one: One, isa: str) -> None:
    with instruction_set(isa):
        program = one.program()
        assert program.block % one.block == 0
        *_, whole = program.run(one.given, None, None)[: 2 if "attention" in one.kind else 1]
        n = STEPS // one.block
        for counts in ([1] * n, [n], [2, n - 2] if n > 2 else [n], [n - 1, 1] if n > 1 else [n]):
            states = one.states(program, BATCH)
            parts = one.stream(program, [c * one.block for c in counts], states)
            if len({p.shape[1] for p in parts}) == 1 and whole.shape[1] == 1 and len(parts) > 1:
                assert same(parts[-1], whole)  # the last step alone
            else:
                assert same(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("one", EVERY, ids=str)
def test_a_row_alone_has_the_bits_that_it_has_in_a_batch(one: One) -> None:
    program = one.program()
    whole = program.run(one.given, None, None)
    order = np.array([3, 0, 4])
    for got, want in zip(program.run(rows_of(one.given, order), None, None), whole, strict=True):
        assert same(got, want[order])
    for row in range(BATCH):
        for got, want in zip(program.run(rows_of(one.given, [row]), None, None), whole, strict=True):
            assert same(got, want[[row]])


@pytest.mark.parametrize("one", EVERY, ids=str)
def test_a_nan_in_a_row_reaches_no_other(one: One) -> None:
    program = one.program()
    spoilt = tuple(a.copy() for a in one.given)
    for array in spoilt:
        if array.dtype == np.float32:
            array[2] = np.nan
    others = [0, 1, 3, 4]
    for got, want in zip(program.run(spoilt, None, None), program.run(one.given, None, None), strict=True):
        assert same(got[others], want[others])


@pytest.mark.parametrize("one", STREAMING, ids=str)
def test_rows_by_index_advance_and_no_other_row_changes(one: One) -> None:
    program, sizes = one.program(), [one.block] * 2 + [2 * one.block]
    capacity, rows = 40, np.array([31, 4, 17, 5, 0])
    states = one.states(program, capacity)
    for state, (_, width) in zip(states, program.states, strict=True):
        state[:] = 7  # also beyond a row's width
        state[rows, :width] = 0
    before = [state.copy() for state in states]
    expected_states = one.states(program, BATCH)
    expected = one.stream(program, sizes, expected_states)
    for got, want in zip(one.stream(program, sizes, states, rows), expected, strict=True):
        assert same(got, want)
    untouched = np.setdiff1d(np.arange(capacity), rows)
    for state, was, compact, (_, width) in zip(states, before, expected_states, program.states, strict=True):
        assert same(state[rows, :width], compact[:, :width])
        assert same(state[untouched], was[untouched])
        assert same(state[:, width:], was[:, width:])


@pytest.mark.parametrize(
    "one",
    [One(one.kind, [np.tile(a, (60, 4 if i < one.context else 1, 1)) if a is not None else None
                    for i, a in enumerate(one.inputs)], one.options, one.weights, outputs=one.outputs, name=one.name)
     for one in EVERY if one.kind in {"dense", "conv1d", "attention", "gru", "layer_normalization"}
     and "17" in str(one) and (one.streams or one.kind == "conv1d")],
    ids=str,
)  # fmt: skip
def test_threads_change_no_bit(one: One) -> None:
    program, found = one.program(), []
    for n in (1, 2, 3):
        with threads(n):
            found.append(program.run(one.given, None, None)[0])
    assert same(found[1], found[0])
    assert same(found[2], found[0])


def digits() -> tuple[_native.Program, list[Any]]:
    """A causal convolution, a normalisation, a masked GRU, a head: and the operations."""
    rng = draw("digits")

    def w(*shape: int) -> Array:
        return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)

    conv = {"kernel": w(3, 6, 20), "bias": w(20)}
    gru = {"kernel": w(20, 72), "recurrent_kernel": w(24, 72), "bias": w(2, 72)}
    operations = [
        ("conv1d", (0,), (2,), {"padding": "causal"}, conv),
        ("activation", (2,), (3,), {"function": "gelu"}, {}),
        ("layer_normalization", (3,), (4,), {}, {"gain": w(20)}),
        ("gru", (4, 1), (5,), {"return_sequences": True}, gru),
        ("constant", (), (6,), {}, {"value": w(1, 24)}),
        ("multiply", (5, 6), (7,), {}, {}),
        ("concatenate", (7, 0), (8,), {"axis": -1}, {}),
        ("dense", (8,), (9,), {}, {"kernel": w(30, 10), "bias": w(10)}),
        ("softmax", (9,), (10,), {}, {}),
        ("last", (10,), (11,), {}, {}),
    ]
    inputs = [(0, 6, "float32"), (1, 1, "bool")]
    return _native.Program(operations, inputs, [10, 11]), operations


def test_a_program_of_many_operations_streams_in_the_bits_of_the_whole() -> None:
    program, _ = digits()
    rng = draw("given")
    x, mask = frames(rng, 6), mask_of(rng)
    whole, last = program.run((x, mask), None, None)
    assert same(whole[:, -1:], last)
    assert [name for name, _ in program.states] == ["0/tail", "3/h", "3/seen"]
    states = tuple(np.zeros((BATCH, -(-width // 16) * 16), np.float32) for _, width in program.states)
    for t in range(STEPS):
        step = program.run(tuple(np.ascontiguousarray(a[:, t : t + 1]) for a in (x, mask)), states, None)
        assert same(step[0], whole[:, t : t + 1])
        assert same(step[1], step[0])


def test_a_masked_step_before_the_first_valid_one_gives_zeros_and_later_the_last_output() -> None:
    rng = draw("seen")
    weights = {"kernel": rng.normal(size=(2, 9)), "recurrent_kernel": rng.normal(size=(3, 9))}
    weights = {name: a.astype(np.float32) for name, a in weights.items()}
    options = {"return_sequences": True}
    program = _native.Program([("gru", (0, 1), (2,), options, weights)], [(0, 2, "float32"), (1, 1, "bool")], [2])
    for sizes in ([1, 1, 1, 1], [2, 2], [4]):
        states = tuple(np.zeros((1, 16), np.float32) for _ in program.states)
        states[0][0, :3] = start = np.array([0.5, -0.25, 0.1], np.float32)
        x, mask = rng.normal(size=(1, 4, 2)).astype(np.float32), np.array([0, 1, 0, 0], bool).reshape(1, 4, 1)
        found, at = [], 0
        for n in sizes:
            found.append(program.run((x[:, at : at + n].copy(), mask[:, at : at + n].copy()), states, None)[0])
            at += n
        y = np.concatenate(found, axis=1)[0]
        assert not y[0].any()
        assert not np.allclose(y[1], start)
        assert same(y[2], y[1])
        assert same(y[3], y[1])


def test_threads_may_share_a_program() -> None:
    program, _ = digits()
    rng = draw("shared")
    given = [(frames(rng, 6, steps), mask_of(rng, steps)) for steps in (3, 40, 7, 40, 1, 200)]
    expected = [program.run(each, None, None)[0] for each in given]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for got, want in zip(pool.map(lambda each: program.run(each, None, None)[0], given), expected, strict=True):
                assert same(got, want)


@pytest.mark.skipif(len(ISAS) < 2, reason="this CPU has one instruction set")
def test_a_program_follows_a_change_of_the_instruction_set() -> None:
    program, _ = digits()
    rng = draw("changed")
    given = frames(rng, 6), mask_of(rng)
    found = []
    for isa in (ISAS[0], ISAS[1], ISAS[0]):
        with instruction_set(isa):
            assert same(program.run(given, None, None)[0], digits()[0].run(given, None, None)[0])
            found.append(program.run(given, None, None)[0])
    assert same(found[2], found[0])


def test_calls_of_many_sizes_in_turn_change_no_bit() -> None:
    program, _ = digits()
    rng = draw("sizes")
    x, mask = frames(rng, 6, 64), mask_of(rng, 64)
    whole = program.run((x, mask), None, None)[0]
    for steps in (1, 64, 2, 33, 1, 5, 64, 7, 8):
        part = tuple(np.ascontiguousarray(a[:, :steps]) for a in (x, mask))
        assert same(program.run(part, None, None)[0], whole[:, :steps])


def test_an_id_out_of_range_is_named_and_no_state_advances() -> None:
    rng = draw("ids")
    weights = {"kernel": rng.normal(size=(4, 9)), "recurrent_kernel": rng.normal(size=(3, 9))}
    weights = {name: a.astype(np.float32) for name, a in weights.items()}
    table = rng.normal(size=(10, 2)).astype(np.float32)
    operations = [
        ("dense", (1,), (2,), {}, {"kernel": np.ones((3, 4), np.float32)}),
        ("gru", (2,), (3,), {}, weights),
        ("take", (0,), (4,), {"axis": 2, "index": 1}, {}),
        ("embedding", (4,), (5,), {}, {"table": table}),
    ]
    program = _native.Program(operations, [(0, 2, "int64"), (1, 3, "float32")], [3, 5])
    ids, x = rng.integers(0, 10, (2, 3, 2)), rng.normal(size=(2, 3, 3)).astype(np.float32)
    ids[:, :, 0] = 99  # not looked at
    states = (np.zeros((2, 16), np.float32),)
    for wrong in (10, -1, 2**40):
        spoilt = ids.copy()
        spoilt[1, 2, 1] = wrong
        with pytest.raises(ValueError, match=rf"operation 3 \(embedding\): id {wrong} in row 1, step 2 .*0 to 9"):
            program.run((spoilt, x), states, None)
        assert not states[0].any()
    assert same(program.run((ids, x), states, None)[1], table[ids[:, :, 1]])
    assert states[0].any()


def test_no_rows_and_no_steps_are_no_error() -> None:
    program, _ = digits()
    x, mask = np.zeros((0, 4, 6), np.float32), np.ones((0, 4, 1), bool)
    assert [a.shape for a in program.run((x, mask), None, None)] == [(0, 4, 10), (0, 1, 10)]
    one = next(one for one in EVERY if one.kind == "gru" and one.options.get("return_sequences"))
    empty = np.zeros((3, 0, one.given[0].shape[-1]), np.float32)
    assert one.program().run((empty,), None, None)[0].shape[:2] == (3, 0)


X = [(0, 3, "float32")]
FILTERS = {"kernel": np.ones((2, 3, 4), np.float32)}
W = np.ones((3, 4), np.float32)
GRU = {"kernel": np.ones((3, 12), np.float32), "recurrent_kernel": np.ones((4, 12), np.float32)}


@pytest.mark.parametrize(
    ("operations", "outputs", "message"),
    [
        ([("densely", (0,), (1,), {}, {})], [1], r"operation 0 is 'densely', which there is none of"),
        ([("dense", (5,), (1,), {}, {"kernel": W})], [1], r"input 0 is value 5, which nothing before it makes"),
        ([("dense", (0,), (0,), {}, {"kernel": W})], [0], r"output 0 is value 0, which there is already"),
        ([("dense", (0,), (1,), {}, {})], [1], r"operation 0 \(dense\): weight kernel is missing"),
        ([("dense", (0,), (1,), {}, {"kernel": W.T.copy()})], [1], r"has the shape \(4, 3\)\. Expected \(3, any\)"),
        ([("dense", (0,), (1,), {"size": 3}, {"kernel": W})], [1], r"has no option size"),
        ([("dense", (0,), (1,), {}, {"kernel": W, "gain": W})], [1], r"has no weight gain"),
        ([("dense", (0,), (1,), {}, {"kernel": W})], [9], r"output 0 is value 9"),
        ([("activation", (0,), (1,), {"function": "tan"}, {})], [1], r"function is tan\. Expected one of linear"),
        ([("zero_masked", (0, 0), (1,), {}, {})], [1], r"input 1 is of float32\. Expected bool"),
        ([("conv1d", (0,), (1,), {"strides": 0}, FILTERS)], [1], r"strides is 0"),
        ([("conv1d", (0,), (1,), {}, {"kernel": np.ones((2, 2, 4), np.float32)})], [1], r"\(any, 3, any\)"),
        ([("gru", (0,), (1,), {}, GRU | {"bias": np.ones(12, np.float32)})], [1], r"bias has the shape \(12\)"),
        ([("take", (0,), (1,), {"axis": 2, "index": 3}, {})], [1], r"takes feature 3 of 3"),
        ([("concatenate", (0, 0), (1,), {"axis": 1}, {})], [1], r"option axis is that of the steps"),
        ([("max_pool1d", (0,), (1,), {"size": 2**31 - 1}, {})], [1], r"its windows are too long"),
        ([("conv1d", (0,), (1,), {"strides": 2**31 - 1}, FILTERS)], [1], r"too long"),
        ([("conv1d", (0,), (1,), {"strides": np.nan}, FILTERS)], [1], r"strides is nan"),
        ([("upsample", (0,), (1,), {"times": 2**31 - 1}, {}), ("upsample", (1,), (2,), {}, {})], [2], r"too many"),
        ([("attention", (0, 0), (1,), {"heads": 2}, {})], [1], r"Expected multiples of heads, 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_program_is_said(operations: Any, outputs: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _native.Program(operations, X, outputs)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([("gru", (0,), (1,), {"go_backwards": True}, GRU)], r"\(gru\): does not stream: it reads from the last"),
        ([("reduce", (0,), (1,), {}, {})], r"does not stream: it needs all steps"),
        ([("conv1d", (0,), (1,), {}, FILTERS)], r"look ahead: pad causally"),
        ([("max_pool1d", (0,), (1,), {"size": 2, "strides": 2}, {})], r"takes blocks of 2 steps\. Received 5"),
        ([("take", (0,), (1,), {"axis": 1, "index": 0}, {})], r"takes a step of a whole"),
        ([("attention", (0, 0), (1,), {"causal": True}, {})], r"looks back at all steps"),
    ],
)
def test_what_does_not_stream_says_why(operations: Any, message: str) -> None:
    program = _native.Program(operations, X, [1])
    x = np.zeros((1, 5, 3), np.float32)
    program.run((x,), None, None)
    with pytest.raises(ValueError, match=message):
        program.run((x,), tuple(np.zeros((1, 16), np.float32) for _ in program.states), None)


def test_blocks_multiply() -> None:
    pool = {"size": 2, "strides": 2}
    kernel = {"kernel": np.ones((3, 3, 3), np.float32)}
    operations = [
        ("conv1d", (0,), (1,), {"padding": "causal", "strides": 3}, kernel),
        ("max_pool1d", (1,), (2,), pool, {}),
        ("upsample", (2,), (3,), {"times": 3}, {}),
    ]
    assert _native.Program(operations, X, [3]).block == 6


@pytest.mark.parametrize(
    ("inputs", "states", "rows", "error", "message"),
    [
        ((np.zeros((1, 1, 3)),), ..., None, TypeError, r"input 0 is no C-contiguous array .* of float32"),
        ((np.zeros((1, 3), np.float32),), ..., None, TypeError, r"input 0"),
        ((), ..., None, TypeError, r"tuple of 1 inputs"),
        (
            (np.zeros((1, 1, 4), np.float32),),
            ...,
            None,
            ValueError,
            r"input 0 has 1 steps of 4 numbers\. Expected .* 3",
        ),
        (..., (), None, TypeError, r"tuple of 1 states"),
        (..., (np.zeros((1, 3), np.float32),), None, ValueError, r"Expected 4 at least"),
        (..., (np.zeros((1, 16)),), None, TypeError, r"state 0 is no C-contiguous, writeable"),
        (..., (np.zeros((0, 16), np.float32),), None, ValueError, r"states have 0 rows\. Expected 1 or more"),
        (..., ..., [0], TypeError, r"rows are no C-contiguous array"),
        (..., ..., np.array([8]), ValueError, r"out of range or named twice"),
        (..., ..., np.array([-1]), ValueError, r"out of range or named twice"),
        (..., ..., np.array([0, 1]), ValueError, r"not as many as those of the inputs"),
        (..., None, np.array([0]), TypeError, r"rows are given without states"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(
    inputs: Any, states: Any, rows: Any, error: type[Exception], message: str
) -> None:
    program = _native.Program([("gru", (0,), (1,), {}, GRU)], X, [1])
    given = (np.zeros((1, 1, 3), np.float32),) if inputs is ... else inputs
    with pytest.raises(error, match=message):
        program.run(given, (np.zeros((8, 16), np.float32),) if states is ... else states, rows)


def test_a_row_named_twice_among_many_is_refused() -> None:
    program = _native.Program([("gru", (0,), (1,), {}, GRU)], X, [1])
    rows = np.arange(30)
    rows[29] = 3
    with pytest.raises(ValueError, match="named twice"):
        program.run((np.zeros((30, 1, 3), np.float32),), (np.zeros((64, 16), np.float32),), rows)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("function", ["exponential", "softplus", "log_sigmoid", "gelu", "mish", "elu", "silu"])
def test_functions_err_by_less_than_stated_over_their_range_and_keep_nan(function: str, isa: str) -> None:
    x = np.concatenate([np.linspace(-80, 80, 40001), [0.0, -0.0, np.nan]]).astype(np.float32).reshape(1, 1, -1)
    one = One("activation", [x], {"function": function})
    with instruction_set(isa):
        got = one.program().run((x,), None, None)[0]
    (want,) = one.expected()
    assert np.isnan(got[..., -1])
    size = np.abs(want[..., :-1])
    error = np.abs(got - want)[..., :-1]
    assert (error / np.maximum(size, 1 if function != "exponential" else 0)).max() < 1e-6


@pytest.mark.parametrize("isa", ISAS)
def test_the_exponential_reaches_its_limits(isa: str) -> None:
    x = np.array([-np.inf, -1e30, -88, 89, 1e30, np.inf, 88.7, -87], np.float32).reshape(1, 1, -1)
    with instruction_set(isa):
        got = One("activation", [x], {"function": "exponential"}).program().run((x,), None, None)[0][0, 0]
    assert got[:6].tolist() == [0, 0, 0, np.inf, np.inf, np.inf]
    np.testing.assert_allclose(got[6], np.exp(np.float64(x[0, 0, 6])), rtol=1e-6)
    assert got[7] <= 2e-38
