# SPDX-License-Identifier: Apache-2.0
"""The engine's operations for the Keras backend in use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import keras

if TYPE_CHECKING:
    from collections.abc import Callable

Tensor: TypeAlias = Any  # a tensor of the backend


class Operations(Protocol):
    """What each file of `gatewise/ops/` offers the layer."""

    CONDITIONS: tuple[
        str, ...
    ]  # where `obstacle` finds something, as clauses behind "unless"; tracing for export apart
    rnn: Callable[..., tuple[Tensor, tuple[tuple[Tensor, ...], ...]]]

    def available(self) -> str | None:
        """Returns None if the operations can be used in this process, else the reason why not."""

    def obstacle(self, x: Tensor) -> str | None:
        """Returns None if they can run here, on this input (device, XLA, ...), else the reason why not."""

    def tracing(self) -> bool:
        """Says whether the code running now is being traced."""


_MODULES = {
    "tensorflow": "gatewise.ops.tensorflow",
    "jax": "gatewise.ops.jax",
    "torch": "gatewise.ops.torch",
}


def _operations() -> Operations | None:
    module = _MODULES.get(keras.backend.backend())
    return importlib.import_module(module) if module else None


# None on the numpy and openvino backends, where Keras's own path runs.
operations = _operations()


def by_device(engine: Callable[[], Tensor], stock: Callable[[], Tensor]) -> Tensor:
    """Runs `engine` on a CPU and `stock`, which returns tensors of the same shapes and types, on another device.

    `Operations.obstacle` has found nothing in the engine's way. On JAX that leaves the device open until the code is
    compiled; TensorFlow and torch know it while they trace.
    """
    choose = getattr(operations, "by_device", None)
    return choose(engine, stock) if choose else engine()


def leaves_device_open() -> bool:
    """Says whether `by_device` traces both functions and leaves the choice to the compiled code: JAX beside a GPU."""
    cpu_alone = getattr(operations, "cpu_alone", None)
    return cpu_alone is not None and not cpu_alone()


def leaves_xla_off() -> bool:
    """Says whether models with the engine's operations support no `jit_compile=True`, which Keras then leaves off.

    TensorFlow's XLA cannot hold the operations. Where TensorFlow has a GPU, Keras's own path runs, with XLA if it may.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.get_visible_devices("GPU")
