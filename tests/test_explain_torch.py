# SPDX-License-Identifier: Apache-2.0
"""What `gatewise.explain` says of a PyTorch model is what happens when the model is called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="it explains modules of PyTorch: install the extra `torch`")

import gatewise  # noqa: E402  # after the skip
from gatewise import native  # noqa: E402
from gatewise.torch import GRU, LSTM, LayerNormGRU, LayerNormLSTM, layer_norm_reasons, reasons  # noqa: E402
from own_process import run  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

X = torch.randn((4, 2, 3), generator=torch.Generator().manual_seed(0))


class OwnForward(torch.nn.GRU):
    """A module with a forward of its own, which calls the one that it replaces."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002  # stock's name
        return super().forward(input, hx)


class OwnNormalised(LayerNormGRU):
    """Likewise, with layer normalisation."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002  # stock's name
        return super().forward(input, hx)


# Each: what makes a module, whether it is native without and with the patch, and a part of why not (with the patch).
MODULES: dict[str, tuple[Callable[[], Any], bool, bool, str]] = {
    "ours": (lambda: GRU(3, 2), True, True, ""),
    "ours, all options": (
        lambda: GRU(3, 2, num_layers=2, bias=False, dropout=0.5, bidirectional=True, batch_first=True),
        True,
        True,
        "",
    ),
    "ours, half": (lambda: GRU(3, 2, dtype=torch.bfloat16), True, True, ""),
    "ours, float64": (lambda: GRU(3, 2, dtype=torch.float64), False, False, "holds float64"),
    "stock": (lambda: torch.nn.GRU(3, 2), False, True, ""),
    "stock, own forward": (lambda: OwnForward(3, 2), False, True, ""),
    "stock, float64": (lambda: torch.nn.GRU(3, 2).double(), False, False, "holds float64"),
    "LSTM": (lambda: torch.nn.LSTM(3, 2), False, True, ""),
    "our LSTM": (lambda: LSTM(3, 2), True, True, ""),
    "LSTM, projected": (lambda: torch.nn.LSTM(3, 2, proj_size=1), False, False, "the engine has no projections"),
    "layer-normalised": (lambda: LayerNormLSTM(3, 2, num_layers=2, zoneout=0.1), True, True, ""),
    "layer-normalised, half": (lambda: LayerNormGRU(3, 2, dtype=torch.bfloat16), True, True, ""),
    "layer-normalised, own forward": (lambda: OwnNormalised(3, 2), True, True, ""),
    "layer-normalised, float64": (
        lambda: LayerNormGRU(3, 2, dtype=torch.float64),
        False,
        False,
        "not in torch.float64",
    ),
    "zoneout": (lambda: GRU(3, 2, zoneout=0.1), True, True, ""),
    "RNN": (lambda: torch.nn.RNN(3, 2, nonlinearity="relu"), False, True, ""),
}


@pytest.fixture(params=[False, True], ids=["unpatched", "patched"])
def patched(request: pytest.FixtureRequest) -> Iterator[bool]:
    if request.param:
        gatewise.patch_torch()
    yield request.param
    gatewise.unpatch_torch()


@pytest.mark.filterwarnings("ignore::gatewise.FallbackWarning", "ignore:LSTM with projections")
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("name", MODULES)
def test_a_module_runs_where_it_is_said_to_run(name: str, packed: bool, patched: bool) -> None:
    make, unpatched_native, patched_native, why = MODULES[name]
    module = make()
    before = gatewise.explain(module)
    calls = native.calls().forward
    x: Any = X.to(next(module.parameters()).dtype)
    module(torch.nn.utils.rnn.pack_padded_sequence(x, [4, 3]) if packed else x)
    ran = native.calls().forward > calls
    assert before.native == ran == (patched_native if patched else unpatched_native)
    assert gatewise.explain(module) == before, "a call changed what is said"
    (row,) = before.rows
    assert (row.reason is None) == (row.cure is None) == row.native == bool(row.unless)
    if patched or not patched_native:
        assert why in str(row.reason) or row.native
    elif not row.native:
        assert row.reason == "it is PyTorch's own, and the patch is off"
        assert "gatewise.patch_torch()" in str(row.cure)


@pytest.mark.usefixtures("patched")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "layer", "why"),
    [
        (lambda: torch.nn.GRUCell(3, 2), "torch.nn.GRUCell", "your own code calls step by step"),
        (lambda: torch.nn.LSTMCell(3, 2), "torch.nn.LSTMCell", "your own code calls step by step"),
        (lambda: torch.jit.script(torch.nn.GRU(3, 2)), "scripted GRU", "TorchScript"),
        (
            lambda: torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(torch.nn.GRU(3, 2)))[0],
            "torch.ao.nn.quantized.dynamic.GRU",
            "quantised",
        ),
    ],
    ids=["GRUCell", "LSTMCell", "scripted", "quantised"],
)
def test_what_stays_stock_whatever_is_patched_is_said(make: Callable[[], Any], layer: str, why: str) -> None:
    (row,) = gatewise.explain(make()).rows
    assert (row.layer, row.native) == (layer, False)
    assert why in str(row.reason)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_modules_are_found_at_any_depth_each_once() -> None:
    shared = GRU(3, 3)
    model = torch.nn.Module()
    model.stack = torch.nn.Sequential(
        torch.nn.Linear(3, 3), torch.nn.ModuleDict({"a": shared, "b": torch.nn.LSTM(3, 3)})
    )
    model.again, model.compiled = shared, torch.compile(torch.nn.Sequential(GRU(3, 3)))
    rows = {row.path: row.native for row in gatewise.explain(model).rows}
    assert rows == {"stack.1.a": True, "stack.1.b": False, "compiled._orig_mod.0": True}
    assert [row.path for row in gatewise.explain(shared).rows] == ["GRU"]


def test_a_class_with_its_own_forward_is_native_on_a_condition(patched: bool) -> None:
    (row,) = gatewise.explain(OwnForward(3, 2)).rows
    assert row.native == patched
    assert ("OwnForward.forward does not call the one that it replaces" in row.unless) == patched


# --- What depends on the call ---


def call_in_portable(module: Any) -> None:
    with gatewise.portable():
        module(X)


def call_with_float64(module: Any) -> None:
    with pytest.raises((RuntimeError, ValueError)):  # PyTorch's own path refuses it
        module(X.double())


FLOAT32 = "its input does not hold float32, as its weights do"
NORMALISED = "its input does not hold float32, bfloat16 or float16"
PROVOKED: dict[str, Callable[[Any], Any]] = {
    FLOAT32: call_with_float64,
    NORMALISED: lambda module: module(X.double()),
    "it runs inside torch.func.grad or the like": lambda module: torch.func.grad(lambda x: module(x)[0].sum())(X),
    "a forward-mode derivative is taken through it": lambda module: torch.func.jvp(lambda x: module(x)[0], (X,), (X,)),
    "the model is exported or traced": lambda module: torch.export.export(torch.nn.Sequential(module), (X,)),
    "it is called inside gatewise.portable()": call_in_portable,
}
NOT_HERE = {"its input is on another device than the CPU"}  # there is none to put it on


def test_every_condition_is_provoked() -> None:
    assert set(reasons.conditions(GRU(3, 2))) - NOT_HERE == PROVOKED.keys() - {NORMALISED}
    assert set(layer_norm_reasons.conditions()) - NOT_HERE == PROVOKED.keys() - {FLOAT32}


@pytest.mark.filterwarnings("ignore")  # ours, and those of torch.export and torch.func
@pytest.mark.parametrize("condition", PROVOKED)
def test_a_condition_is_one_on_which_the_own_path_of_pytorch_runs(condition: str) -> None:
    for cls, other in ((GRU, NORMALISED), (LayerNormGRU, FLOAT32)):
        if condition == other:
            continue
        module = cls(3, 2)
        assert condition in gatewise.explain(module).rows[0].unless
        calls = native.calls().forward
        PROVOKED[condition](module)
        if "exported" not in condition:  # what a module notes while it is exported is taken back
            assert module.fallback_reason is not None
        assert native.calls().forward == calls


@pytest.mark.filterwarnings("ignore::gatewise.FallbackWarning")
def test_what_is_refused_where_the_engine_does_not_run_is_said_and_refused() -> None:
    starts = torch.zeros(X.shape[:2], dtype=torch.bool)
    plain, zoned, normalised = (
        m.double() for m in (GRU(3, 2), GRU(3, 2, zoneout=0.1), LayerNormGRU(3, 2, zoneout=0.1))
    )
    assert "Until then starts are refused" in str(gatewise.explain(plain).rows[0].cure)
    plain(X.double())
    with pytest.raises(NotImplementedError):
        plain(X.double(), starts=starts)
    assert "Until then every call is refused, for its zoneout" in str(gatewise.explain(zoned).rows[0].cure)
    with pytest.raises(NotImplementedError):
        zoned(X.double())
    assert "refused" not in str(gatewise.explain(normalised).rows[0].cure)
    normalised(X.double(), starts=starts)


def test_what_a_call_does_that_does_not_run_natively_is_said_where_it_is_an_error() -> None:
    mixed = torch.nn.ModuleDict(
        {"zoned": GRU(3, 2, zoneout=0.1), "plain": GRU(3, 2), "ln": LayerNormGRU(3, 2, zoneout=0.1)}
    )
    refused = set()
    for name, module in mixed.items():
        with gatewise.portable():
            try:
                module(X)
            except NotImplementedError:
                refused.add(name)
    found = gatewise.explain(mixed)
    assert {row.path for row in found.rows if row.note} == refused == {"zoned"}
    assert "A call that does not run natively is an error: PyTorch's own path has no zoneout." in found.cells()[0][3]
    assert not any("zoneout" in clause for row in found.rows for clause in row.unless)


# --- Keras's layers on PyTorch are modules as well ---


def test_layers_of_keras_in_a_module_and_modules_in_a_model_of_keras_are_found(tmp_path: Path) -> None:
    program = """
import gatewise, gatewise.keras, gatewise.torch, json, keras, torch
class Mixed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.ours = gatewise.torch.GRU(3, 2)
        self.layers = torch.nn.ModuleList([keras.Sequential([gatewise.keras.GRU(2, name="g"), keras.layers.LSTM(2)])])
print(json.dumps([json.loads(gatewise.explain(model).to_json()) for model in (
    Mixed(),
    keras.Sequential([keras.layers.TorchModuleWrapper(Mixed(), name="wrapper")]),
)]))
"""
    first, second = run(program, tmp_path, KERAS_BACKEND="torch")
    paths = ["ours", "layers.0/g", "layers.0/lstm"]
    assert [row["path"] for row in first["layers"]] == paths
    assert [row["native"] for row in first["layers"]] == [True, True, False]
    assert [row["path"] for row in second["layers"]] == [
        "wrapper/module.ours",
        "wrapper/module.layers.0/g",
        "wrapper/module.layers.0/lstm_1",
    ]


def test_json_is_json() -> None:
    document = json.loads(gatewise.explain(torch.nn.Sequential(GRU(3, 2), torch.nn.RNN(2, 2))).to_json())
    assert document["native"] is False
    assert [row["path"] for row in document["layers"]] == ["0", "1"]
