# SPDX-License-Identifier: Apache-2.0
"""A call of a layer inside a model: what it is given, with the masks that Keras fills in."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Flow:
    """A value on its way through a model, with the mask that Keras would attach to it.

    Attributes:
        value: its name in the graph.
        mask: the name of a value (batch, steps) bool; None where there is none.
        of_features: Keras's value has a truth for each feature, this one says for each step whether any is true.
    """

    value: str
    mask: str | None = None
    of_features: bool = False


@dataclass(frozen=True)
class Call:
    """A call of a layer.

    Attributes:
        layer: the layer, or an operation of `keras.ops`.
        name: the path to its node: the names of the models and its own.
        arguments: by name, what it is called with: flows, alone or nested, and options. Masks are names of values.
        mask: what Keras gives to `compute_mask`: the mask of the first argument, nested as that is.
    """

    layer: Any
    name: str
    arguments: dict[str, Any]
    mask: Any = None

    @property
    def flows(self) -> list[Flow]:
        """What the first argument holds."""
        return [flow for flow in flat(next(iter(self.arguments.values()))) if isinstance(flow, Flow)]

    @property
    def x(self) -> str:
        """The value of the first argument, of a layer that takes one."""
        return self.flows[0].value

    def inside(self, layer: Any, name: str, **arguments: Any) -> Call:
        """Makes the call of a layer inside this one's."""
        return replace(self, layer=layer, name=f"{self.name}/{name}", arguments=arguments)


def flat(structure: Any) -> list[Any]:
    """Lists the leaves of nested lists, tuples and dicts as Keras does, dicts by their sorted keys."""
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in flat(structure[key])]
    if isinstance(structure, list | tuple):
        return [leaf for part in structure for leaf in flat(part)]
    return [structure]


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """Puts what a function makes of each leaf in its place."""
    if isinstance(structure, dict):
        return {key: mapped(function, part) for key, part in structure.items()}
    if isinstance(structure, list | tuple):
        return [mapped(function, part) for part in structure]
    return function(structure)


def bound(layer: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Binds arguments as `keras.layers.Layer.__call__` does, masks included.

    Keras fills in `mask` where a layer has one argument of tensors, and `x_mask` for each argument x where it has more:
    a recurrent layer that is given `initial_state` gets no mask, but passes that of its input on.

    Args:
        layer: the layer.
        name: see `Call`.
        args: positional arguments, flows in the place of tensors.
        kwargs: others.

    Returns:
        The call.
    """
    signature = inspect.signature(layer.call)
    # Keras takes `training` for every layer
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.parameters.values())
    known = {key: value for key, value in kwargs.items() if takes_all or key in signature.parameters}
    bindings = signature.bind(*args, **known)
    bindings.apply_defaults()
    arguments = dict(bindings.arguments)
    tensors = {key: value for key, value in arguments.items() if _is_of_tensors(value)}
    if len(tensors) == 1:
        _fill_in(arguments, "mask", *tensors.values())
    else:
        for key, value in tensors.items():
            _fill_in(arguments, f"{key}_mask", value)
    for key, value in arguments.items():
        if key.endswith("mask"):
            arguments[key] = mapped(_mask_value, value)
    mask = arguments.get("mask")
    first = next(iter(arguments.values()))
    return Call(layer, name, arguments, mapped(_mask_of, first) if mask is None else mask)


def _is_of_tensors(value: Any) -> bool:
    if isinstance(value, list | tuple | dict):
        leaves = flat(value)
        return bool(leaves) and all(leaf is None or _is_tensor(leaf) for leaf in leaves)
    return _is_tensor(value)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Flow) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def _fill_in(arguments: dict[str, Any], name: str, given: Any) -> None:
    if name in arguments and arguments[name] is None:
        arguments[name] = mapped(_mask_of, given)


def _mask_of(leaf: Any) -> str | None:
    return leaf.mask if isinstance(leaf, Flow) else None


def _mask_value(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Flow) else leaf
