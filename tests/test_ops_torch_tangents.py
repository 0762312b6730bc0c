# SPDX-License-Identifier: Apache-2.0
"""Forward-mode derivatives and transforms of torch.func, for which the operations have no rule: never a wrong number.

What the engine cannot do runs as a composition of torch's operations, and a warning says so once.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engine_case import Case
from gatewise import fallback, native, reference
from gatewise.cells import Cell
from gatewise.fallback import FallbackWarning
from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="the operations are torch's: install the extra `torch`")

from torch.autograd import forward_ad  # noqa: E402  # after the skip

from gatewise.ops import torch as engine  # noqa: E402
from ops_case import direction  # noqa: E402
from torch_case import INPUTS, OPTIONS, OTHERS, in_torch_layout, layer, tensors  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FULL = Case(3, 4, 2, 5, mask="holes", go_backwards=True, input_dropout_masks=3, recurrent_dropout=True)
BARE = Case(3, 4, 2, 5, cell=Cell.GRU_RESET_BEFORE, use_bias=False, initial_state=False, return_sequences=False)
CASES = pytest.mark.parametrize("case", [FULL, BARE], ids=["full", "bare"])
WARNED = pytest.mark.filterwarnings("ignore::gatewise.fallback.FallbackWarning")
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, in forward mode
STEP = 1e-5  # in float64 a central difference errs by about its square


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Forgets which reasons were warned of, and what was compiled."""
    seen = set(fallback._warned)
    fallback._warned.clear()
    torch.compiler.reset()
    yield
    torch.compiler.reset()
    fallback._warned.clear()
    fallback._warned.update(seen)


def directions(case: Case) -> dict[str, Any]:
    """A tangent for every input that a case has, none where x is masked."""
    rng = np.random.default_rng(7)
    found = {name: rng.normal(size=case.arrays[name].shape) for name in INPUTS if case.arrays[name] is not None}
    if case.arrays["mask"] is not None:
        found["x"][~case.arrays["mask"]] = 0
    return found


def moved(case: Case, step: float) -> dict[str, Any]:
    """The arrays of a case, in float64, a step along their tangents."""
    tangents = directions(case)
    return {n: a if a is None or n not in tangents else a + step * tangents[n] for n, a in case.arrays.items()}


def specified(case: Case, a: dict[str, Any]) -> Any:
    """The specification's forward pass on these arrays."""
    options = {name: getattr(case, name) for name in OPTIONS if name != "return_sequences"}
    given = {name: a[name] for name in ("initial_state", *OTHERS)}
    return reference.forward(a["x"], a["kernel"], a["recurrent_kernel"], a["bias"], **given, **options)


def slopes(case: Case) -> list[Any]:
    """How outputs and state of the specification change along the tangents."""
    (up, up_state), (down, down_state) = (results(case, moved(case, step)) for step in (STEP, -STEP))
    return [(up - down) / (2 * STEP), (up_state - down_state) / (2 * STEP)]


def results(case: Case, a: dict[str, Any]) -> tuple[Any, Any]:
    forward = specified(case, a)
    return forward.outputs if case.return_sequences else forward.last_output[:, None], forward.state


def way_back(case: Case, d_outputs: Any, d_state: Any) -> Any:
    """The specification's gradients."""
    forward = specified(case, case.arrays)
    every = np.zeros(forward.outputs.shape)
    every[:, slice(None) if case.return_sequences else slice(-1, None)] = d_outputs
    return reference.backward(forward, every, d_state)


def duals(case: Case, values: dict[str, Any]) -> dict[str, Any]:
    """Inputs with their tangents."""
    tangents = {name: torch.from_numpy(d).float() for name, d in directions(case).items()}
    return values | {n: forward_ad.make_dual(values[n].detach(), d) for n, d in tangents.items()}


def tangents_of(values: Any) -> list[Any]:
    return [forward_ad.unpack_dual(value).tangent.detach() for value in values]


def assert_slopes(found: list[Any], expected: list[Any], case: Case) -> None:
    for i, (value, slope) in enumerate(zip(found, expected, strict=True)):
        size = max(1.0, float(np.abs(slope).max()))
        assert np.abs(slope).max() > 0.1
        assert_close(f"derivative {i}", value, slope, 4 * tolerance(7, case.timesteps, case.batch) * size)


@WARNED
@pytest.mark.parametrize("gradients", [False, True], ids=["no_grad", "grad"])
@CASES
def test_tangents_of_every_input_lead_to_those_of_the_results(case: Case, gradients: bool) -> None:
    with torch.set_grad_enabled(gradients), forward_ad.dual_level():
        found = tangents_of(layer(case, duals(case, tensors(case))))
    assert_slopes(found, slopes(case), case)


def test_a_warning_says_so_once_and_the_engine_runs_before_and_after() -> None:
    values = tensors(FULL)
    before = native.calls()
    expected = layer(FULL, values)[0]
    with forward_ad.dual_level():
        with pytest.warns(FallbackWarning, match=r"gatewise.ops.torch.rnn: a composition of PyTorch's own operations"):
            found = layer(FULL, values)[0]
        layer(FULL, values)  # a second warning would be an error
    assert native.calls().forward == before.forward + 1
    assert_close("outputs", found.detach(), expected.detach(), tolerance(7, 4))
    assert torch.equal(layer(FULL, values)[0], expected)
    assert native.calls().forward == before.forward + 2


@WARNED
def test_weights_in_pytorch_s_layout_take_tangents_as_those_in_keras_s() -> None:
    case = dataclasses.replace(FULL, go_backwards=False)
    given = tensors(case)
    tangents = {name: torch.from_numpy(d).float() for name, d in directions(case).items()}
    values, moves = in_torch_layout(case, given), in_torch_layout(case, given | tangents)
    names = (*INPUTS, "recurrent_bias")
    with forward_ad.dual_level():
        dual = {n: forward_ad.make_dual(values[n].detach(), moves[n].detach()) for n in names}
        found = tangents_of(layer(case, values | dual))
    assert_slopes(found, slopes(case), case)


def both(case: Case, values: dict[str, Any]) -> Any:
    """Outputs of both directions, which have the same weights."""
    options = {name: getattr(case, name) for name in OPTIONS}
    return engine.rnn(values["x"], [direction(values)] * 2, values["mask"], **options)[0]


@WARNED
def test_both_directions_at_once_take_tangents() -> None:
    other = dataclasses.replace(FULL, go_backwards=not FULL.go_backwards)
    other.arrays.update(FULL.arrays)
    with forward_ad.dual_level():
        (found,) = tangents_of([both(FULL, duals(FULL, tensors(FULL)))])
    halves = [slopes(case)[0] for case in (FULL, other)]
    assert_slopes([found], [np.concatenate((halves[0], halves[1][:, ::-1]), 2)], FULL)


# --- Backwards inside ---


@WARNED
@pytest.mark.parametrize("gradients", [False, True], ids=["once", "to_be_differentiated"])
@CASES
def test_a_gradient_that_has_a_tangent_itself_is_not_taken_for_one_without(case: Case, gradients: bool) -> None:
    values, rng = tensors(case), np.random.default_rng(3)
    names = [name for name in INPUTS if values[name] is not None]
    results = layer(case, values)  # by the engine, outside
    moves = [rng.normal(size=tuple(value.shape)) for value in results]
    given = [values[name] for name in ("d_outputs", "d_state")]
    with forward_ad.dual_level():
        dual = [forward_ad.make_dual(d, torch.from_numpy(m).float()) for d, m in zip(given, moves, strict=True)]
        d_inputs = torch.autograd.grad(results, [values[n] for n in names], dual, create_graph=gradients)
        found = tangents_of(d_inputs)
    # The way back is linear: along a move of what comes in, its result moves by the way back of that move.
    expected = way_back(case, *moves)
    assert_slopes(found, [getattr(expected, name) for name in names], case)
    of_values = way_back(case, case.arrays["d_outputs"], case.arrays["d_state"])
    assert_slopes([d.detach() for d in d_inputs], [getattr(of_values, name) for name in names], case)


# --- torch.func ---


VALUES = {name: None if value is None else value.detach() for name, value in tensors(FULL).items()}


def of_x(x: Any) -> Any:
    """The layer as a function of x alone."""
    return layer(FULL, VALUES | {"x": x})[0]


def of_x_slope() -> Any:
    step, x = directions(FULL)["x"], FULL.arrays["x"]
    up, down = (specified(FULL, FULL.arrays | {"x": x + s * step}).outputs for s in (STEP, -STEP))
    return (up - down) / (2 * STEP)


X = torch.from_numpy(np.nan_to_num(FULL.arrays["x"]))
MOVE = torch.from_numpy(directions(FULL)["x"]).float()
WAYS: dict[str, Callable[[Any], Any]] = {
    "jvp": lambda f: torch.func.jvp(f, (X,), (MOVE,))[1],
    "jacfwd": lambda f: (torch.func.jacfwd(f)(X) * MOVE).sum((3, 4, 5)),
    "jacrev": lambda f: (torch.func.jacrev(f)(X) * MOVE).sum((3, 4, 5)),
    "vmap_of_jvp": lambda f: torch.func.vmap(lambda d: torch.func.jvp(f, (X,), (d,))[1])(MOVE[None])[0],
    "linearize": lambda f: torch.func.linearize(f, X)[1](MOVE),
    "compiled_jvp": lambda f: torch.compile(lambda x: torch.func.jvp(f, (x,), (MOVE,))[1], backend="aot_eager")(X),
}


@WARNED
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")  # that of linearize, always
@pytest.mark.parametrize("way", WAYS)
def test_transforms_of_torch_func_give_the_derivative(way: str) -> None:
    assert_slopes([WAYS[way](of_x).detach()], [of_x_slope()], FULL)


@WARNED
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_torch_func_grad_gives_the_gradient(compiled: bool) -> None:
    gradient = torch.func.grad(lambda x: of_x(x).square().sum())
    found = torch.compile(gradient, backend="aot_eager", fullgraph=True)(X) if compiled else gradient(X)
    assert_slopes([found], [way_back(FULL, 2 * specified(FULL, FULL.arrays).outputs, None).x], FULL)


# --- Programs made before ---


@WARNED
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("outside_first", [False, True], ids=["inside_first", "outside_first"])
def test_compiled_code_runs_the_engine_outside_and_takes_tangents_inside(outside_first: bool, backend: str) -> None:
    compiled = torch.compile(of_x, backend=backend, fullgraph=True)
    if outside_first:
        compiled(X)
    before = native.calls()
    with forward_ad.dual_level():
        (found,) = tangents_of([compiled(forward_ad.make_dual(X, MOVE))])
    assert native.calls() == before
    assert_slopes([found], [of_x_slope()], FULL)
    assert torch.equal(compiled(X), of_x(X))
    assert native.calls().forward == before.forward + 2


class Layer(torch.nn.Module):
    """The layer as a module, which can be exported."""

    def forward(self, x: Any) -> Any:
        return of_x(x)


def test_an_exported_program_that_holds_the_operations_refuses_a_tangent() -> None:
    program = torch.export.export(Layer(), (X,)).module()
    expected = program(X)
    with forward_ad.dual_level():
        assert torch.equal(program(X), expected)
        with pytest.raises(NotImplementedError, match=r"of an exported program .* received one with\. Take them of"):
            program(forward_ad.make_dual(X, MOVE))


# --- What is refused ---


@WARNED
@pytest.mark.parametrize(
    ("argument", "wrong", "expected"),
    [
        ("x", torch.ones(4, 31), r"x has the wrong shape. Expected \(batch, timesteps, features\); received \(4, 31\)"),
        ("initial_state", torch.ones(1, 5), r"initial_h has the wrong shape. Expected \(batch=3, units=5\)"),
        ("bias", torch.ones(15), r"bias has the wrong shape. Expected \(input and recurrent=2, 3 \* units=15\)"),
        ("kernel", torch.ones(2, 15).double(), r"kernel has the wrong type. Expected float32; received float64"),
        ("mask", torch.ones(3, 4), r"mask has the wrong type. Expected bool; received float32"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_the_composition_refuses_what_the_operations_do(argument: str, wrong: Any, expected: str) -> None:
    values = tensors(FULL)
    with forward_ad.dual_level(), pytest.raises((TypeError, ValueError), match=f"gatewise: {expected}"):
        layer(FULL, values | {argument: wrong})
