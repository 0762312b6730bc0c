# SPDX-License-Identifier: Apache-2.0
"""`convert`: a model with the recurrent layers of stock Keras as one with gatewise's, and back."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import keras

from gatewise.keras.errors import describe, named
from gatewise.keras.layers import LAYERS
from gatewise.keras.zoneout import acts_on, config_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ("gatewise", "stock")


def convert(model: Any, to: Literal["gatewise", "stock"] = "gatewise") -> Any:
    """Rewrites a model's recurrent layers, at any depth: in `Bidirectional`, in `TimeDistributed`, in nested models.

    The model goes through its configuration, as it does when it is saved. Names, shared layers, weights, the states of
    stateful layers and of random generators, `compile` and the optimizer's state are kept.

    Args:
        model: a Keras model, or a layer. It stays as it is.
        to: "gatewise" turns `keras.layers.GRU` into `gatewise.keras.GRU`, and so on; "stock" does the opposite.

    Returns:
        A new model.

    Raises:
        TypeError: model is no Keras layer.
        ValueError: to is unknown; a layer has zoneout, which stock's has not; or layers would remain that a model class
            of yours makes in its own code, where no configuration reaches.

    Example:
        >>> import keras
        >>> stock = keras.Sequential([keras.Input((None, 3)), keras.layers.Bidirectional(keras.layers.GRU(4))])
        >>> fast = convert(stock)
        >>> type(fast.layers[0].forward_layer).__module__
        'gatewise.keras.gru'
        >>> type(convert(fast, to="stock").layers[0].forward_layer) is keras.layers.GRU
        True
    """
    if not isinstance(model, keras.Layer):
        raise TypeError(
            f"gatewise.keras.convert: model has the wrong type. Expected a Keras model or layer; received "
            f"{type(model).__name__}. Load a file with keras.saving.load_model first."
        )
    if to not in _NAMES:
        raise ValueError(
            f"gatewise.keras.convert: to is unknown. Expected 'gatewise' or 'stock'; received {describe(to)}. "
            "Choose one."
        )
    zoned = [part for part in parts_of(model) if isinstance(part, LAYERS) and acts_on(part)]
    if to == "stock" and zoned:
        raise ValueError(
            f"gatewise.keras.convert: {named(zoned[0])} has zoneout, which stock Keras has not. Expected layers of "
            f"stock's arguments; received {config_of(zoned[0])}. Make the layer without it first."
        )
    pairs = [(cls.STOCK, cls) if to == "gatewise" else (cls, cls.STOCK) for cls in LAYERS]
    lambdas = _lambdas(model)
    addresses = [(_address(source), _address(target)) for source, target in pairs]
    config = _rewritten(keras.saving.serialize_keras_object(model), addresses, lambdas)
    with keras.saving.custom_object_scope({**_custom_objects(model), **lambdas}):
        # safe_mode guards against code in files; this configuration comes from the live model.
        converted = keras.saving.deserialize_keras_object(config, safe_mode=False)
    _check_complete(converted, [source for source, _ in pairs], to)
    _copy_state(model, converted)
    return converted


def _address(cls: type) -> dict[str, Any]:
    """How Keras's configurations name a class."""
    config = keras.saving.serialize_keras_object(cls(1))
    return {name: config[name] for name in ("module", "class_name", "registered_name")}


def _rewritten(config: Any, addresses: list[tuple[dict[str, Any], dict[str, Any]]], lambdas: dict[str, Any]) -> Any:
    if isinstance(config, list | tuple):
        return type(config)(_rewritten(part, addresses, lambdas) for part in config)
    if not isinstance(config, dict):
        return config
    parts = {name: _rewritten(part, addresses, lambdas) for name, part in config.items()}
    for source, target in addresses:
        if source.items() <= parts.items():
            return {**parts, **target}
    if parts.get("class_name") == "Lambda" and (name := _lambda_name(parts["config"])) in lambdas:
        function = {"module": "builtins", "class_name": "function", "config": name, "registered_name": name}
        parts["config"] = {**parts["config"], "function": function}
    return parts


def _lambda_name(config: dict[str, Any]) -> str:
    return f"gatewise_lambda_{config['name']}"


def _lambdas(model: Any) -> dict[str, Any]:
    """Collects the functions of Lambda layers: Keras would rebuild them from code alone, without what they refer to."""
    found: dict[str, Any] = {}
    for part in parts_of(model):
        if isinstance(part, keras.layers.Lambda):
            name = _lambda_name({"name": part.name})
            # Two layers of one name can only be told apart by Keras's own way.
            found[name] = part.function if found.get(name, part.function) is part.function else None
    return {name: function for name, function in found.items() if function is not None}


def parts_of(layer: Any) -> Iterator[Any]:
    """Yields a layer and the layers inside it, at any depth."""
    yield from layer._flatten_layers(include_self=True, recursive=True)  # noqa: SLF001  # Keras has no public way down


def _custom_objects(model: Any) -> dict[str, Any]:
    """Collects, by name, the classes and functions of the user that the configuration only names."""
    parts = list(parts_of(model))
    values = [value for part in parts for value in vars(part).values()]
    compiled = getattr(getattr(model, "_compile_config", None), "config", None)  # the arguments of compile
    values += keras.tree.flatten(compiled)
    known = [type(part) for part in parts] + [type(value) for value in values] + values
    return {
        thing.__name__: thing
        for thing in known
        if (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__.split(".")[0] not in {"builtins", "gatewise", "keras", "numpy"}
    }


def _check_complete(converted: Any, sources: list[Any], to: str) -> None:
    left = [part.name for part in parts_of(converted) if type(part) in sources]
    if left:
        some = ", ".join(map(repr, left[:5])) + (" and others" if len(left) > 5 else "")
        own = f"{type(converted).__name__} makes them in its own code"
        cure = "Write that class with the layers of gatewise.keras, or call gatewise.patch_keras() and convert nothing"
        raise ValueError(
            f"gatewise.keras.convert: {len(left)} recurrent layers cannot be converted to {to!r}. Expected layers that "
            f"the model's configuration holds; received {some}: {own}. "
            f"{cure if to == 'gatewise' else 'Write that class with those of keras.layers'}."
        )


def _copy_state(model: Any, converted: Any) -> None:
    old, new = _variables(model), _variables(converted)
    if old and not new and not converted.built:
        converted.build_from_config(model.get_build_config())
        new = _variables(converted)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and optimizer.built:
        old += optimizer.variables
        new += converted.optimizer.variables
    if len(old) != len(new):
        raise ValueError(
            f"gatewise.keras.convert: the new model has other variables. Expected {len(old)}; received {len(new)}. "
            f"Give {type(model).__name__} a get_config that says how it was made."
        )
    for value, variable in zip(old, new, strict=True):
        variable.assign(keras.ops.copy(value))  # JAX frees the array of a model that trains on


def _variables(model: Any) -> list[Any]:
    """Lists weights, the states of random generators and recurrent states; metrics begin anew with every epoch."""
    metrics = {id(variable) for variable in model.metrics_variables}
    found = [variable for variable in model.variables if id(variable) not in metrics]
    for part in parts_of(model):
        found += keras.tree.flatten(getattr(part, "states", None) or [])
    return found
