# SPDX-License-Identifier: Apache-2.0
"""When `gatewise.keras.GRU` runs Keras's own path: only for its reasons, never silently."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra of KERAS_BACKEND")

import gatewise.keras  # noqa: E402
from backends import BACKEND, call, float64, gradient, native_calls, tensorflow_only  # noqa: E402  # after the skip
from gatewise import fallback, reference  # noqa: E402
from gatewise.keras import GRU, FallbackWarning  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
ALLOWED = tolerance(FEATURES + UNITS, TIMESTEPS)
X = np.random.default_rng(0).normal(size=(BATCH, TIMESTEPS, FEATURES)).astype(np.float32)


@pytest.fixture
def fresh_warnings() -> Iterator[None]:
    """Forgets which reasons were warned of."""
    seen = set(fallback._warned)
    fallback._warned.clear()
    yield
    fallback._warned.clear()
    fallback._warned.update(seen)


def stock_like(layer: Any, **changes: Any) -> Any:
    """A stock layer with the options and weights of ours."""
    stock = keras.layers.GRU.from_config({**layer.get_config(), **changes})
    stock.build(X.shape)
    stock.set_weights(layer.get_weights())
    return stock


def built(*args: Any, **kwargs: Any) -> Any:
    layer = GRU(*args, **kwargs)
    layer.build(X.shape)
    return layer


FALLBACKS = [
    ({"activation": "elu"}, "the engine has no activation 'elu'"),
    ({"recurrent_activation": "softplus"}, "the engine has no recurrent_activation 'softplus'"),
    ({"activation": keras.ops.softsign}, "the engine has no activation 'softsign'"),
    ({"dtype": "float64"}, "the engine computes in float32, and the layer asks for float64"),
]


@pytest.mark.usefixtures("fresh_warnings")
@pytest.mark.parametrize(
    ("options", "reason"), FALLBACKS, ids=["activation", "recurrent_activation", "function", "float64"]
)
def test_what_the_engine_lacks_runs_keras_own_path_and_warns_once(options: dict[str, Any], reason: str) -> None:
    with float64() if "dtype" in options else nullcontext(), native_calls(0):
        layer, other = built(UNITS, **options), built(UNITS, **options)
        assert layer.fallback_reason.startswith(reason)
        with pytest.warns(FallbackWarning, match="Keras's own path runs, because") as caught:
            outputs = call(layer, X)
        assert reason in str(caught[0].message)
        with warnings.catch_warnings():
            warnings.simplefilter("error", FallbackWarning)
            call(other, X)
        assert_close("outputs", outputs, call(stock_like(layer, **options), X), ALLOWED)


@tensorflow_only
@pytest.mark.usefixtures("fresh_warnings")
def test_a_gpu_makes_the_layer_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _kind: ["GPU:0"])
    layer = built(UNITS)
    with native_calls(0), pytest.warns(FallbackWarning, match="has a GPU"):
        layer(X)


@tensorflow_only
@pytest.mark.usefixtures("fresh_warnings")
def test_a_function_compiled_by_xla_falls_back() -> None:
    import tensorflow as tf

    layer = built(UNITS)
    with pytest.warns(FallbackWarning, match="XLA"):
        outputs = tf.function(layer, jit_compile=True)(tf.constant(X))
    assert_close("outputs", outputs, layer(X), ALLOWED)
    assert layer.fallback_reason is None


def test_portable_runs_keras_own_path_without_a_warning_and_ends_with_its_block() -> None:
    layer = built(UNITS)
    with native_calls(0), gatewise.keras.portable():
        inside = call(layer, X)
        assert "portable() is active" in layer.fallback_reason
    with native_calls(1):
        assert_close("outputs", call(layer, X), inside, 2 * ALLOWED)
    assert layer.fallback_reason is None


MASKS = {
    "right": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]],
    "left": [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 1, 0]],
}
STATE = np.random.default_rng(1).normal(size=(BATCH, UNITS)).astype(np.float32)


@pytest.mark.parametrize("go_backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("unroll", [False, True], ids=["rolled", "unrolled"])
def test_keras_own_path_gives_the_numbers_of_the_specification_at_masked_steps(
    unroll: bool, go_backwards: bool
) -> None:
    """Keras's own loops do not: faults 4 to 7 of test_keras_bugs.py."""
    for zero_output_for_mask, (name, mask) in itertools.product((False, True), MASKS.items()):
        options = {"go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
        layer = built(UNITS, return_sequences=True, return_state=True, unroll=unroll, **options)
        last = GRU.from_config({**layer.get_config(), "return_sequences": False})
        last.build(X.shape)
        last.set_weights(layer.get_weights())
        expected = reference.forward(X, *layer.get_weights(), mask=mask, initial_state=STATE, **options)
        with native_calls(0), gatewise.portable():
            arguments = {"mask": np.array(mask, bool), "initial_state": STATE}
            outputs, state = call(layer, X, **arguments)
            last_output, _ = call(last, X, **arguments)
        case = f"{name}, zero_output_for_mask={zero_output_for_mask}"
        assert_close(f"outputs, {case}", outputs, expected.outputs, ALLOWED)
        assert_close(f"last output, {case}", last_output, expected.last_output, ALLOWED)
        assert_close(f"state, {case}", state, expected.state, ALLOWED)


def test_keras_own_path_trains_masked_unrolled_layers_as_the_engine_does() -> None:
    layer = built(UNITS, return_sequences=True, unroll=True, go_backwards=True, dropout=0.3, seed=1)

    seed = keras.ops.convert_to_numpy(layer.cell.seed_generator.state).copy()

    def loss_of(x: Any) -> tuple[Any, Any]:
        layer.cell.seed_generator.state.assign(seed)
        loss = keras.ops.sum(layer(x, mask=np.array(MASKS["left"], bool), training=True) ** 2)
        return loss, loss

    with native_calls(1, 1):
        loss, expected = gradient(loss_of, layer.trainable_weights)({"x": X})
    with native_calls(0), gatewise.portable():
        other, found = gradient(loss_of, layer.trainable_weights)({"x": X})
    assert_close("loss", other, loss, 4 * ALLOWED)
    for name, value in found.items():
        assert_close(name, value, expected[name], BATCH * 4 * ALLOWED)


def test_keras_own_path_gives_the_numbers_of_the_engine_for_a_stack_of_cells() -> None:
    mask, states = np.array(MASKS["left"], bool), [STATE, 2 * STATE[:, :2]]
    cases: list[dict[str, bool]] = [{"unroll": True}, {"unroll": True, "go_backwards": True}]
    if BACKEND != "jax":  # there Keras's rolled loop fails where the last cell is of another width than the first
        cases += [{}, {"zero_output_for_mask": True}]
    for options in cases:
        cells = [keras.layers.GRUCell(UNITS), keras.layers.GRUCell(2)]
        layer = keras.layers.RNN(cells, return_sequences=True, return_state=True, **options)
        layer.build(X.shape)
        gatewise.patch_keras()
        try:
            with native_calls(2):
                expected = call(layer, X, mask=mask, initial_state=states)
            with native_calls(0), gatewise.portable():
                found = call(layer, X, mask=mask, initial_state=states)
        finally:
            gatewise.unpatch_keras()
        for value, wanted in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
            assert_close(str(options), value, wanted, 2 * ALLOWED)


@tensorflow_only
def test_a_function_traced_in_a_portable_block_holds_stock_operations_alone() -> None:
    import tensorflow as tf

    layer = built(UNITS)
    with gatewise.keras.portable():
        function = tf.function(layer).get_concrete_function(tf.constant(X))
    assert not any("Gatewise" in node.op for node in function.graph.as_graph_def().node)


@pytest.mark.parametrize("use_cudnn", ["auto", True, False])
def test_use_cudnn_chooses_between_loops_of_keras_only(use_cudnn: Any) -> None:
    layer = built(UNITS, use_cudnn=use_cudnn)
    with native_calls(1):
        call(layer, X)


ANOTHER_BACKEND = """
import json, sys, warnings
import numpy as np
from gatewise import native
from gatewise.keras import GRU
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    layer = GRU(3)
    shape = tuple(layer(np.ones((2, 4, 5), "float32")).shape)
print(json.dumps({
    "shape": shape,
    "reason": layer.fallback_reason,
    "warned": [str(warning.message) for warning in caught if warning.category.__name__ == "FallbackWarning"],
    "calls": native.calls().forward,
    "tensorflow": "tensorflow" in sys.modules,
}))
"""


@pytest.mark.parametrize("backend", ["numpy", "openvino"])
def test_another_backend_runs_keras_own_path_and_says_so(backend: str) -> None:
    needed = {"numpy": "jax"}.get(backend, backend)
    if importlib.util.find_spec(needed) is None:  # asked, not imported: importing openvino forks, which JAX warns of
        pytest.skip(f"Keras's backend {backend} imports {needed}: install it")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", ANOTHER_BACKEND]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert f"the Keras backend {backend}" in result["reason"]
    assert len(result["warned"]) == 1
    assert result["reason"] in result["warned"][0]
    assert (result["shape"], result["calls"], result["tensorflow"]) == ([2, 3], 0, False)
