# SPDX-License-Identifier: Apache-2.0
"""When `gatewise.torch.GRU` runs PyTorch's own path, never silently; and what PyTorch makes of it by tracing."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="the module is PyTorch's: install the extra `torch`")

from torch.autograd import forward_ad  # noqa: E402  # after the skip

from gatewise import fallback, native  # noqa: E402
from gatewise.fallback import FallbackWarning  # noqa: E402
from gatewise.torch import GRU, patch_torch, reasons, unpatch_torch  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = 2 * tolerance(FEATURES + UNITS, TIMESTEPS)  # both sides compute in float32
# torch itself uses it for forward mode.
JIT_IS_DEPRECATED = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
X = torch.randn((TIMESTEPS, BATCH, FEATURES), generator=torch.Generator().manual_seed(0))


class Model(torch.nn.Module):
    """A module around the GRU: what is traced and compiled is seldom a bare layer."""

    def __init__(self, gru: Any) -> None:
        super().__init__()
        self.gru = gru

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x)[0] * 2


def make_pair() -> tuple[Any, Any]:
    torch.manual_seed(5)
    ours, stock = GRU(FEATURES, UNITS), torch.nn.GRU(FEATURES, UNITS)
    stock.load_state_dict(ours.state_dict())
    return ours, stock


@pytest.fixture(autouse=True)
def _fresh_warnings() -> Iterator[None]:
    """Forgets which reasons were warned of."""
    seen = set(fallback._warned)
    fallback._warned.clear()
    yield
    fallback._warned.clear()
    fallback._warned.update(seen)


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_float64_runs_pytorch_own_path_and_warns_once() -> None:
    ours, stock = (module.double() for module in make_pair())
    before = native.calls()
    with pytest.warns(FallbackWarning, match=r"gatewise\.torch\.GRU: PyTorch's own path runs, because .* float64"):
        outputs = ours(X.double())[0]
    assert ours.fallback_reason == "the engine computes in float32, and the input holds float64"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GRU(FEATURES, UNITS, dtype=torch.float64)(X.double())
    assert native.calls() == before
    assert torch.equal(outputs, stock(X.double())[0])
    ours.float()(X)
    assert ours.fallback_reason is None
    assert native.calls().forward == before.forward + 1


def test_another_device_makes_the_module_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = make_pair()
    monkeypatch.setattr(reasons.engine, "obstacle", lambda x: f"the input is on the device {x.device.type}, or so")
    before = native.calls()
    with pytest.warns(FallbackWarning, match="the device cpu, or so"):
        ours(X)
    assert native.calls() == before


def test_a_module_on_another_device_than_its_input_gets_the_error_of_pytorch() -> None:
    ours, _ = make_pair()
    with pytest.warns(FallbackWarning, match="on the device"), pytest.raises((RuntimeError, NotImplementedError)):
        ours.to("meta")(X)


def test_an_engine_that_is_absent_makes_the_module_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, stock = make_pair()
    monkeypatch.setattr(reasons.engine, "available", lambda: "the engine is not there")
    with pytest.warns(FallbackWarning, match="the engine is not there"):
        assert torch.equal(ours(X)[0], stock(X)[0])


def test_portable_runs_pytorch_own_path_without_a_warning_and_ends_with_its_block() -> None:
    ours, stock = make_pair()
    before = native.calls()
    with fallback.portable():
        assert torch.equal(ours(X)[0], stock(X)[0])
        assert ours.fallback_reason == "gatewise.portable() is active"
    assert native.calls() == before
    ours(X)
    assert ours.fallback_reason is None
    assert native.calls().forward == before.forward + 1


# --- Derivatives of other kinds ---


def tangents_of_input(module: Any) -> Any:
    with forward_ad.dual_level():
        outputs = module(forward_ad.make_dual(X, torch.ones_like(X)))[0]
        return forward_ad.unpack_dual(outputs).tangent


def tangents_of_parameters(module: Any) -> Any:
    with forward_ad.dual_level():
        dual = {n: forward_ad.make_dual(p.detach(), torch.ones_like(p)) for n, p in module.named_parameters()}
        return forward_ad.unpack_dual(torch.func.functional_call(module, dual, (X,))[0]).tangent


def tangents_of_the_state(module: Any) -> Any:
    hx = torch.zeros(1, BATCH, UNITS)
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(module(X, forward_ad.make_dual(hx, torch.ones_like(hx)))[1]).tangent


def forward_over_reverse(module: Any) -> Any:
    with forward_ad.dual_level():
        x = forward_ad.make_dual(X.clone().requires_grad_(), torch.ones_like(X))
        (gradient,) = torch.autograd.grad(module(x)[0].square().sum(), x)
        return forward_ad.unpack_dual(gradient).tangent


def compiled_tangents(module: Any) -> Any:
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(
            lambda x: torch.func.jvp(lambda y: module(y)[0], (x,), (torch.ones_like(x),))[1],
            backend="aot_eager",
            fullgraph=True,
        )
        return compiled(X)


@JIT_IS_DEPRECATED
@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize(
    "tangent",
    [tangents_of_input, tangents_of_parameters, tangents_of_the_state, forward_over_reverse, compiled_tangents],
    ids=lambda function: function.__name__,
)
@pytest.mark.parametrize("patched", [False, True], ids=["ours", "patched"])
def test_forward_mode_runs_pytorch_own_path_and_says_so(patched: bool, tangent: Any) -> None:
    ours, stock = make_pair()
    expected = tangent(stock)
    if patched:
        ours = stock
        patch_torch()
    before = native.calls()
    try:
        with pytest.warns(
            FallbackWarning, match=r"PyTorch's own path runs, because the code (takes forward|runs inside)"
        ):
            actual = tangent(ours)
        assert native.calls() == before
        assert ours.fallback_reason is not None
        ours(X)
        assert ours.fallback_reason is None
        assert native.calls().forward == before.forward + 1
    finally:
        if patched:
            unpatch_torch()
    assert expected.any()
    assert_close("tangent", actual.detach(), expected.detach(), 4 * ALLOWED)


@JIT_IS_DEPRECATED
@pytest.mark.parametrize("again", [False, True], ids=["once", "to_be_differentiated"])
def test_a_gradient_with_a_tangent_keeps_it_on_its_way_through_the_engine_s_layer(again: bool) -> None:
    found = []
    for module in make_pair():
        x = X.clone().requires_grad_()
        outputs = module(x)[0]  # by the engine
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(torch.ones_like(outputs), torch.cos(outputs.detach()))
            (gradient,) = torch.autograd.grad(outputs, x, dual, create_graph=again)
            found.append(forward_ad.unpack_dual(gradient).tangent)
    assert found[1].any()
    assert_close("tangent", found[0].detach(), found[1].detach(), 4 * ALLOWED)


@JIT_IS_DEPRECATED
@pytest.mark.parametrize("name", ["grad", "jacrev", "jacfwd", "hessian"])
def test_transformations_of_torch_func_run_pytorch_own_path(name: str) -> None:
    ours, stock = make_pair()
    with pytest.warns(FallbackWarning, match=r"torch\.func"):
        actual = getattr(torch.func, name)(lambda x: ours(x)[0].square().sum())(X)
    assert torch.equal(actual, getattr(torch.func, name)(lambda x: stock(x)[0].square().sum())(X))


def test_many_gradients_at_once_are_those_of_pytorch() -> None:
    ours, stock = make_pair()
    actual, expected = (
        torch.autograd.functional.jacobian(lambda x, module=module: module(x)[1], X, vectorize=True)
        for module in (ours, stock)
    )
    assert ours.fallback_reason is None
    assert_close("jacobian", actual, expected, ALLOWED)


# --- What is exported runs without gatewise ---


def assert_it_runs_without_gatewise(folder: Path, load: str, stock: Any) -> None:
    """Loads what stands in the folder in a process of its own, and compares what it computes with what stock does."""
    torch.save((X, Model(stock)(X).detach()), folder / "expected.pt")
    program = (
        "import sys, torch\n"
        "x, expected = torch.load('expected.pt')\n"
        f"assert torch.equal({load}(x), expected)\n"
        "assert not any(name.startswith('gatewise') for name in sys.modules)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # torch.export's, with stock as well
def test_what_torch_export_writes_runs_without_gatewise(tmp_path: Path) -> None:
    ours, stock = make_pair()
    with pytest.warns(FallbackWarning, match="traced"):
        torch.export.save(torch.export.export(Model(ours), (X,)), tmp_path / "model.pt2")
    assert_it_runs_without_gatewise(tmp_path, "torch.export.load('model.pt2').module()", stock)


@JIT_IS_DEPRECATED
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("way", ["trace", "script"])
def test_what_torchscript_writes_runs_without_gatewise(way: str, tmp_path: Path) -> None:
    ours, stock = make_pair()
    if way == "trace":
        with pytest.warns(FallbackWarning, match="traced"):
            made = torch.jit.trace(Model(ours), X)
    else:
        made = torch.jit.script(Model(ours))
    made.save(tmp_path / "model.pt")
    assert_it_runs_without_gatewise(tmp_path, "torch.jit.load('model.pt')", stock)


# --- torch.compile ---


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize("whole", [False, True], ids=["as_it_is", "fullgraph"])
def test_compiled_modules_run_on_the_engine_with_the_same_numbers(whole: bool) -> None:
    ours, stock = make_pair()
    # By default torch.compile steps around every torch.nn.GRU; allow_rnn lets it look inside.
    with torch._dynamo.config.patch(allow_rnn=whole):
        compiled = torch.compile(Model(ours), backend="aot_eager", fullgraph=whole)
        for steps in (TIMESTEPS, TIMESTEPS - 1, TIMESTEPS - 3):
            x, other = (X[:steps].clone().requires_grad_() for _ in range(2))
            before = native.calls()
            outputs = compiled(x)
            outputs.square().sum().backward()
            ran = native.calls()
            assert (ran.forward - before.forward, ran.backward - before.backward) == (1, 1)
            expected = Model(stock)(other)
            expected.square().sum().backward()
            assert_close("outputs", outputs.detach(), expected.detach(), ALLOWED)
            assert_close("d_x", x.grad, other.grad, ALLOWED)
    assert ours.fallback_reason is None


@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_compiled_in_a_portable_block_or_in_float64_is_pytorch_own_path(dtype: str) -> None:
    ours, stock = (module.to(getattr(torch, dtype)) for module in make_pair())
    x = X.to(getattr(torch, dtype))
    before = native.calls()
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(Model(ours), backend="aot_eager", fullgraph=True)
        if dtype == "float32":
            with fallback.portable():
                outputs = compiled(x)
        else:
            with pytest.warns(FallbackWarning, match="float64"):
                outputs = compiled(x)
    assert native.calls() == before
    assert ours.fallback_reason is not None
    assert_close("outputs", outputs.detach(), Model(stock)(x).detach(), ALLOWED)
