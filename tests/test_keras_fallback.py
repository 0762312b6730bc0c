# SPDX-License-Identifier: Apache-2.0
"""When `gatewise.keras.GRU` runs Keras's own path: only for its reasons, never silently."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tolerance import assert_close, tolerance

tf = pytest.importorskip("tensorflow", reason="the layer runs on TensorFlow: install the extra `tensorflow`")
keras = pytest.importorskip("keras", reason="the layer is a Keras layer: install the extra `tensorflow`")

import gatewise.keras  # noqa: E402  # after the skips
from gatewise import native  # noqa: E402
from gatewise.keras import GRU, FallbackWarning, fallback  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="set KERAS_BACKEND=tensorflow")

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
    ({"activation": tf.math.softsign}, "the engine has no activation 'softsign'"),
    ({"dtype": "float64"}, "the engine computes in float32, and the layer asks for float64"),
]


@pytest.mark.usefixtures("fresh_warnings")
@pytest.mark.parametrize(
    ("options", "reason"), FALLBACKS, ids=["activation", "recurrent_activation", "function", "float64"]
)
def test_what_the_engine_lacks_runs_keras_own_path_and_warns_once(options: dict[str, Any], reason: str) -> None:
    layer, other = built(UNITS, **options), built(UNITS, **options)
    assert layer.fallback_reason.startswith(reason)
    before = native.calls()
    with pytest.warns(FallbackWarning, match="Keras's own path runs, because") as caught:
        outputs = layer(X)
    assert reason in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other(X)
    assert native.calls() == before
    assert_close("outputs", outputs, stock_like(layer, **options)(X), ALLOWED)


@pytest.mark.usefixtures("fresh_warnings")
def test_a_gpu_makes_the_layer_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _kind: ["GPU:0"])
    layer = built(UNITS)
    before = native.calls()
    with pytest.warns(FallbackWarning, match="has a GPU"):
        layer(X)
    assert native.calls() == before


@pytest.mark.usefixtures("fresh_warnings")
def test_a_function_compiled_by_xla_falls_back() -> None:
    layer = built(UNITS)
    with pytest.warns(FallbackWarning, match="XLA"):
        outputs = tf.function(layer, jit_compile=True)(tf.constant(X))
    assert_close("outputs", outputs, layer(X), ALLOWED)
    assert layer.fallback_reason is None


def test_portable_runs_keras_own_path_without_a_warning_and_ends_with_its_block() -> None:
    layer = built(UNITS)
    before = native.calls()
    with gatewise.keras.portable():
        function = tf.function(layer).get_concrete_function(tf.constant(X))
        assert layer.fallback_reason == "gatewise.keras.portable() is active"
    assert not any("Gatewise" in node.op for node in function.graph.as_graph_def().node)
    assert native.calls() == before
    layer(X)
    assert layer.fallback_reason is None
    assert native.calls().forward == before.forward + 1


@pytest.mark.parametrize("use_cudnn", ["auto", True, False])
def test_use_cudnn_chooses_between_loops_of_keras_only(use_cudnn: Any) -> None:
    layer = built(UNITS, use_cudnn=use_cudnn)
    before = native.calls()
    layer(X)
    assert native.calls().forward == before.forward + 1


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


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_runs_keras_own_path_and_says_so(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: install the extra `{backend}`")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", ANOTHER_BACKEND]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert f"the Keras backend {backend}" in result["reason"]
    assert len(result["warned"]) == 1
    assert result["reason"] in result["warned"][0]
    assert (result["shape"], result["calls"], result["tensorflow"]) == ([2, 3], 0, False)
