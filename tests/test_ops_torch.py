# SPDX-License-Identifier: Apache-2.0
"""The engine as torch operations: values, first and second derivatives, any strides, and what is refused."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from cells import CELLS, by_name, nested
from engine_case import ISAS, MASKS, Case, instruction_set, threads
from gatewise import native, reference
from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="the operations are torch's: install the extra `torch`")

from gatewise.ops import torch as engine  # noqa: E402  # after the skip
from torch_case import INPUTS, WEIGHTS, in_torch_layout, layer, run, tensors  # noqa: E402

if TYPE_CHECKING:
    from gatewise.cells import Cell

BOUNDED = ("hard_sigmoid", "tanh", "sigmoid", "sigmoid", "sigmoid")  # a gate's for each candidate's
REFUSALS = (RuntimeError, TypeError, ValueError)  # those of the kernels in C++, and in Python


def assert_as_specified(case: Case) -> None:
    """Compares a case with the specification, and counts the engine's calls."""
    before = native.calls()
    found = run(case)
    assert native.calls() == (before.forward + 1, before.backward + 1)
    expected = case.specified()
    assert found.keys() == expected.keys() - (set() if case.initial_state else {*case.state_names("d_initial_state")})
    for name, value in found.items():
        rows = 1 if name in {"outputs", "d_x"} or "state" in name else case.batch
        allowed = tolerance(case.features + case.units, case.timesteps, rows) * case.grows
        assert_close(f"{case}: {name}", value, expected[name], allowed)


def kernels_are_native() -> bool:
    return "CPU: registered at gatewise:1" in torch._C._dispatch_dump("gatewise::rnn")


def test_the_operations_are_available() -> None:
    assert engine.available() is None
    assert engine.obstacle(torch.zeros(1, 2, 3)) is None
    assert kernels_are_native()
    assert not engine.tracing()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("mask", MASKS)
def test_values_and_gradients_are_as_specified(mask: str, cell: Cell) -> None:
    for there, backwards, sequences, zero in itertools.product((False, True), repeat=4):
        case = Case(
            5,
            6,
            3,
            7,
            cell=cell,
            use_bias=there,
            mask=mask,
            initial_state=not there,
            return_sequences=sequences,
            go_backwards=backwards,
            zero_output_for_mask=zero,
        )
        assert_as_specified(case)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("input_masks", [0, 1, 3])
def test_dropout_and_activations_are_as_specified(input_masks: int, cell: Cell) -> None:
    # Unbounded gates would let the state grow beyond any tolerance.
    for activation, recurrent_activation in zip(native.ACTIVATIONS, BOUNDED, strict=True):
        case = Case(
            4,
            5,
            3,
            6,
            cell=cell,
            mask="holes",
            activation=activation,
            recurrent_activation=recurrent_activation,
            input_dropout_masks=input_masks,
            recurrent_dropout=True,
        )
        assert_as_specified(case)


def test_any_strides_give_the_same_bits_as_specified() -> None:
    case = Case(5, 6, 3, 7, mask="holes", input_dropout_masks=3, recurrent_dropout=True, starts="few", zoneout="kept")
    values = {name: value for name, value in tensors(case).items() if value is not None}
    expected = run(case, values)
    strided = {}
    for name, value in values.items():
        wide = torch.empty((*value.shape, 2), dtype=value.dtype).transpose(0, -2)
        part = wide.transpose(0, -2)[..., 1]
        part.copy_(value.detach())
        assert not part.is_contiguous()
        strided[name] = part.requires_grad_(value.requires_grad)
    for name, value in run(case, strided).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_expanded_gradients_are_read_as_they_stand() -> None:
    case = Case(5, 6, 3, 7)
    values = tensors(case)
    expanded = {"d_outputs": torch.ones(()).expand(5, 6, 7), "d_state": torch.full((7,), 2.0).expand(5, 7)}
    found = run(case, values | expanded)
    expected = run(case, values | {name: value.contiguous() for name, value in expanded.items()})
    np.testing.assert_array_equal(found["d_kernel"], expected["d_kernel"])


def test_one_result_may_have_no_gradient_and_inputs_may_need_none() -> None:
    case = Case(5, 6, 3, 7)
    values = {name: None if v is None else v.detach() for name, v in tensors(case).items()}
    values["kernel"].requires_grad_()
    a = case.arrays
    forward = reference.forward(a["x"], a["kernel"], a["recurrent_kernel"], a["bias"], initial_state=a["initial_state"])
    allowed = tolerance(case.features + case.units, case.timesteps, case.batch)
    for index, d in enumerate(({"d_outputs": a["d_outputs"]}, {"d_state": a["d_state"]})):
        result = layer(case, values)[index]
        (gradient,) = torch.autograd.grad(result, values["kernel"], torch.from_numpy(*d.values()))
        assert_close("d_kernel", gradient, reference.backward(forward, **d).kernel, allowed)


def test_nothing_is_saved_where_no_gradient_can_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_inputs: Any) -> Any:
        raise AssertionError("something is saved")

    case = Case(5, 6, 3, 7)
    values = tensors(case)
    monkeypatch.setattr(engine.gradients.Layer, "apply", refuse)
    with torch.no_grad():
        assert not layer(case, values)[0].requires_grad
    layer(case, {name: None if v is None else v.detach() for name, v in values.items()})
    with pytest.raises(AssertionError, match="something is saved"):
        layer(case, values)


def test_nan_in_padding_reaches_no_gradient() -> None:
    case = Case(5, 6, 3, 7, mask="empty_rows")
    assert np.isnan(case.arrays["x"]).any()
    assert all(torch.isfinite(value).all() for value in run(case).values())


@pytest.mark.parametrize("shape", [(1, 9, 5, 33), (37, 7, 16, 40)], ids=str)
def test_results_do_not_depend_on_the_number_of_threads(shape: tuple[int, int, int, int]) -> None:
    case = Case(*shape, mask="holes")
    with threads(1):
        expected = {name: value.numpy().tobytes() for name, value in run(case).items()}
    for n in (2, 3, 4):
        with threads(n):
            assert {name: value.numpy().tobytes() for name, value in run(case).items()} == expected, f"{n} threads"


def test_a_batch_of_none_and_a_sequence_of_none_are_served() -> None:
    for batch, timesteps in ((0, 6), (5, 0)):
        case = Case(batch, timesteps, 3, 7, mask="holes" if timesteps else "none")
        found = run(case)
        assert found["outputs"].shape == (batch, timesteps, 7)
        assert torch.equal(found["state"], torch.from_numpy(case.arrays["initial_state"]))
        assert not found["d_kernel"].any()


# --- PyTorch's layout ---


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_weights_in_pytorch_s_layout_give_the_same_bits_as_specified(cell: Cell, use_bias: bool, isa: str) -> None:
    for batch in (3, 20, 0):
        case = Case(batch, 4, 35, 19, cell=cell, use_bias=use_bias)
        with instruction_set(isa):
            expected, found = run(case), run(case, in_torch_layout(case, tensors(case)))
        names = (*WEIGHTS, "gain", "recurrent_gain")
        turned = in_torch_layout(case, tensors(case) | {n: expected.get(f"d_{n}") for n in names})
        expected |= {f"d_{name}": turned[name].detach() for name in names if turned.get(name) is not None}
        assert found.keys() == expected.keys()
        for name, value in found.items():
            np.testing.assert_array_equal(value, expected[name], err_msg=f"{name}, batch of {batch}")


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_in_pytorch_s_layout_are_those_in_keras_s(cell: Cell) -> None:
    case = Case(3, 4, 2, 5, cell=cell)

    def second(values: dict[str, Any]) -> dict[str, Any]:
        names = [name for name in (*INPUTS, "recurrent_bias") if values.get(name) is not None]
        outputs, *_ = layer(case, values)
        (d_x,) = torch.autograd.grad(outputs.square().sum(), values["x"], create_graph=True)
        return dict(zip(names, torch.autograd.grad(d_x.square().sum(), [values[n] for n in names]), strict=True))

    keras, found = second(tensors(case)), second(in_torch_layout(case, tensors(case)))
    expected = keras | {n: v for n, v in in_torch_layout(case, keras).items() if n in WEIGHTS and v is not None}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.any()
        assert_close(name, value, expected[name].detach(), tolerance(7, 4, 3))


def test_a_recurrent_bias_apart_is_refused_in_keras_s_layout() -> None:
    case = Case(5, 6, 3, 7)
    values = tensors(case)
    with pytest.raises(REFUSALS, match=r"recurrent_bias has no place in this layer\. Expected none; received \(21"):
        layer(case, values | {"recurrent_bias": torch.ones(21)})


# --- Second derivatives ---


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives_are_those_of_the_specification_s_first(cell: Cell) -> None:
    case = Case(3, 4, 2, 5, cell=cell, mask="holes", go_backwards=True)
    values = tensors(case)
    d = {name: values[name].requires_grad_() for name in ("d_outputs", *case.state_names("d_state"))}
    names = [*INPUTS, *case.state_names("initial_state")[1:], *case.cell.row.weights]
    variables = {name: values[name] for name in names} | d
    results = layer(case, values)
    before = native.calls()
    first = torch.autograd.grad(results, [values[n] for n in names], [*d.values()], create_graph=True)
    assert native.calls().backward == before.backward + 1
    rng = np.random.default_rng(7)
    weights = [rng.normal(size=tuple(g.shape)) for g in first]
    weighted = sum((g * torch.from_numpy(w).float()).sum() for g, w in zip(first, weights, strict=True))
    second = torch.autograd.grad(weighted, [*variables.values()])
    valid = case.arrays["mask"]
    for (name, variable), gradient in zip(variables.items(), second, strict=True):
        direction = rng.normal(size=tuple(variable.shape))
        if name == "x":
            direction[~valid] = 0
            assert not gradient.numpy()[~valid].any()
        slope = difference(case, weights, name, direction)
        size = max(1.0, float(np.abs(gradient.numpy()).sum()))
        assert_close(name, float((gradient.numpy() * direction).sum()), slope, tolerance(7, 4, 3) * size * case.grows)


def difference(case: Case, weights: list[Any], name: str, direction: Any) -> float:
    """The change of the weighted first gradients of the specification along a direction of one input."""

    def total(step: float) -> float:
        a = dict(case.arrays)
        a[name] = a[name] + step * direction
        forward = reference.forward(
            *(a[n] for n in ("x", "kernel", "recurrent_kernel", "bias")),
            initial_state=nested(case.cell, [a[n] for n in case.state_names("initial_state")]),
            mask=a["mask"],
            cell=case.cell,
            go_backwards=case.go_backwards,
            **{name: a[name] for name in case.cell.row.weights},
        )
        d = reference.backward(forward, a["d_outputs"], nested(case.cell, [a[n] for n in case.state_names("d_state")]))
        found = d._asdict() | by_name(case.cell, "initial_state", d.initial_state)
        names = [*INPUTS, *case.state_names("initial_state")[1:], *case.cell.row.weights]
        return float(sum((found[n] * w).sum() for n, w in zip(names, weights, strict=True)))

    step = 1e-5  # in float64 a central difference errs by about step squared
    return (total(step) - total(-step)) / (2 * step)


def test_a_gradient_penalty_trains_and_third_derivatives_exist() -> None:
    case = Case(3, 4, 2, 5)
    values = tensors(case)
    outputs, *_ = layer(case, values)
    (d_x,) = torch.autograd.grad(outputs.sum(), values["x"], create_graph=True)
    (d_kernel,) = torch.autograd.grad(d_x.square().sum(), values["kernel"], create_graph=True)
    (third,) = torch.autograd.grad(d_kernel.square().sum(), values["recurrent_kernel"])
    assert third.any()
    assert torch.isfinite(third).all()


# --- What is refused ---


@pytest.mark.parametrize(
    ("argument", "shape", "expected"),
    [
        ("x", (4, 31), r"x has the wrong (shape|rank). Expected \(batch, timesteps, features\); received \(4, 31\)"),
        ("mask", (3, 4), r"mask has the wrong shape. Expected \(batch=5, timesteps=6\); received \(3, 4\)"),
        ("kernel", (2, 21), r"kernel has the wrong shape. Expected \(features=3, 3 \* units=21\); received \(2, 21\)"),
        ("recurrent_kernel", (7, 20), r"recurrent_kernel has the wrong shape"),
        ("bias", (21,), r"bias has the wrong .*Expected \(input and recurrent=2, 3 \* units=21\); received \(21,?\)"),
        ("initial_state", (1, 7), r"initial_h has the wrong shape. Expected \(batch=5, units=7\)"),
        ("input_dropout", (2, 5, 3), r"input_dropout has the wrong shape. Expected \(masks=1, batch=5, features=3\)"),
        ("recurrent_dropout", (1, 5, 7), r"recurrent_dropout has the wrong shape. Expected \(gates=3, batch=5"),
    ],
)
def test_a_wrong_shape_is_refused(argument: str, shape: tuple[int, ...], expected: str) -> None:
    case = Case(5, 6, 3, 7)
    wrong = torch.ones(shape, dtype=torch.bool if argument == "mask" else torch.float32)
    with pytest.raises(REFUSALS, match=f"gatewise: {expected}"):
        layer(case, tensors(case) | {argument: wrong})


def test_a_wrong_dtype_is_refused() -> None:
    case = Case(5, 6, 3, 7)
    for dtype, name in ((torch.float64, "float64"), (torch.bfloat16, "bfloat16"), (torch.int64, "int64")):
        with pytest.raises(REFUSALS, match=f"x has the wrong type. Expected float32; received {name}"):
            layer(case, tensors(case) | {"x": torch.ones(5, 6, 3, dtype=dtype)})


def test_an_unknown_activation_is_refused() -> None:
    case = Case(5, 6, 3, 7, activation="elu")
    with pytest.raises(ValueError, match=r"activation is unknown. Expected one of tanh, .*; received 'elu'"):
        layer(case, tensors(case))


# --- The kernels in Python ---


def test_where_torch_lacks_its_c_interface_python_kernels_do_as_well() -> None:
    # The same tests once more, in a process where the library of the native kernels cannot be opened.
    program = f"""
import ctypes, sys, torch, pytest
def refuse(path, *rest):
    raise OSError("no such library: " + path)
ctypes.CDLL = refuse
import gatewise.ops.torch
assert "CPU: registered at gatewise:1" not in torch._C._dispatch_dump("gatewise::rnn")
chosen = "as_specified or is_refused or threads or expanded or served or no_gradient"
sys.exit(pytest.main([{__file__!r}, "-q", "-x", "-k", chosen, "-p", "no:cacheprovider"]))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_forked_child_runs_without_the_threads_of_torch() -> None:
    program = """
import os, torch
from gatewise.torch import GRU
torch.set_num_threads(4)
module, x = GRU(5, 64, batch_first=True), torch.ones(64, 20, 5)
def outputs():
    with torch.no_grad():  # stock torch itself does not train on in a child
        return bytes(module(x)[0].numpy())
expected = outputs()
child = os.fork()
if child == 0:
    os._exit(0 if outputs() == expected else 1)
assert os.waitpid(child, 0)[1] == 0
assert outputs() == expected
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "GATEWISE_NUM_THREADS": "4"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
