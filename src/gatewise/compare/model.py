# SPDX-License-Identifier: Apache-2.0
"""The model around a cell: the caller's own, or what the data ask for."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.compare.score import Score, default_score
from gatewise.options import cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewise.compare.cells import Factory
    from gatewise.compare.data import Data
    from gatewise.compare.settings import Settings

RATE = 1e-3  # of Adam, Keras's own default


class Made(NamedTuple):
    """A model, and what it is judged by: None where that follows from what the caller has it measure."""

    model: Any
    score: Score | None


@dataclass(frozen=True)
class Builder:
    """Builds and compiles models.

    Attributes:
        cells: by name, what makes the layer.
        data: what they are built for.
        own: the caller's `build(layer, units)`; None: an embedding of ids, the layer, a head.
    """

    cells: dict[str, Factory]
    data: Data
    own: Callable[..., Any] | None = None

    def __call__(self, cell: str, units: int, rate: float | None, seed: int = 0) -> Made:
        """Builds a model.

        Args:
            cell: its name.
            units: of the layer, or of each that the caller's `build` makes.
            rate: of learning; None: 0.001, or that of a model that the caller has compiled.
            seed: what decides the first weights, and what is drawn while it trains.
        """
        import keras

        keras.utils.set_random_seed(seed)
        model = self._around(self.cells[cell], units)
        if not model.compiled:
            width = model.output_shape[-1]
            loss, metric = self.data.targets.loss(width)
            optimizer = keras.optimizers.Adam(RATE if rate is None else rate, clipnorm=1.0)
            model.compile(optimizer, loss, metrics=[metric] if metric else None)
            return Made(model, default_score(self.data.targets, width))
        if rate is not None:
            _set_rate(model.optimizer, rate)
        return Made(model, None)

    def question(self, settings: Settings) -> dict[str, Any]:
        """Says what is asked, as plain data, so that the same question is known again."""
        import keras

        own = None if self.own is None else getattr(self.own, "__qualname__", type(self.own).__name__)
        return {
            **dataclasses.asdict(settings),
            "cells": {name: self._told(make, settings.units) for name, make in self.cells.items()},
            "build": own,
            "data": self.data.digest(),
            "backend": keras.backend.backend(),
            "keras": keras.__version__,
        }

    def _told(self, make: Factory, units: int) -> str:
        """Says which layer a cell makes: another one under the same name is another question."""
        made = make(units, return_sequences=self.data.targets.each_step)
        config = made.get_config() if hasattr(made, "get_config") else {}
        return json.dumps([type(made).__qualname__, _without_names(config)], sort_keys=True, default=_kind)

    def _around(self, layer: Factory, units: int) -> Any:
        import keras

        if self.own is None:
            return keras.Sequential(list(self._layers(layer, units)))
        model = self.own(layer, units)
        if not isinstance(model, keras.Model) or not model.built:
            raise TypeError(
                "compare: build returned no model that is built. Expected a keras.Model with an Input; received "
                f"{cut(repr(model))}. Begin it with keras.Input."
            )
        return model

    def _layers(self, layer: Factory, units: int) -> Any:
        from keras import layers

        data = self.data
        yield layers.Input((None, *data.x.shape[2:]), dtype=str(data.x.dtype))
        if data.vocabulary is not None:
            width = min(64, max(8, 2 * math.isqrt(data.vocabulary)))
            yield layers.Embedding(data.vocabulary, width, mask_zero=data.mask_value is not None)
        elif data.mask_value is not None:
            yield layers.Masking(data.mask_value)
        made = layer(units, return_sequences=data.targets.each_step)
        if not isinstance(made, layers.Layer):
            raise TypeError(
                f"compare: a cell makes no layer. Expected a Keras layer; received {cut(repr(made))}. Return one."
            )
        yield made
        width, activation = data.targets.head
        yield layers.Dense(width, activation=activation)


def _set_rate(optimizer: Any, rate: float) -> None:
    try:
        optimizer.learning_rate = rate
    except TypeError as error:  # a schedule, which Keras does not replace
        raise TypeError(
            f"compare: learning_rate does not fit the model that build compiles. Expected None, and tune=0, as its "
            f"optimizer follows a schedule of its own; received {rate}. Leave them out, or compile with a number."
        ) from error


def _without_names(config: Any) -> Any:
    """A configuration without the names, which Keras numbers anew for every layer."""
    if isinstance(config, dict):
        return {str(key): _without_names(value) for key, value in config.items() if key != "name"}
    return [_without_names(one) for one in config] if isinstance(config, list | tuple) else config


def _kind(value: Any) -> str:
    return type(value).__qualname__
