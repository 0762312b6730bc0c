# SPDX-License-Identifier: Apache-2.0
"""A node of the ONNX graph while it is read: its attributes, what it reads, and how it says that it cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gatewise.options import cut
from gatewise.runtime.doors.from_onnx import layout
from gatewise.runtime.doors.from_onnx.problem import WHERE, problem
from gatewise.runtime.doors.from_onnx.values import Erf, Filled, Parts, Size, Sizes, Tensor
from gatewise.runtime.graph import GraphError
from gatewise.runtime.operations import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from gatewise.runtime.doors.from_onnx.builder import Builder

    Array = npt.NDArray[Any]

NARROW = "Simplify the model there, or run that part elsewhere."


class Read:
    """A node.

    Attributes:
        op: what ONNX calls it.
        name: as in the file; of a node without one, its first output's.
        opset: of the file.
        given: what it reads, None where an optional input is left out.
        names: of what it makes, "" where nobody wants it.
        readers: how many read each value of the file.
        builder: the graph as it grows.
    """

    def __init__(
        self,
        op: str,
        name: str,
        opset: int,
        attributes: Mapping[str, Any],
        given: Sequence[Any],
        inputs: Sequence[str],
        names: Sequence[str],
        readers: Mapping[str, int],
        builder: Builder,
    ) -> None:
        self.op, self.name, self.opset, self.given, self.names = op, name, opset, list(given), list(names)
        self.inputs, self.readers, self.builder = list(inputs), readers, builder
        self._attributes = attributes

    def fail(self, what: str, expected: str, received: str, cure: str = NARROW) -> GraphError:
        """Makes the error that names this node."""
        return problem(what, expected, cut(received, 160), cure, self.place)

    @property
    def place(self) -> str:
        """How messages call it."""
        return f"node {cut(self.name)!r} ({self.op})"

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, text as str."""
        return self._attributes.get(name, default)

    def only(self, name: str, *allowed: Any) -> None:
        """Refuses an attribute that is there and is none of these.

        Raises:
            GraphError: it is another.
        """
        value = self.attribute(name, allowed[0])
        if value not in allowed:
            raise self.fail(f"attribute {name} is not supported", " or ".join(map(repr, allowed)), repr(value))

    def wants(self, i: int) -> bool:
        """Says whether somebody reads the output."""
        return i < len(self.names) and bool(self.names[i]) and self.readers.get(self.names[i], 0) > 0

    def there(self, i: int) -> Any:
        """An input; None if it is left out."""
        return self.given[i] if i < len(self.given) else None

    def what(self, i: int) -> str:
        """An input's name, for a message."""
        return f"input {cut(self.inputs[i])!r}" if i < len(self.inputs) else f"input {i}"

    def constant(self, i: int, default: Any = None) -> Any:
        """An input that is known.

        Raises:
            GraphError: it is computed when the model runs.
        """
        value = self.there(i)
        if value is None:
            return default
        if not isinstance(value, np.ndarray):
            raise self.fail(
                f"{self.what(i)} is computed when the model runs",
                "a constant: an initializer, or what follows from some",
                "a value that depends on the inputs",
                "Export the model with its weights and sizes inside it.",
            )
        return value

    def floats(self, i: int) -> Array | None:
        """An input of known numbers as float32."""
        value = self.constant(i)
        if value is None:
            return None
        if value.dtype.kind in "cOSU":
            raise self.fail(f"{self.what(i)} holds no real numbers", "floats", str(value.dtype))
        with np.errstate(all="ignore"):  # a float64 may be too large
            return np.asarray(value, np.float32)

    def numbers(self, i: int) -> Array:
        """An input of known numbers, which has to be there, as float32.

        Raises:
            GraphError: it is not there, or computed when the model runs.
        """
        found = self.floats(i)
        if found is None:
            raise self.fail(f"input {i} is missing", "a constant", "nothing", "Export the model again.")
        return found

    def integers(self, i: int, attribute: str = "", default: list[int] | None = None) -> list[int] | None:
        """Whole numbers, as older files have them in an attribute and newer ones as an input."""
        value = self.constant(i) if i >= 0 else None
        if value is not None:
            if value.dtype.kind not in "iu":
                raise self.fail(f"{self.what(i)} holds other than whole numbers", "int64", str(value.dtype))
            return [int(number) for number in np.reshape(value, -1)]
        found = self.attribute(attribute)
        return default if found is None else [int(n) for n in (found if isinstance(found, list) else [found])]

    def tensor(self, i: int) -> Tensor:
        """An input as one value of our graph.

        Raises:
            GraphError: it is none.
        """
        if self.there(i) is None:
            raise self.fail(f"{self.what(i)} is missing", "a value", "nothing", "Export the model again.")
        return self.settled(self.given[i], self.what(i))

    def settled(self, value: Any, what: str = "a value") -> Tensor:
        """What is on its way to one value of our graph, as that.

        Raises:
            GraphError: it cannot be one.
        """
        if isinstance(value, Parts):
            return layout.joined(self, value)
        if isinstance(value, Erf):
            return layout.gelu(self, value)
        if isinstance(value, Tensor):
            return value
        kinds = {Sizes: "sizes of another value", Filled: "a constant for each row"}
        raise self.fail(
            f"{what} does not fit", "a value that depends on the inputs", kinds.get(type(value), "a constant")
        )

    def rank(self, i: int, *ranks: int) -> Tensor:
        """An input with one of these numbers of axes.

        Raises:
            GraphError: it has another.
        """
        tensor = self.tensor(i)
        if len(tensor.axes) not in ranks:
            raise self.fail(
                f"{self.what(i)} has the wrong rank", " or ".join(map(str, ranks)), f"{len(tensor.axes)} axes"
            )
        return tensor

    def rank_of(self, value: Any) -> int:
        """How many axes a value has."""
        if isinstance(value, Filled):
            return len(value.sizes)
        if isinstance(value, Sizes):
            return 0 if value.scalar else 1
        if isinstance(value, Parts):
            return len(value.parts[0].axes)
        return len(self.settled(value).axes)

    def sizes_of(self, value: Any) -> tuple[Size, ...]:
        """The sizes of a value's axes."""
        return value.sizes if isinstance(value, Filled) else layout.sizes(self, self.settled(value))

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the front.

        Raises:
            GraphError: there is none.
        """
        if not -rank <= value < rank:
            raise self.fail("an axis is out of range", f"{-rank} to {rank - 1}", str(value), "Export the model again.")
        return value % rank

    def emit(
        self,
        operation: str,
        inputs: Sequence[str | None],
        options: Mapping[str, Any] | None = None,
        weights: Mapping[str, Array] | None = None,
        *,
        part: str = "",
        keys: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> tuple[str, ...]:
        """Adds a node to our graph; see `Builder.emit`.

        Args:
            operation: as there.
            inputs: as there.
            options: as there.
            how: the rest, as there.
            weights: arrays, which get names after the node's.
            part: what it is beside the node's main operation, which has the node's name.
            keys: for a weight that several nodes share, what it is of.

        Raises:
            GraphError: it does not fit.
        """
        base = self.name.strip("/") or self.op
        name = f"{base}/{part}" if part else base
        named = {}
        for weight, array in (weights or {}).items():
            key = (keys or {}).get(weight) or (name, weight, len(self.builder.tensors))
            named[weight] = self.builder.tensor(key, f"{name}/{weight}", array)
        try:
            return self.builder.emit(name, operation, inputs, options, named, **how)
        except Problem as wrong:
            raise GraphError(f"{WHERE}: {self.place}: as {operation}, {wrong} {NARROW}") from None

    def result(self, operation: str, inputs: Sequence[str | None], *args: Any, **how: Any) -> str:
        """Adds the node's main operation, whose value gets the name of the node's first output. Returns that."""
        return self.emit(operation, inputs, *args, outputs=(self.names[0] or self.name,), **how)[0]
