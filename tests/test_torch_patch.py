# SPDX-License-Identifier: Apache-2.0
"""After `patch_torch()` every `torch.nn.GRU` runs on the engine; after `unpatch_torch()`, none."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="the module is PyTorch's: install the extra `torch`")

from gatewise import fallback, native  # noqa: E402  # after the skip
from gatewise.torch import GRU, patch_torch, unpatch_torch  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = 2 * tolerance(FEATURES + UNITS, TIMESTEPS)  # both sides compute in float32
X = torch.randn((TIMESTEPS, BATCH, FEATURES), generator=torch.Generator().manual_seed(0))


class Inherits(torch.nn.GRU):
    """A subclass as libraries write them: with stock's forward."""


class Extends(torch.nn.GRU):
    """A subclass with a forward of its own, which calls stock's."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002  # stock's name
        return super().forward(input * 2, hx)


class Model(torch.nn.Module):
    """A module around the GRU: what is traced and compiled is seldom a bare layer."""

    def __init__(self, gru: Any) -> None:
        super().__init__()
        self.gru = gru

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x)[0] * 2


@pytest.fixture
def patched() -> Iterator[None]:
    patch_torch()
    yield
    unpatch_torch()


@pytest.mark.parametrize("cls", [torch.nn.GRU, Inherits, Extends], ids=lambda cls: cls.__name__)
def test_a_module_that_existed_before_follows_the_patch_and_its_end(cls: type) -> None:
    torch.manual_seed(5)
    module = cls(FEATURES, UNITS)
    before = native.calls()
    expected = module(X)
    try:
        patch_torch()
        assert native.calls() == before
        actual = module(X)
        assert module.fallback_reason is None
        assert native.calls().forward == before.forward + 1
    finally:
        unpatch_torch()
    again = module(X)
    assert native.calls().forward == before.forward + 1
    for name, own, first, second in zip(("outputs", "state"), actual, expected, again, strict=True):
        assert_close(name, own.detach(), first.detach(), ALLOWED)
        assert torch.equal(first, second)


def test_patching_twice_is_patching_once_and_unpatching_restores_the_class() -> None:
    as_it_was = dict(vars(torch.nn.GRU))
    unpatch_torch()
    assert vars(torch.nn.GRU) == as_it_was
    patch_torch()
    once = dict(vars(torch.nn.GRU))
    patch_torch()
    assert vars(torch.nn.GRU) == once
    assert once != as_it_was
    unpatch_torch()
    assert vars(torch.nn.GRU) == as_it_was


def test_the_patched_class_looks_like_its_old_self() -> None:
    signature, text = inspect.signature(torch.nn.GRU.forward), repr(torch.nn.GRU(FEATURES, UNITS))
    try:
        patch_torch()
        assert inspect.signature(torch.nn.GRU.forward) == signature
        assert repr(torch.nn.GRU(FEATURES, UNITS)) == text
    finally:
        unpatch_torch()


@pytest.mark.usefixtures("patched")
def test_our_own_class_works_under_the_patch_and_falls_back_as_ever() -> None:
    ours = GRU(FEATURES, UNITS)
    before = native.calls()
    ours(X)
    assert native.calls().forward == before.forward + 1
    with fallback.portable():
        ours(X)
        torch.nn.GRU(FEATURES, UNITS)(X)
    assert native.calls().forward == before.forward + 1


@pytest.mark.usefixtures("patched")
def test_cells_are_left_alone() -> None:
    before = native.calls()
    for cls in (torch.nn.GRUCell, torch.nn.LSTMCell, torch.nn.RNNCell):
        cls(FEATURES, UNITS)(X[0])
    assert native.calls() == before


@pytest.mark.usefixtures("patched")
def test_what_a_patched_module_saves_loads_without_gatewise(tmp_path: Path) -> None:
    module = torch.nn.GRU(FEATURES, UNITS)
    module(X)
    torch.save((module, X, module(X)[0].detach()), tmp_path / "module.pt")
    program = (
        "import sys, torch\n"
        "module, x, expected = torch.load('module.pt', weights_only=False)\n"
        "print(float((module(x)[0] - expected).abs().max()), type(module) is torch.nn.GRU, 'gatewise' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    error, is_stock, knows_us = done.stdout.split()
    assert float(error) <= ALLOWED
    assert (is_stock, knows_us) == ("True", "False")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # torch.export's, without the patch as well
@pytest.mark.filterwarnings("ignore::gatewise.fallback.FallbackWarning")
@pytest.mark.usefixtures("patched")
@pytest.mark.parametrize("way", ["trace", "script", "export"])
def test_what_is_exported_under_the_patch_holds_stock_operations(way: str) -> None:
    model = Model(torch.nn.GRU(FEATURES, UNITS))
    if way == "export":
        program = torch.export.export(model, (X,))
        made, text = program.module(), str(program.graph)
    else:
        made = torch.jit.trace(model, X) if way == "trace" else torch.jit.script(model)
        text = str(made.inlined_graph)
    assert "gatewise.rnn" not in text
    assert "gatewise::" not in text
    assert "aten.gru" in text or "aten::gru" in text
    before = native.calls()
    outputs = made(X)
    assert native.calls() == before
    assert_close("outputs", outputs.detach(), model(X).detach(), ALLOWED)
    assert native.calls().forward == before.forward + 1


@pytest.mark.usefixtures("patched")
def test_a_symbolic_trace_keeps_the_module_as_a_leaf() -> None:
    model = Model(torch.nn.GRU(FEATURES, UNITS))
    traced = torch.fx.symbolic_trace(model)
    before = native.calls()
    assert torch.equal(traced(X), model(X))
    assert native.calls().forward == before.forward + 2


def test_a_module_that_was_compiled_before_follows_the_patch() -> None:
    torch.compiler.reset()
    try:
        with torch._dynamo.config.patch(allow_rnn=True):
            compiled = torch.compile(Model(torch.nn.GRU(FEATURES, UNITS)), backend="eager", fullgraph=True)
            before = native.calls()
            expected = compiled(X)
            assert native.calls() == before
            patch_torch()
            assert_close("outputs", compiled(X).detach(), expected.detach(), ALLOWED)
            assert native.calls().forward == before.forward + 1
            unpatch_torch()
            assert torch.equal(compiled(X), expected)
            assert native.calls().forward == before.forward + 1
    finally:
        unpatch_torch()
        torch.compiler.reset()
