# SPDX-License-Identifier: Apache-2.0
"""What PyTorch's tools make of a model that holds a `gatewise.torch.GRU`: what they make of one that holds stock's."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from own_process import LIMIT
from tolerance import assert_close, tolerance

torch = pytest.importorskip("torch", reason="the module is PyTorch's: install the extra `torch`")

from torch.ao import quantization  # noqa: E402  # after the skip
from torch.ao.quantization import quantize_fx  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402

from gatewise import native  # noqa: E402
from gatewise.torch import GRU, convert  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = 2 * tolerance(FEATURES + UNITS, TIMESTEPS)  # both sides compute in float32
X = torch.randn((TIMESTEPS, BATCH, FEATURES), generator=torch.Generator().manual_seed(0))


class Model(torch.nn.Module):
    """A module around the GRU, with a state that may be given and a layer behind it."""

    def __init__(self, cls: Any) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.gru = cls(FEATURES, UNITS)
        self.dense = torch.nn.Linear(UNITS, 2)

    def forward(self, x: torch.Tensor, hx: torch.Tensor | None = None) -> torch.Tensor:
        outputs, state = self.gru(x, hx)
        return self.dense(outputs) + state.sum()


# --- torch.fx ---


def test_a_symbolic_trace_keeps_the_module_as_a_leaf_and_its_hooks_with_it() -> None:
    seen: list[str] = []

    def doubled(_module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append("called")
        return arguments[0] * 2, *arguments[1:]

    model = Model(GRU)
    model.gru.register_forward_pre_hook(doubled)
    traced, stock = (torch.fx.symbolic_trace(m) for m in (model, Model(torch.nn.GRU)))
    assert not seen
    assert str(traced.graph) == str(stock.graph)
    assert traced.gru is model.gru
    before = native.calls()
    for state in (None, torch.ones(1, BATCH, UNITS)):
        assert torch.equal(traced(X, state), model(X, state))
        assert_close("outputs", traced(X, state).detach(), stock(2 * X, state).detach(), 2 * ALLOWED)
    assert native.calls().forward == before.forward + 6
    assert len(seen) == 6


class Inherits(GRU):
    """A subclass with a forward of its own."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002  # stock's name
        return super().forward(input * 2, hx)


def loaded(model: Any) -> Any:
    data = io.BytesIO()
    torch.save(model, data)
    data.seek(0)
    return torch.load(data, weights_only=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Model(Inherits),
        lambda: loaded(Model(GRU)),
        lambda: convert(Model(torch.nn.GRU)),
        lambda: torch.nn.ModuleDict({"m": Model(GRU)})["m"],
    ],
    ids=["subclass", "loaded", "converted", "held"],
)
def test_so_it_is_however_the_module_was_made(make: Callable[[], Any]) -> None:
    model = make()
    traced = torch.fx.symbolic_trace(model)
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["gru", "dense"]
    assert torch.equal(traced(X), model(X))


def test_the_class_still_says_where_it_is_from_and_a_scripted_module_says_nothing() -> None:
    assert GRU.__module__ == "gatewise.torch.gru"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is
        scripted = torch.jit.script(Model(GRU))
    assert [scripted.gru._c.hasattr(name) for name in ("weight_ih_l0", "__module__")] == [True, False]


# --- Quantisation ---

QUANTIZATION = pytest.mark.filterwarnings(
    "ignore:torch.ao.quantization is deprecated:DeprecationWarning",
    "ignore:torch.quantize_per_tensor:UserWarning",
    "ignore:Please use quant_min:UserWarning",
    "ignore:To copy construct from a tensor:UserWarning",
    "ignore:must run observer:UserWarning",
)
LEFT = r"torch.ao.quantization leaves the module in float32\. .* Call gatewise.torch.convert\(model, to='stock'\)"


def dynamic_fx(model: Any) -> Any:
    mapping = quantization.QConfigMapping().set_global(quantization.default_dynamic_qconfig)
    return quantize_fx.convert_fx(quantize_fx.prepare_fx(model.eval(), mapping, (X,)))


DYNAMIC: dict[str, Callable[[Any], Any]] = {
    "default": quantization.quantize_dynamic,
    "in_place": lambda model: quantization.quantize_dynamic(model, inplace=True),
    "by_class": lambda model: quantization.quantize_dynamic(model, {torch.nn.GRU}),
    "by_name": lambda model: quantization.quantize_dynamic(model, {"gru"}),
    "float16": lambda model: quantization.quantize_dynamic(model, dtype=torch.float16),
    "fx": dynamic_fx,
}


@QUANTIZATION
@pytest.mark.parametrize("way", DYNAMIC)
def test_dynamic_quantization_says_that_it_leaves_the_module_and_what_to_do(way: str) -> None:
    with pytest.warns(UserWarning, match=LEFT):
        left = DYNAMIC[way](Model(GRU))
    assert type(left.gru) is GRU
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=LEFT)
        found, expected = DYNAMIC[way](convert(Model(GRU), "stock")), DYNAMIC[way](Model(torch.nn.GRU))
    assert type(found.gru) is type(expected.gru) is torch.ao.nn.quantized.dynamic.GRU
    assert torch.equal(found(X), expected(X))


@QUANTIZATION
def test_who_quantizes_something_else_is_told_nothing() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=LEFT)
        model = quantization.quantize_dynamic(Model(GRU), {torch.nn.Linear})
        Model(GRU).gru.qconfig = None
    assert type(model.gru) is GRU
    assert type(model.dense) is not torch.nn.Linear


@QUANTIZATION
@pytest.mark.parametrize("aware", [False, True], ids=["static", "aware"])
def test_fx_quantization_quantizes_what_is_around_the_module(aware: bool) -> None:
    found = []
    for cls in (GRU, torch.nn.GRU):
        mapping = (
            quantization.get_default_qat_qconfig_mapping if aware else quantization.get_default_qconfig_mapping
        )()
        prepare = quantize_fx.prepare_qat_fx if aware else quantize_fx.prepare_fx
        prepared = prepare(Model(cls).train(aware), mapping, (X,))
        prepared(X).sum().backward()
        found.append(quantize_fx.convert_fx(prepared.eval()))
    ours, stock = found
    assert type(ours.gru) is GRU
    assert type(stock.gru) is torch.nn.GRU
    assert type(ours.dense) is type(stock.dense) is not torch.nn.Linear
    before = native.calls()
    actual, expected = (model(X).detach() for model in found)
    assert native.calls().forward == before.forward + 1
    step = float(expected.max() - expected.min()) / 100  # numbers in 8 bits, of which not all are in use
    assert_close("outputs", actual, expected, 2 * step)


# --- Others ---


def test_weight_norm_and_pruning_train_on_the_engine() -> None:
    for prepare in (
        lambda module: parametrizations.weight_norm(module, "weight_hh_l0"),
        lambda module: parametrizations.spectral_norm(module, "weight_hh_l0"),
        lambda module: prune.l1_unstructured(module, "weight_hh_l0", 0.5),
    ):
        found = []
        for cls in (GRU, torch.nn.GRU):
            model = Model(cls)
            torch.manual_seed(7)  # what is drawn for the estimate of a norm
            prepare(model.gru)
            before = native.calls()
            model(X).square().sum().backward()
            ran = native.calls()
            expected_calls = (1, 1) if cls is GRU else (0, 0)
            assert (ran.forward - before.forward, ran.backward - before.backward) == expected_calls
            found.append({name: value.grad for name, value in model.named_parameters()})
        for name, value in found[0].items():
            expected = found[1][name]
            assert_close(name, value, expected, ALLOWED * TIMESTEPS * BATCH * max(1.0, float(expected.abs().max())))


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # torch.package's own
def test_a_package_holds_the_module_and_loads() -> None:
    data, module = io.BytesIO(), GRU(FEATURES, UNITS)
    with torch.package.PackageExporter(data) as exporter:
        exporter.extern(["gatewise.**", "torch.**"])
        exporter.save_pickle("gru", "gru.pkl", module)
    data.seek(0)
    found = torch.package.PackageImporter(data).load_pickle("gru", "gru.pkl")
    assert torch.equal(found(X)[0], module(X)[0])


def test_a_module_loads_with_weights_only_where_its_class_is_allowed() -> None:
    data, module = io.BytesIO(), GRU(FEATURES, UNITS)
    torch.save(module, data)
    data.seek(0)
    with torch.serialization.safe_globals([GRU]):
        assert torch.equal(torch.load(data, weights_only=True)(X)[0], module(X)[0])


def test_weights_without_numbers_are_filled_and_run() -> None:
    with torch.device("meta"):
        empty = GRU(FEATURES, UNITS)
    filled, module = empty.to_empty(device="cpu"), GRU(FEATURES, UNITS)
    filled.load_state_dict(module.state_dict())
    assert torch.equal(filled(X)[0], module(X)[0])


def train_in_a_group_of_one(wrapper: str, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
    model, expected = Model(GRU), Model(GRU)
    if wrapper == "ddp":
        model = torch.nn.parallel.DistributedDataParallel(model)
    else:
        from torch.distributed.fsdp import fully_shard

        fully_shard(model.gru, mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (1,)))
    before = native.calls()
    model(X).sum().backward()
    assert native.calls() == (before.forward + 1, before.backward + 1)
    expected(X).sum().backward()
    for found, value in zip(model.parameters(), expected.parameters(), strict=True):
        gradient = found.grad.full_tensor() if hasattr(found.grad, "full_tensor") else found.grad
        assert torch.equal(gradient, value.grad)


@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
def test_a_module_trains_in_a_group_of_one_process(wrapper: str, tmp_path: Path) -> None:
    # In a process of its own, which ends at once: gloo now and then aborts an interpreter's end.
    program = f"from test_torch_tools import *\ntrain_in_a_group_of_one({wrapper!r}, {str(tmp_path)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}import os; os._exit(0)"],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
