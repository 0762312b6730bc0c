# SPDX-License-Identifier: Apache-2.0
"""The walk through a model: nested models are flattened, each layer becomes the nodes that its row says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.runtime.doors.from_keras.builder import Builder
from gatewise.runtime.doors.from_keras.calls import Call, Flow, bound, flat, mapped
from gatewise.runtime.doors.from_keras.errors import KerasModelError, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

_OWN = {"LayerNormGRU", "LayerNormGRUCell", "LayerNormLSTM", "LayerNormLSTMCell", "Preprocessing"}  # of gatewise
_CURE = (
    "Build it of Keras's layers, as a Sequential or a functional model, or cut the model before it and compute the "
    "rest yourself."
)


class Door(Builder):
    """Builds a graph of a model.

    Args:
        keras: the package.
        layers: a row for each layer that is known, by the name of its class.
        operations: what makes nodes of an operation of `keras.ops`, by the name of its class.
    """

    def __init__(self, keras: Any, layers: dict[str, Any], operations: dict[str, Any]) -> None:
        super().__init__()
        self.keras = keras
        self._layers = layers
        self._operations = operations
        self._paths: set[str] = set()

    # --- Models ---

    def model(self, model: Any, flows: Sequence[Flow], path: str) -> list[Flow]:
        """Goes through a model.

        Args:
            model: Sequential or functional.
            flows: what stands for its inputs.
            path: what stands before the names of its layers: empty, or a path with "/" at its end.

        Returns:
            What comes out, in the order of its outputs.

        Raises:
            KerasModelError: it is another kind of model, or holds what is not known.
        """
        if isinstance(model, self.keras.Sequential):
            x: Any = flows[0]
            for layer in model.layers:
                found = self.operation(layer, (x,), {}, path)
                x = found[0] if len(found) == 1 else found
            return flat(x)
        known: dict[int, Flow | None] = {}
        _learn(known, model.inputs, flows)
        for node in _in_order(model):
            args, kwargs = _with_flows(node, known)
            found = self.operation(node.operation, args, kwargs, path)
            _learn(known, node.outputs, found)
        outputs = [flow for tensor in model.outputs if (flow := known[id(tensor)]) is not None]
        self._check_truths(model, path.rstrip("/") or model.name, outputs)
        return outputs

    def is_model(self, layer: Any) -> bool:
        """Says whether a layer is a model that `model` goes through."""
        return self._has_stock_call(layer) and (layer.built or not isinstance(layer, self.keras.Sequential))

    def _has_stock_call(self, layer: Any) -> bool:
        named = {"Functional", "Sequential"}  # Keras has no public name for the first
        stock = (one for one in type(layer).__mro__ if one.__name__ in named and one.__module__.startswith("keras."))
        return any(getattr(type(layer), "call", None) is getattr(one, "call", None) for one in stock)

    def require_model(self, model: Any, place: str) -> None:
        """Makes sure of that.

        Raises:
            KerasModelError: it is something else.
        """
        if self.is_model(model):
            return
        if self._has_stock_call(model):
            raise refused(
                model,
                place,
                "the model is not built",
                "a shape of its input",
                "a Sequential without one",
                "Put keras.Input(shape) before its layers, or call model.build(shape) or the model itself.",
            )
        raise refused(
            model,
            place,
            "a model with a `call` of its own is a program, not a graph",
            "a Sequential or a functional model",
            f"{type(model).__module__}.{type(model).__qualname__}",
            _CURE,
        )

    # --- Layers ---

    def operation(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], path: str) -> list[Flow]:
        """Makes the nodes of a call.

        Args:
            operation: a layer, a model, or an operation of `keras.ops`.
            args: positional arguments, flows in the place of tensors.
            kwargs: others.
            path: what stands before its name.

        Returns:
            What comes out, flat.

        Raises:
            KerasModelError: it is not known, or has an option that a graph has not.
        """
        name = self._path(f"{path}{operation.name}")
        if type(operation).__name__ != "Any":
            self._check_truths(operation, name, [args, kwargs])
        if isinstance(operation, self.keras.Layer):
            call = self._with_bool_masks(bound(operation, name, args, kwargs))
            return self.layer(call)
        makes = self._operations.get(type(operation).__name__)
        if makes is None or not type(operation).__module__.startswith("keras."):
            raise self._unknown(operation, name, "operation")
        found = flat(makes(self, Call(operation, name, {"args": args, **kwargs})))
        return [one if isinstance(one, Flow) else Flow(one) for one in found]

    def layer(self, call: Call) -> list[Flow]:
        """Makes the nodes of a layer whose arguments are bound; returns what comes out, flat."""
        layer = call.layer
        if isinstance(layer, self.keras.Model):
            self.require_model(layer, call.name)
            return self.model(layer, self._given(call), f"{call.name}/")
        kind = self.kind(layer)
        row = self._layers.get(kind or "")
        if row is None:
            raise self._unknown(layer, call.name, "layer")
        self._check(layer, call.name)
        values = flat(row.makes(self, call))
        masks = [*flat(row.masks(self, call, values)), *[None] * len(values)]
        return [Flow(value, mask) for value, mask in zip(values, masks, strict=False)]

    def kind(self, layer: Any) -> str | None:
        """Returns the name of the class of Keras that a layer or cell is of, or that gatewise's stands for.

        None for any other class, those derived from Keras's included: what they compute is theirs.
        """
        cls = type(layer)
        if cls.__module__.startswith("gatewise."):
            cls = getattr(cls, "STOCK", cls)
        name, package = str(cls.__name__), cls.__module__.partition(".")[0]
        return name if package == "keras" or (package == "gatewise" and name in _OWN) else None

    def built_of(self, model: Any, what: str) -> Any:
        """What a functional model was built of, its `input` or `output`: a tensor, or some, nested; else None."""
        return None if isinstance(model, self.keras.Sequential) else getattr(model, what)

    def _given(self, call: Call) -> list[Flow]:
        """What a nested model is called with, in the order of its inputs."""
        inputs, masks = call.arguments["inputs"], flat(call.arguments.get("mask"))
        if isinstance(inputs, dict) and not isinstance(self.built_of(call.layer, "input"), dict):
            inputs = [inputs[tensor.name] for tensor in call.layer.inputs]
        flows = flat(inputs)
        masks = [*masks, *[None] * len(flows)]
        return [Flow(flow.value, mask or flow.mask) for flow, mask in zip(flows, masks, strict=False)]

    def _check_truths(self, layer: Any, name: str, given: Any) -> None:
        """Makes sure that nothing but `any` over the features reads a truth of each feature."""
        if any(isinstance(leaf, Flow) and leaf.of_features for leaf in flat(given)):
            expected, received = "masks of steps, as any(not_equal(x, 0), axis=-1)", "a truth for each feature"
            raise refused(layer, name, "it reads a comparison", expected, received)

    def _check(self, layer: Any, name: str) -> None:
        if getattr(layer, "quantization_mode", None) is not None:
            raise refused(
                layer,
                name,
                "its weights are quantized",
                "float weights",
                str(layer.quantization_mode),
                "Take the model before model.quantize().",
            )
        dtype = str(getattr(layer, "compute_dtype", "float32"))
        if dtype in {"float16", "bfloat16", "float64"}:
            self.rounded(dtype, name)

    def _unknown(self, layer: Any, name: str, kind: str) -> KerasModelError:
        known = (
            "one that gatewise.runtime.doors.from_keras.LAYERS names"
            if kind == "layer"
            else ", ".join(self._operations)
        )
        found = f"{type(layer).__module__}.{type(layer).__qualname__}"
        return refused(layer, name, f"a graph has no such {kind}", known, found)

    def _path(self, name: str) -> str:
        new = self._new(name, self._paths)
        self._paths.add(new)
        return new

    def _with_bool_masks(self, call: Call) -> Call:
        """Makes masks of what counts as true where it is not zero."""

        def made(mask: Any) -> Any:
            if isinstance(mask, str) and self.dtype(mask) == "int64":
                return self.emit(call, f"{call.name}/mask", "not_equal", [mask], value=0.0)
            return mask

        masks = {key: mapped(made, value) for key, value in call.arguments.items() if key.endswith("mask")}
        given = call.arguments.get("mask")
        mask = masks["mask"] if given is not None and given == call.mask else call.mask
        return replace(call, arguments={**call.arguments, **masks}, mask=mask)

    # --- Weights ---

    def read(self, variable: Any, name: str) -> Any:
        """Reads a variable, or what is computed of some, as float32.

        Args:
            variable: of Keras, or a tensor; None where there is none.
            name: of its layer, for what is said of its dtype.

        Returns:
            Its values, float32; None for None.
        """
        if variable is None:
            return None
        dtype = str(self.keras.backend.standardize_dtype(getattr(variable, "dtype", "float32")))
        if dtype in {"float16", "bfloat16", "float64"} and not isinstance(variable, np.ndarray | np.generic):
            self.rounded(dtype, name)
        return np.asarray(self.keras.ops.convert_to_numpy(variable)).astype(np.float32)

    def constant(self, call: Call, name: str, array: Array) -> str:
        """Adds an array, float32, that is always the same.

        Raises:
            KerasModelError: it has a batch of another size than one.
        """
        if array.ndim < 1 or array.shape[0] != 1:
            raise refused(
                call.layer,
                call.name,
                "an array in the model has a batch of its own",
                "arrays of a batch of one",
                f"shape {array.shape}",
                "Make it an input of the model.",
            )
        return self.emit(call, name, "constant", [], weights=self.weights(array, name, value=array))


def _learn(known: dict[int, Flow | None], tensors: Sequence[Any], flows: Sequence[Flow]) -> None:
    """Notes what stands for tensors, and for their masks, which Keras keeps among the arguments of some calls."""
    for tensor, flow in zip(tensors, flows, strict=True):
        known[id(tensor)] = flow
        mask = _mask_of(tensor)
        if mask is not None:
            known[id(mask)] = None if flow.mask is None else Flow(flow.mask)


def _mask_of(tensor: Any) -> Any:
    return getattr(tensor, "_keras_mask", None)


def _with_flows(node: Any, known: dict[int, Flow | None]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Puts flows in the place of tensors, in what Keras keeps of a call."""
    masks = _filled_in(node)

    def filled(leaf: Any) -> Any:
        return known.get(id(masks.get(id(leaf), leaf)), leaf)

    return tuple(mapped(filled, list(node.arguments.args))), mapped(filled, node.arguments.kwargs)


def _filled_in(node: Any) -> dict[int, Any]:
    """Finds the masks among what a layer was called with that are those of its inputs: Keras filled them in.

    A model from a file computes them once more, by operations that the file holds.

    Returns:
        By the id() of each, the mask of the input.
    """
    there = [mask for tensor in node.input_tensors if (mask := _mask_of(tensor)) is not None]
    given = [tensor for tensor in node.input_tensors if str(tensor.dtype) == "bool"]
    return {id(tensor): mask for tensor in given for mask in there if _are_same(tensor, mask)}


def _are_same(a: Any, b: Any) -> bool:
    """Says whether two symbolic tensors are the same, or made by like operations of the same."""
    if a is b:
        return True
    if not (hasattr(a, "_keras_history") and hasattr(b, "_keras_history")):
        return bool(type(a) is type(b) and not hasattr(a, "shape") and a == b)
    one, other = a._keras_history, b._keras_history  # noqa: SLF001
    if one.operation is None or type(one.operation) is not type(other.operation):
        return False
    if one.tensor_index != other.tensor_index or _options(one.operation) != _options(other.operation):
        return False
    read, again = (
        flat([list(node.arguments.args), node.arguments.kwargs])
        for node in (at.operation._inbound_nodes[at.node_index] for at in (one, other))  # noqa: SLF001
    )
    return len(read) == len(again) > 0 and all(map(_are_same, read, again))


def _options(operation: Any) -> dict[str, Any]:
    return {name: value for name, value in operation.get_config().items() if name != "name"}


def _in_order(model: Any) -> Iterator[Any]:
    """Yields the nodes of a functional model, each after those that it reads; what comes before its inputs is not its.

    Keras keeps them as attributes of tensors and operations that are named with an underscore, in all its versions.
    """
    given, done = {id(tensor) for tensor in model.inputs}, set[int]()
    waiting = [(tensor, False) for tensor in reversed(model.outputs)]
    while waiting:
        tensor, is_ready = waiting.pop()
        if id(tensor) in given:
            continue
        history = tensor._keras_history  # noqa: SLF001
        node = history.operation._inbound_nodes[history.node_index]  # noqa: SLF001
        if id(node) in done:
            continue
        if is_ready:
            done.add(id(node))
            yield node
            continue
        waiting.append((tensor, True))
        masks = _filled_in(node)  # known when what they belong to is
        waiting += [(one, False) for one in reversed(node.input_tensors) if id(one) not in masks]
