# SPDX-License-Identifier: Apache-2.0
"""What `gatewise.explain` says of a Keras model is what happens when the model is called."""

from __future__ import annotations

import json
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="it explains models of Keras: install the extra of KERAS_BACKEND")

import gatewise  # noqa: E402  # after the skip
from backends import BACKEND, call, float64, tensor  # noqa: E402
from gatewise import native  # noqa: E402
from gatewise.explain import Explanation, Row  # noqa: E402
from gatewise.keras import GRU, LayerNormGRU, fallback  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

L = keras.layers
FEATURES = 3
X = np.random.default_rng(0).normal(size=(2, 4, FEATURES)).astype(np.float32)


class OwnCall(GRU):
    """A layer with a `call` of its own, which leads to the loop."""

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        return super().call(sequences * 2, initial_state=initial_state, mask=mask, training=training)


class StockSubclass(L.GRU):
    """A subclass of the stock layer, as programs write them."""


class RNNSubclass(L.RNN):
    """A subclass of RNN, which the patch leaves alone."""


class OwnCell(L.Layer):
    """The smallest cell that Keras takes."""

    def __init__(self) -> None:
        super().__init__()
        self.state_size = self.output_size = 2

    def call(self, x: Any, states: Any) -> Any:
        return x[:, :2] + states[0], [states[0]]


# Each: what makes a layer, whether it is native without and with the patch, and a part of why not (with the patch).
LAYERS: dict[str, tuple[Callable[[], Any], bool, bool, str]] = {
    "ours": (lambda: GRU(2), True, True, ""),
    "ours, relu": (lambda: GRU(2, activation="relu", reset_after=False, use_bias=False), True, True, ""),
    "ours, half": (lambda: GRU(2, dtype="mixed_bfloat16"), True, True, ""),
    "ours, own call": (lambda: OwnCall(2), True, True, ""),
    "ours, selu": (lambda: GRU(2, activation="selu"), False, False, "no activation 'selu'"),
    "ours, own gate": (
        lambda: GRU(2, recurrent_activation=keras.ops.sin),
        False,
        False,
        "no recurrent_activation 'sin'",
    ),
    "ours, float64": (lambda: GRU(2, dtype="float64"), False, False, "asks for float64"),
    "stock": (lambda: L.GRU(2), False, True, ""),
    "stock, unroll": (lambda: L.GRU(2, unroll=True), False, True, ""),
    "stock, elu": (lambda: L.GRU(2, activation="elu"), False, False, "no activation 'elu'"),
    "stock's subclass": (lambda: StockSubclass(2), False, True, ""),
    "RNN of a cell": (lambda: L.RNN(L.GRUCell(2)), False, True, ""),
    "RNN of cells": (lambda: L.RNN([L.GRUCell(2), L.GRUCell(2)]), False, True, ""),
    "RNN of LSTM cells": (lambda: L.RNN([L.GRUCell(2), L.LSTMCell(2)]), False, True, ""),
    "RNN of own cell": (lambda: L.RNN(OwnCell()), False, False, "no cell OwnCell"),
    "RNN's subclass": (lambda: RNNSubclass(L.GRUCell(2)), False, False, "stock: gatewise has no RNNSubclass"),
    "LSTM": (lambda: L.LSTM(2), False, True, ""),
    "SimpleRNN": (lambda: L.SimpleRNN(2), False, True, ""),
    "Bidirectional of ours": (lambda: L.Bidirectional(GRU(2)), True, True, ""),
    "Bidirectional of stock": (lambda: L.Bidirectional(L.GRU(2)), False, True, ""),
    "Bidirectional of LSTM": (lambda: L.Bidirectional(L.LSTM(2)), False, True, ""),
}


@pytest.fixture(params=[False, True], ids=["unpatched", "patched"])
def patched(request: pytest.FixtureRequest) -> Iterator[bool]:
    if request.param:
        gatewise.patch_keras()
    yield request.param
    gatewise.unpatch_keras()


@pytest.mark.filterwarnings("ignore::gatewise.FallbackWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_runs_where_it_is_said_to_run(name: str, patched: bool) -> None:
    make, unpatched_native, patched_native, why = LAYERS[name]
    layer = make()
    before = gatewise.explain(layer)
    calls = native.calls().forward
    with float64() if "float64" in name else nullcontext():
        call(layer, X)
    ran = native.calls().forward > calls
    assert before.native == ran == (patched_native if patched else unpatched_native)
    assert gatewise.explain(layer) == before, "a call changed what is said"
    for row in before.rows:
        assert (row.reason is None) == (row.cure is None) == row.native == bool(row.unless)
        if patched or not patched_native:
            assert (why in str(row.reason)) or row.native
        else:
            assert (row.reason, "gatewise.patch_keras()" in str(row.cure)) == (
                None if row.native else "it is Keras's own, and the patch is off",
                not row.native,
            )


def test_layers_are_found_at_any_depth_each_once() -> None:
    shared = GRU(2, return_sequences=True, name="shared")
    inner = keras.Sequential([keras.Input((None, FEATURES)), L.LSTM(2, name="old"), L.Dense(2)], name="inner")

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="own")
            self.parts = [
                L.TimeDistributed(inner, name="each"),
                {"key": L.Bidirectional(GRU(2, name="g"), name="both")},
            ]
            self.shared, self.again = shared, shared
            self.cell = L.GRUCell(2, name="cell")

    x = keras.Input((4, FEATURES))
    graph = keras.Model(x, shared(shared(L.Dense(2)(x))), name="graph")
    assert [row.path for row in gatewise.explain(graph).rows] == ["shared"]
    rows = {row.path: row for row in gatewise.explain(Model()).rows}
    assert list(rows) == ["each/inner/old", "both/forward_g", "both/backward_g", "shared", "cell"]
    assert [row.native for row in rows.values()] == [False, True, True, True, False]
    assert rows["cell"].layer == "keras.layers.GRUCell"
    assert "your own code calls" in str(rows["cell"].reason)


def test_a_model_without_recurrent_layers_says_so() -> None:
    found = gatewise.explain(keras.Sequential([L.Dense(2)]))
    assert (found.rows, found.native, str(found)) == ((), True, "No recurrent layer was found.")


def test_a_class_with_its_own_call_is_native_on_a_condition() -> None:
    (row,) = gatewise.explain(OwnCall(2)).rows
    assert row.layer == "OwnCall"
    assert "OwnCall.call does not call the one that it replaces" in row.unless


@pytest.mark.filterwarnings("ignore::gatewise.FallbackWarning")
def test_a_latest_call_that_ran_stock_is_named() -> None:
    layer = GRU(2)
    with gatewise.portable():
        call(layer, X)
    (row,) = gatewise.explain(layer).rows
    assert row.native
    assert row.unless[0] == "it is called as it was last: gatewise.portable() is active"


def test_a_device_that_the_engine_does_not_run_on_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback.operations, "obstacle", lambda x: f"{type(x).__name__} would go to a GPU")
    (row,) = gatewise.explain(GRU(2)).rows
    assert not row.native
    assert str(row.reason).endswith("would go to a GPU")
    assert row.cure == "Run on the CPU."


# --- What depends on the call ---


def trace_for_xla(layer: Any, _folder: Path) -> None:
    import tensorflow as tf

    tf.function(layer, jit_compile=True)(tf.constant(X))


def export(layer: Any, folder: Path) -> None:
    if BACKEND == "torch":
        import torch

        torch.export.export(keras.Sequential([keras.Input(X.shape[1:]), layer]), (tensor(X),))
    else:
        keras.Sequential([keras.Input(X.shape[1:]), layer]).export(folder / "model", verbose=False)


def inside_portable(layer: Any, _folder: Path) -> None:
    with gatewise.portable():
        layer(X)


def differentiate_by_function(layer: Any, _folder: Path) -> None:
    import torch

    torch.func.grad(lambda x: layer(x).sum())(tensor(X))


def differentiate_forwards(layer: Any, _folder: Path) -> None:
    import torch

    torch.func.jvp(layer, (tensor(X),), (tensor(X),))


PROVOKED: dict[str, Callable[[Any, Path], None]] = {
    "its code is traced for XLA, as in a tf.function(jit_compile=True)": trace_for_xla,
    "the model is traced for export": export,
    "it is called inside gatewise.portable()": inside_portable,
    "it runs inside torch.func.grad or the like": differentiate_by_function,
    "a forward-mode derivative is taken through it": differentiate_forwards,
}
NOT_HERE = {"its input is on another device than the CPU"}  # there is none to put it on


def test_every_condition_is_provoked() -> None:
    assert set(fallback.conditions()) - NOT_HERE <= PROVOKED.keys()


@pytest.mark.filterwarnings("ignore")  # the exporters' own
@pytest.mark.parametrize("condition", [condition for condition in fallback.conditions() if condition not in NOT_HERE])
def test_a_condition_is_one_on_which_keras_own_path_runs(condition: str, tmp_path: Path) -> None:
    layer = GRU(2)
    layer.build(X.shape)
    assert condition in gatewise.explain(layer).rows[0].unless
    calls = native.calls().forward
    PROVOKED[condition](layer, tmp_path)
    assert layer.fallback_reason is not None
    assert native.calls().forward == calls


# --- Words ---


def test_what_a_call_does_that_does_not_run_natively_is_said_where_it_is_an_error() -> None:
    made = (GRU(2, zoneout=0.1, name="zoned"), GRU(2, name="plain"), LayerNormGRU(2, zoneout=0.1, name="normalised"))
    refused = set()
    for layer in made:
        layer.build(X.shape)
        with gatewise.portable():
            try:
                layer(X)
            except NotImplementedError:
                refused.add(layer.name)
    rows = [row for layer in made for row in gatewise.explain(layer).rows]
    assert {row.path for row in rows if row.note} == refused
    assert "zoned" in refused
    note = "A call that does not run natively is an error: Keras's own path has no zoneout."
    assert Explanation(tuple(rows)).cells()[0][3] == note


def test_json_holds_the_rows() -> None:
    found = gatewise.explain(keras.Sequential([GRU(2, name="a", return_sequences=True), L.LSTM(2, name="b")]))
    document = json.loads(found.to_json())
    assert document["native"] is False
    assert [Row(**{**row, "unless": tuple(row["unless"])}) for row in document["layers"]] == list(found.rows)


def test_the_table_fits_its_width_whatever_is_in_it() -> None:
    reason = "the engine has no activation 'gelu', only tanh, sigmoid, relu, linear, hard_sigmoid"
    rows = (
        Row("encoder/both/forward", "keras.layers.GRU", False, reason, "Choose one of those."),
        Row("encoder/both/backward", "keras.layers.GRU", False, reason, "Choose one of those."),
        Row("mine", "Mine", True, unless=("Mine.call does not call the one that it replaces", "it is exported")),
        Row("gru", "gatewise.keras.GRU", True, unless=("it is exported",)),
    )
    lines = str(Explanation(rows)).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "layer                  class               native  why not, and what to change"
    assert (
        lines[1] == "encoder/both/forward   keras.layers.GRU    no      the engine has no activation 'gelu', only tanh,"
    )
    assert [line.split()[-2:] for line in lines if line.startswith("encoder/both/backward")] == [["as", "above"]]
    assert lines[-3:] == ["", "2 of 4 recurrent layers run natively, unless", "- it is exported."]
    assert "unless Mine.call does not call the one that it" in str(Explanation(rows))


@pytest.mark.parametrize(
    ("model", "received", "cure"),
    [
        ("model.keras", "str", "keras.saving.load_model"),
        (GRU, "the class GRU", "Make an instance"),
        (None, "NoneType", "keras.saving.load_model"),
        (keras.losses.MeanSquaredError(), "keras.src.losses.losses.MeanSquaredError", "keras.saving.load_model"),
    ],
    ids=["path", "class", "None", "loss"],
)
def test_anything_else_is_refused_with_the_cure(model: Any, received: str, cure: str) -> None:
    with pytest.raises(TypeError, match=r"^gatewise\.explain: model has the wrong type\. Expected") as caught:
        gatewise.explain(model)
    assert f"received {received}. " in str(caught.value)
    assert cure in str(caught.value)


def test_explaining_warns_of_nothing_and_calls_nothing() -> None:
    calls = native.calls()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gatewise.explain(keras.Sequential([GRU(2, activation="swish"), L.GRU(2)]))
    assert native.calls() == calls
