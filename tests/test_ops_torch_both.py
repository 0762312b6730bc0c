# SPDX-License-Identifier: Apache-2.0
"""Both directions as one torch operation: either layout, torch's programs, what is refused, the kernels in Python.

That values, gradients and second derivatives are right, test_ops_bidirectional.py says, on every backend.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine_case import Case
from gatewise import native
from gatewise.cells import Cell
from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="the operations are torch's: install the extra `torch`")

from gatewise.ops import torch as engine  # noqa: E402  # after the skip
from ops_case import direction  # noqa: E402
from torch_case import INPUTS, OPTIONS, WEIGHTS, in_torch_layout, layer, tensors  # noqa: E402

OWN = ("initial_state", *WEIGHTS)
REFUSALS = (RuntimeError, TypeError, ValueError)  # those of the kernels in C++, and in Python
FULL = Case(3, 2, 2, 5, mask="holes", input_dropout_masks=1, recurrent_dropout=True)
BARE = Case(3, 2, 2, 5, cell=Cell.GRU_RESET_BEFORE, use_bias=False, initial_state=False, return_sequences=False)
LAYOUTS = pytest.mark.parametrize("torch_layout", [False, True], ids=["keras", "torch"])
Pair = tuple[dict[str, Any], dict[str, Any]]


def pair(case: Case, *, torch_layout: bool = False) -> Pair:
    """What each direction is given, by name; x and the mask are the same tensors."""
    other = dataclasses.replace(case, go_backwards=not case.go_backwards, seed=case.seed + 1)
    first, second = (in_torch_layout(c, tensors(c)) if torch_layout else tensors(c) for c in (case, other))
    return first, second | {"x": first["x"], "mask": first["mask"]}


def joined(case: Case, values: Pair) -> Any:
    """Outputs and both states, of one operation."""
    outputs, states = engine.rnn(
        values[0]["x"],
        [direction(v) for v in values],
        values[0]["mask"],
        torch_layout="torch_layout" in values[0],
        **{name: getattr(case, name) for name in OPTIONS},
    )
    return outputs, *(state for of_each in states for state in of_each)


def one_by_one(case: Case, values: Pair) -> Any:
    """The same, of two operations."""
    other = dataclasses.replace(case, go_backwards=not case.go_backwards)
    (first, first_state), (second, second_state) = layer(case, values[0]), layer(other, values[1])
    return torch.cat((first, second.flip(1)), 2), first_state, second_state


def leaves(values: Pair) -> dict[str, Any]:
    """What gradients are taken of, by name."""
    named = {"x": values[0]["x"]} | {f"{name}[{i}]": v.get(name) for i, v in enumerate(values) for name in OWN}
    return {name: value for name, value in named.items() if value is not None}


def gradients(results: Any, values: Pair) -> dict[str, Any]:
    d_outputs = torch.cat((values[0]["d_outputs"], values[1]["d_outputs"].flip(1)), 2)
    given = [d_outputs, *(v["d_state"] for v in values)]
    found = torch.autograd.grad(results, [*leaves(values).values()], given, create_graph=True)
    return dict(zip(leaves(values), found, strict=True))


@LAYOUTS
@pytest.mark.parametrize("case", [FULL, BARE, Case(20, 9, 35, 19, mask="right", go_backwards=True)], ids=str)
def test_the_bits_in_either_layout_are_those_of_one_direction_after_the_other(case: Case, torch_layout: bool) -> None:
    values = pair(case, torch_layout=torch_layout)
    before = native.calls()
    found = joined(case, values)
    d_found = gradients(found, values)
    assert native.calls() == (before.forward + 2, before.backward + 2)
    expected = one_by_one(case, values)
    assert all(torch.equal(value, wanted) for value, wanted in zip(found, expected, strict=True))
    for name, wanted in gradients(expected, values).items():
        assert torch.equal(d_found[name], wanted), name


@LAYOUTS
@pytest.mark.parametrize("case", [dataclasses.replace(FULL, mask="none"), BARE], ids=["full", "bare"])
def test_second_and_third_derivatives_are_those_of_both_layers(case: Case, torch_layout: bool) -> None:
    values = pair(case, torch_layout=torch_layout)

    def again(results: Any) -> list[Any]:
        first = gradients(results, values)
        squares = sum(d.square().sum() for d in first.values())
        second = torch.autograd.grad(squares, [*leaves(values).values()], create_graph=True)
        (third,) = torch.autograd.grad(sum(d.square().sum() for d in second), values[1]["recurrent_kernel"])
        return [*second, third]

    found, expected = again(joined(case, values)), again(one_by_one(case, values))
    for value, wanted in zip(found, expected, strict=True):
        size = max(1.0, float(wanted.detach().abs().max()))
        assert value.any()
        assert_close("a derivative", value.detach() / size, wanted.detach() / size, 4 * tolerance(7, 4, 3))


def test_one_result_may_have_no_gradient_and_inputs_may_need_none() -> None:
    values = pair(FULL)
    for v in values:
        for name in INPUTS:
            v[name].requires_grad_(name == "kernel")
    kernels = [v["kernel"] for v in values]
    for i in range(3):
        found, expected = (
            torch.autograd.grad(run(FULL, values)[i].sum(), kernels, allow_unused=True) for run in (joined, one_by_one)
        )
        for value, wanted in zip(found, expected, strict=True):
            assert torch.equal(value, torch.zeros_like(value) if wanted is None else wanted)


def test_nothing_is_saved_where_no_gradient_can_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.gradients.Layer, "apply", lambda *_inputs: pytest.fail("something is saved"))
    with torch.no_grad():
        assert not any(value.requires_grad for value in joined(FULL, pair(FULL)))


# --- The programs that torch makes ---


def arguments(case: Case, *, torch_layout: bool) -> tuple[list[Any], dict[str, Any]]:
    """The inputs and options of the operations."""
    values = pair(case, torch_layout=torch_layout)
    options = {name: getattr(case, name) for name in OPTIONS}
    options |= {"activation": 0, "recurrent_activation": 1, "recompute": False, "torch_layout": torch_layout}
    options |= {"zoneout_h": 0, "zoneout_c": 0}
    inputs = [values[0]["x"], values[0]["mask"], None, *(value for v in values for value in direction(v))]
    return inputs, {name: int(value) for name, value in options.items()}


# Each check of an operation with so many inputs takes seconds.
@pytest.mark.parametrize(("case", "torch_layout"), [(FULL, True), (BARE, False)], ids=["full", "bare"])
def test_the_operations_pass_opcheck(case: Case, torch_layout: bool) -> None:
    inputs, options = arguments(case, torch_layout=torch_layout)
    operations = torch.ops.gatewise
    torch.library.opcheck(operations.rnn_both.default, inputs, options)
    # Not `test_aot_dispatch_dynamic`: it compares what is saved, of which the engine does not fill every element.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(operations.rnn_both_train.default, inputs, options, test_utils=checks)
    with torch.no_grad():
        outputs, *states, workspace = operations.rnn_both_train.default(*inputs, **options)
    d_outputs = torch.ones_like(outputs).requires_grad_() if case is FULL else None
    given = (workspace, d_outputs, *(torch.ones_like(state).requires_grad_() for state in states))
    torch.library.opcheck(operations.rnn_both_grad.default, (*inputs, *given), options | {"x_gradient": case is FULL})


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method:DeprecationWarning")  # torch's own, in inductor
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_code_is_one_graph_and_gives_the_same_bits_at_every_length(backend: str) -> None:
    def loss(values: Pair) -> Any:
        outputs, first_state, second_state = joined(FULL, values)
        return outputs.square().sum() + first_state.sum() + second_state.square().sum()

    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend=backend)
    for batch, timesteps in ((3, 4), (5, 9)):
        values = pair(dataclasses.replace(FULL, batch=batch, timesteps=timesteps))
        before = native.calls()
        found = torch.autograd.grad(compiled(values), [*leaves(values).values()])
        assert native.calls() == (before.forward + 2, before.backward + 2)
        for gradient, wanted in zip(found, torch.autograd.grad(loss(values), [*leaves(values).values()]), strict=True):
            assert torch.equal(gradient, wanted)
        with torch.no_grad():
            assert torch.allclose(compiled(values), loss(values))


def test_meta_tensors_have_shapes_and_run_nothing() -> None:
    before = native.calls()
    first, second = (
        {name: v.to("meta") if torch.is_tensor(v) else v for name, v in values.items()} for values in pair(BARE)
    )
    outputs, *states = joined(BARE, (first, second))
    assert outputs.is_meta
    assert outputs.shape == (BARE.batch, 1, 2 * BARE.units)
    assert [state.shape for state in states] == [(BARE.batch, BARE.units)] * 2
    assert native.calls() == before


def test_vmap_runs_the_engine_on_each_element_with_gradients() -> None:
    case = dataclasses.replace(FULL, mask="none")
    values, xs = pair(case), torch.randn(6, case.batch, case.timesteps, case.features)
    kernel = values[1]["kernel"]

    def outputs(x: Any) -> Any:
        return joined(case, ({**values[0], "x": x}, values[1]))[0]

    before = native.calls()
    mapped = torch.func.vmap(outputs)(xs)
    assert native.calls().forward == before.forward + 2 * len(xs)
    assert torch.equal(mapped, torch.stack([outputs(x) for x in xs]))
    (found,) = torch.autograd.grad(mapped.square().sum(), kernel)
    (expected,) = torch.autograd.grad(sum(outputs(x).square().sum() for x in xs), kernel)
    torch.testing.assert_close(found, expected)


# --- What is refused ---


@pytest.mark.parametrize(
    ("which", "argument", "shape", "expected"),
    [
        (0, "x", (4, 31), r"x has the wrong (shape|rank). Expected \(batch, timesteps, features\); received \(4, 31\)"),
        (0, "mask", (3, 4), r"mask has the wrong shape. Expected \(batch=3, timesteps=2\); received \(3, 4\)"),
        (0, "kernel", (2, 16), r"first.kernel has the wrong shape. Expected \(features=2, 3 \* units=15\)"),
        (1, "kernel", (3, 15), r"second.kernel has the wrong shape. Expected \(features=2, 3 \* units=15\)"),
        (1, "initial_state", (2, 5), r"second.initial_h has the wrong shape. Expected \(batch=3, units=5\)"),
        (1, "bias", (15,), r"second.bias has the wrong .*Expected \(input and recurrent=2, 3 \* units=15\)"),
        (0, "recurrent_dropout", (1, 3, 5), r"first.recurrent_dropout has the wrong shape. Expected \(gates=3, batch"),
    ],
)
def test_a_wrong_shape_is_refused_and_says_whose(
    which: int, argument: str, shape: tuple[int, ...], expected: str
) -> None:
    values = pair(FULL)
    values[which][argument] = torch.ones(shape, dtype=torch.bool if argument == "mask" else torch.float32)
    with pytest.raises(REFUSALS, match=f"gatewise: {expected}"):
        joined(FULL, values)


def test_directions_of_different_sizes_are_refused() -> None:
    values = pair(FULL)[0], tensors(dataclasses.replace(FULL, units=6))
    with pytest.raises(REFUSALS, match=r"second.initial_h has the wrong shape"):
        joined(FULL, values)


def test_the_gradient_of_one_half_of_the_outputs_alone_is_refused() -> None:
    inputs, options = arguments(FULL, torch_layout=False)
    with torch.no_grad():
        *_, workspace = torch.ops.gatewise.rnn_both_train.default(*inputs, **options)
        half = torch.ones(FULL.batch, FULL.timesteps, FULL.units)
        expected = r"d_outputs has the wrong shape. Expected \(batch=3, timesteps=2, 2 \* units=10\)"
        with pytest.raises(REFUSALS, match=expected):
            torch.ops.gatewise.rnn_both_grad.default(*inputs, workspace, half, *(None,) * 4, **options, x_gradient=True)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"activation is unknown. Expected one of tanh, .*; received 'elu'"):
        joined(dataclasses.replace(FULL, activation="elu"), pair(FULL))


def test_an_engine_that_is_absent_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.operations, "PROBLEM", "It is not there")
    with pytest.raises(RuntimeError, match=r"the engine is not available. It is not there. Install another torch."):
        joined(FULL, pair(FULL))


# --- The kernels in Python ---


def every_result() -> list[dict[str, Any]]:
    """Results and gradients, in either layout, of a few cases."""
    found = []
    for case in (FULL, BARE, Case(20, 9, 35, 19, mask="right", go_backwards=True)):
        for torch_layout in (False, True):
            values = pair(case, torch_layout=torch_layout)
            results = joined(case, values)
            found.append(dict(enumerate(results)) | gradients(results, values))
    return found


def test_where_torch_lacks_its_c_interface_python_kernels_give_the_same_bits(tmp_path: Path) -> None:
    # In a process where the library of the native kernels cannot be opened; what is refused, there too.
    program = f"""
import ctypes, sys, torch, pytest
def refuse(path, *rest):
    raise OSError("no such library: " + path)
ctypes.CDLL = refuse
import gatewise.ops.torch
assert "CPU: registered at gatewise:1" not in torch._C._dispatch_dump("gatewise::rnn_both")
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_ops_torch_both
torch.save(test_ops_torch_both.every_result(), {str(tmp_path / "found")!r})
sys.exit(pytest.main([{__file__!r}, "-q", "-x", "-k", "refused or no_gradient", "-p", "no:cacheprovider"]))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for found, expected in zip(torch.load(tmp_path / "found"), every_result(), strict=True):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
