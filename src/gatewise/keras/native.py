# SPDX-License-Identifier: Apache-2.0
"""What makes a layer of stock Keras one of ours: its loop over time on the engine, and errors that teach.

Masks, states, dropout and saving stay Keras's.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeAlias

from gatewise.keras import call_errors, constructor_errors, loop, sequence_errors, zoneout
from gatewise.keras.engine import leaves_xla_off
from gatewise.keras.errors import class_name
from gatewise.keras.fallback import FallbackReason
from gatewise.keras.starts import given

Tensor: TypeAlias = Any  # a tensor of Keras's backend; Keras ships no types


class Native:
    """Stands before a layer of stock Keras among the bases of ours.

    Attributes:
        STOCK: that layer's class: some put ours in its place, under its name.
        ZONEOUT: the arguments of its constructor that stock's has not.
        fallback_reason: why Keras's own path ran in the latest call or trace; None if the engine ran.
    """

    STOCK: Any
    ZONEOUT: tuple[str, ...] = ()
    fallback_reason = FallbackReason()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "STOCK" in vars(cls):
            # Keras reads the signature in Operation.__new__, and people read it in help().
            cls.__init__ = _constructor(cls)  # type: ignore[method-assign]

    def build(self, sequences_shape: tuple[int | None, ...], initial_state_shape: Any = None) -> None:
        """Creates the weights, and a stateful layer's states, for sequences of shape (batch, timesteps, features)."""
        sequence_errors.check_build(self, sequences_shape)
        super().build(sequences_shape, initial_state_shape)  # type: ignore[misc]  # the stock layer's

    def get_build_config(self) -> dict[str, Any] | None:
        """Returns what Keras builds a loaded layer from, and what to do where it cannot be loaded."""
        config: dict[str, Any] | None = super().get_build_config()  # type: ignore[misc]
        if not config or "STOCK" not in vars(type(self)):
            return config
        # Where gatewise is not imported, Keras's error ends in the configuration of the layer, and that ends in this.
        name = type(self).__name__
        loads = f"import gatewise.keras first, or load stock Keras by custom_objects={{'gatewise>{name}': "
        return {**config, "to_load": f"{loads}keras.layers.{name}}}"}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the layer over sequences (batch, timesteps, features); see stock's class for the call arguments."""
        call_errors.check_call(self, args, kwargs)
        return super().__call__(*args, **kwargs)  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        """Returns what a layer like this is made with: stock's configuration, and zoneout where there is some."""
        return {**super().get_config(), **zoneout.config_of(self)}  # type: ignore[misc]

    def call(
        self,
        sequences: Tensor,
        initial_state: Any = None,
        mask: Tensor | None = None,
        training: bool = False,
        starts: Tensor | None = None,
        sequences_mask: Tensor | None = None,
    ) -> Any:
        """Runs the layer over sequences.

        Args:
            sequences: (batch, timesteps, features).
            initial_state: (batch, units), in a list of the cell's states; None for zeros.
            mask: (batch, timesteps), nonzero = valid; or None.
            training: whether dropout and zoneout act.
            starts: (batch, timesteps), nonzero = a boundary before that step in time, masked or not, which no state
                and no gradient crosses: rows that hold several sequences, one after the other. The step begins with
                the initial state; a layer that goes backwards does so behind it. The state returned is that of the
                last valid step read. Or None.
            sequences_mask: Keras fills it in, beside starts: the mask that the sequences carry, which is taken if none
                is given.

        Returns:
            What stock's layer returns.
        """
        if starts is None:
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)  # type: ignore[misc]
        mask = sequences_mask if mask is None else mask
        with given(starts, self):
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)  # type: ignore[misc]

    def inner_loop(
        self, sequences: Tensor, initial_state: Tensor, mask: Tensor | None, training: bool = False
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Carries the state through time.

        Args:
            sequences: (batch, timesteps, features).
            initial_state: (batch, units), alone or in a list; a list of such where the cell has several.
            mask: (batch, timesteps), any dtype, nonzero = valid; or None.
            training: whether dropout acts and a gradient will follow.

        Returns:
            The last output (batch, units); the outputs in processing order, (batch, timesteps, units), or (batch, 1,
            units) without `return_sequences`; and the last states in a list, (batch, units) each. Last output and last
            state differ in the last step if that step is masked.
        """
        return loop.inner_loop(self, sequences, initial_state, mask, training, super().inner_loop)  # type: ignore[misc]


def _constructor(cls: Any) -> Any:
    """Makes the constructor of one of our classes: stock's, whose mistakes are explained."""
    stock = cls.STOCK

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # the method's name, seen in tracebacks
        zoneout.take(self, class_name(self), kwargs)
        constructor_errors.check_constructor(class_name(self), stock, args, kwargs)
        super(Native, self).__init__(*args, **kwargs)
        if self.fallback_reason is None and leaves_xla_off():
            self.supports_jit = False

    of_stock = inspect.signature(stock.__init__)
    *others, rest = of_stock.parameters.values()
    more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=0.0) for name in cls.ZONEOUT]
    signature = of_stock.replace(parameters=[*others, *more, rest])
    setattr(__init__, "__signature__", signature)  # noqa: B010  # mypy knows no such attribute
    return __init__
