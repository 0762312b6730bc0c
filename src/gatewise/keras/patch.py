# SPDX-License-Identifier: Apache-2.0
"""`patch_keras`: the layers of stock Keras, in place, on the engine."""

from __future__ import annotations

import functools
import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import keras

from gatewise.fallback import warn_once
from gatewise.keras import constructor_errors, fallback, loop, teaching
from gatewise.keras.engine import leaves_xla_off
from gatewise.keras.kinds import CELLS, LAYERS, cells_of
from gatewise.keras.native import Native

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.keras.stock_loop import Results, Tensor

_RNN, _STACK = keras.layers.RNN, keras.layers.StackedRNNCells
# Layers with a loop over time of their own; the others inherit that of RNN.
_LOOPING = tuple(layer for layer in LAYERS if "inner_loop" in vars(layer))
_ABSENT = object()

_lock = threading.Lock()
_active = False
# What stood in a class under a name, and what stands there now; _ABSENT where the name was inherited or unknown.
_replaced: dict[tuple[type, str], tuple[Any, Any]] = {}


def patch_keras() -> None:
    """Puts the engine under every GRU, LSTM and SimpleRNN of stock Keras in this process, made and still to be made.

    `keras.layers.GRU` and `tf.keras.layers.GRU` are one class, and its loop over time is replaced on the class itself:
    models loaded from files, layers inside `Bidirectional` and subclasses that keep the loop follow, however they were
    imported. So do `keras.layers.RNN(keras.layers.GRUCell(...))` and stacks of such cells, mixed ones too, where RNN
    and cells are exactly stock's. Signatures, files and exports stay those of stock Keras.

    A model that was fitted, evaluated or asked to predict before holds compiled functions; Keras makes them anew at the
    next call. A function that you traced yourself (`tf.function`, `jax.jit`) keeps what it was traced with: call this
    first. What the engine does not do runs Keras's own path, as `layer.fallback_reason` says; see `gatewise.portable`
    for asking for it. On TensorFlow, `compile(jit_compile=True)` leaves XLA off, as Keras warns: XLA cannot hold the
    engine.

    Calling it again changes nothing. What stays stock: a bare cell that you call in a loop of your own, an RNN or
    a cell of a class of your own, and Keras 2, which `tf.keras` is with `TF_USE_LEGACY_KERAS=1`; a warning says so.

    Example:
        >>> import gatewise, keras, numpy as np
        >>> gatewise.patch_keras()
        >>> layer = keras.layers.GRU(4)
        >>> before = gatewise.native.calls().forward
        >>> tuple(layer(np.zeros((2, 3, 5), "float32")).shape), layer.fallback_reason
        ((2, 4), None)
        >>> gatewise.native.calls().forward - before
        1
        >>> gatewise.unpatch_keras()
    """
    global _active  # noqa: PLW0603  # one switch for the process, as the classes are
    if os.environ.get("TF_USE_LEGACY_KERAS") in {"true", "True", "1"}:  # as TensorFlow reads it
        warn_once(
            "with TF_USE_LEGACY_KERAS tf.keras is Keras 2, which gatewise does not patch: unset that variable before "
            "TensorFlow is imported, or import keras instead of tf.keras",
            "gatewise.patch_keras: tf.keras is left alone and its own GRU",
        )
    with _lock:
        if not _active:
            _active = True
            for cls, name, new in _replacements():
                _replaced[cls, name] = (vars(cls).get(name, _ABSENT), new)
                setattr(cls, name, new)
            _forget_compiled()


def unpatch_keras() -> None:
    """Undoes `patch_keras`: every layer of stock Keras runs Keras's own loop again. Without a patch it changes nothing.

    What has been put over ours since stays; ours then hands everything on to Keras.
    """
    global _active  # noqa: PLW0603  # see patch_keras
    with _lock:
        if _active:
            _active = False
            for (cls, name), (old, new) in _replaced.items():
                if vars(cls).get(name) is new and old is _ABSENT:
                    delattr(cls, name)
                elif vars(cls).get(name) is new:
                    setattr(cls, name, old)
            _replaced.clear()
            _forget_compiled()


def is_patched() -> bool:
    """Says whether the layers of stock Keras run on the engine now."""
    return _active


def follows(layer: Any) -> bool:
    """Says whether a layer runs on the engine while the patch is on, if nothing is in the engine's way."""
    return isinstance(layer, LAYERS) or _is_stock(layer)


def is_ours(layer: Any) -> bool:
    """Says whether a layer is one of ours, or one of stock Keras that follows."""
    return isinstance(layer, Native) or (_active and follows(layer))


def _replacements() -> list[tuple[type, str, Any]]:
    return [
        *((layer, "inner_loop", _looping(layer.inner_loop, lambda _layer: True)) for layer in _LOOPING),
        (_RNN, "inner_loop", _looping(_RNN.inner_loop, _loops_as_rnn)),
        (_RNN, "__call__", teaching.call(_RNN, lambda layer: _active and follows(layer))),
        *((kind, "__init__", teaching.constructor(kind, _check_cells, is_patched)) for kind in (_RNN, _STACK)),
        *(
            (kind, "__init__", teaching.constructor(kind, _check_arguments(kind), is_patched))
            for kind in (*LAYERS, *CELLS)
        ),
        (_RNN, "supports_jit", _SupportsJit()),
        (_RNN, "fallback_reason", fallback.FallbackReason()),
    ]


def _check_cells(where: str, *args: Any, **kwargs: Any) -> None:
    given = [*args[:1], *(kwargs[name] for name in ("cell", "cells") if name in kwargs)]
    if given:
        constructor_errors.check_cell(where, given[0])


def _check_arguments(kind: Any) -> Callable[..., None]:
    return lambda where, *args, **kwargs: constructor_errors.check_constructor(where, kind, args, kwargs)


def _is_stock(layer: Any) -> bool:
    """Says whether a layer is stock's RNN, with cells of stock's that the engine has."""
    return type(layer) is _RNN and all(type(cell) in CELLS for cell in cells_of(layer) or [None])


def _loops_as_rnn(layer: Any) -> bool:
    """Says whether the loop of RNN is a layer's own, and not what its own loop, or ours, falls back on."""
    return _is_stock(layer) or (isinstance(layer, LAYERS) and not isinstance(layer, (*_LOOPING, Native)))


def _looping(stock: Callable[..., Results], engine_has: Callable[[Any], bool]) -> Callable[..., Results]:
    @functools.wraps(stock)
    def inner_loop(
        self: Any, sequences: Tensor, initial_state: Tensor, mask: Tensor | None, training: bool = False
    ) -> Results:
        if not _active or not engine_has(self):
            return stock(self, sequences, initial_state, mask, training=training)
        return loop.inner_loop(self, sequences, initial_state, mask, training, functools.partial(stock, self))

    return inner_loop


class _SupportsJit:
    """The attribute `supports_jit` of recurrent layers: no for those that the engine runs where XLA cannot hold it."""

    def __get__(self, layer: Any, owner: type | None = None) -> bool:
        if layer is None:
            return True
        stock = cast("bool", vars(layer).get("supports_jit", True))
        return stock and not (_runs_natively(layer) and leaves_xla_off())

    def __set__(self, layer: Any, value: bool) -> None:
        vars(layer)["supports_jit"] = value


def _runs_natively(layer: Any) -> bool:
    # Keras sets the attribute before there is a cell.
    return "cell" in vars(layer) and follows(layer) and not fallback.settled_reason(layer)


def _forget_compiled() -> None:
    """Has every model make its compiled functions anew, or torch forget what it compiled.

    Keras keeps no list of its models, and those made before the patch could not register with us: the garbage collector
    is the one who knows them. The functions are made, not only dropped, since a `fit` may be under way and look for
    them. On torch they are Keras's plain steps, which follow, or stand for code that torch traces again when asked to.
    """
    if keras.backend.backend() == "torch":
        if "torch._dynamo" in sys.modules:
            import torch

            torch.compiler.reset()
        return
    for model in [thing for thing in gc.get_objects() if issubclass(type(thing), keras.Model)]:
        for task in ("train", "test", "predict"):
            if getattr(model, f"{task}_function", None) is not None:
                setattr(model, f"{task}_function", None)
                getattr(model, f"make_{task}_function")()
