# SPDX-License-Identifier: Apache-2.0
"""What a row of the table of operations says: inputs, outputs, weights, options, and the shapes that follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatewise.options import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Shape = tuple[int | None, ...]
    # A shape, batch first, and a dtype; of an optional input that is not given, None.
    Known = tuple[Shape, str]
    Shapes = Callable[[list[Any], dict[str, Any], dict[str, Array]], list[Known]]

MOST = 2**31 - 1  # of a size, as the engine has it


class Problem(Exception):  # noqa: N818  # what is wrong; whoever knows where it stands raises the error
    """What does not fit in a node."""


@dataclass(frozen=True)
class Option:
    """An option of an operation: plain JSON.

    Attributes:
        default: what stands for an option that a node does not name.
        kind: bool, int, float, str or list (of whole numbers).
        least, most: the range of a number, or of each of a list.
        names: what a str may be.
    """

    default: Any
    kind: type
    least: float = -MOST
    most: float = MOST
    names: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Checks a value.

        Raises:
            Problem: it is of another kind, or out of its range.
        """
        if self.kind is float and type(value) is int and abs(value) <= MOST:
            value = float(value)
        if type(value) is not self.kind:
            raise Problem(f"option {name} is {cut(repr(value))}. Expected {self.kind.__name__}.")
        if self.names and value not in self.names:
            raise Problem(f"option {name} is {cut(repr(value))}. Expected one of {', '.join(self.names)}.")
        several: list[Any] = value if isinstance(value, list) else []
        if len(several) > 8 or any(type(number) is not int for number in several):
            raise Problem(f"option {name} is {cut(repr(value))}. Expected at most 8 whole numbers.")
        one: list[Any] = [value]
        for number in one if self.kind in {int, float} else several:
            if not self.least <= number <= self.most:  # nor is NaN
                raise Problem(f"option {name} is {cut(repr(value))}. Expected {self.least:g} to {self.most:g}.")


@dataclass(frozen=True)
class Operation:
    """A row of the table.

    Attributes:
        inputs: names in order; "?" ends that of an optional one, "*" that of one or more, which is the only one.
        outputs: names in order; a node may leave the last ones out.
        shapes: finds shapes and dtypes of the outputs from those of the inputs, the options and the weights.
        weights: names; "?" ends that of an optional one.
        options: by name.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Shapes
    weights: tuple[str, ...] = ()
    options: Mapping[str, Option] = field(default_factory=dict)

    @property
    def required_weights(self) -> tuple[str, ...]:
        """The weights that every node has."""
        return tuple(name for name in self.weights if not name.endswith("?"))

    @property
    def all_weights(self) -> tuple[str, ...]:
        """The names of all weights, without marks."""
        return tuple(name.rstrip("?") for name in self.weights)

    def check_inputs(self, given: Sequence[bool], outputs: int) -> None:
        """Checks which inputs a node has, and how many outputs.

        Raises:
            Problem: one is missing or too many.
        """
        names = ", ".join(self.inputs)
        if not 1 <= outputs <= len(self.outputs):
            raise Problem(f"{outputs} outputs. Expected 1 to {len(self.outputs)}: {', '.join(self.outputs)}.")
        if self.inputs and self.inputs[0].endswith("*"):
            if not given or not all(given):
                raise Problem("no inputs, or one that is left out. Expected one or more.")
            return
        if len(given) > len(self.inputs):
            raise Problem(f"{len(given)} inputs. Expected at most {len(self.inputs)}: {names}.")
        there = [*given, *[False] * (len(self.inputs) - len(given))]
        missing = [name for name, is_there in zip(self.inputs, there, strict=True) if not is_there and name[-1] != "?"]
        if missing:
            raise Problem(f"input {missing[0]} is missing. Expected {names}.")


def rank(known: Known, axes: int | tuple[int, ...], what: str) -> Shape:
    """Returns the shape of a value that has one of these numbers of axes, the batch's included.

    Raises:
        Problem: it has another.
    """
    allowed = axes if isinstance(axes, tuple) else (axes,)
    if len(known[0]) not in allowed:
        raise Problem(f"{what} has the shape {known[0]}. Expected {' or '.join(map(str, allowed))} axes.")
    return known[0]


def numbers(known: Known, what: str) -> Shape:
    """Returns the shape of a value of float32.

    Raises:
        Problem: it is of another dtype.
    """
    if known[1] != "float32":
        raise Problem(f"{what} is of {known[1]}. Expected float32.")
    return known[0]


def fits(size: int | None, wanted: int | None, what: str) -> None:
    """Checks that a size, where it is known, is the wanted one.

    Raises:
        Problem: it is another.
    """
    if size is not None and wanted is not None and size != wanted:
        raise Problem(f"{what} is {size}. Expected {wanted}.")


def weight(weights: dict[str, Array], name: str, *shape: int | None) -> Array | None:
    """Returns a weight of float32 with these sizes, None standing for any; None if it is not there.

    Raises:
        Problem: it has other sizes or another dtype.
    """
    array = weights.get(name)
    if array is None:
        return None
    sizes = array.shape
    same = len(sizes) == len(shape) and all(w in {None, n} for n, w in zip(sizes, shape, strict=True))
    if not same or array.dtype != "float32":
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise Problem(f"weight {name} is {array.dtype} {sizes}. Expected float32 ({wanted}).")
    return array


def checked_mask(known: Known | None, of: Shape) -> None:
    """Checks a mask (batch, steps) of a value.

    Raises:
        Problem: it is no mask, or of another length.
    """
    if known is None:
        return
    if known[1] != "bool":
        raise Problem(f"mask is of {known[1]}. Expected bool.")
    if len(of) < 2:
        raise Problem(f"what the mask is of has the shape {of}. Expected a batch and steps.")
    fits(rank(known, 2, "mask")[1], of[1], "the length of the mask")


def axis_of(options: dict[str, Any], shape: Shape, *, least: int = 1) -> int:
    """Returns the option `axis`, counted from the front.

    Raises:
        Problem: the value has no such axis, or it is before `least`.
    """
    axis: int = options["axis"] + (len(shape) if options["axis"] < 0 else 0)
    if not least <= axis < len(shape):
        raise Problem(f"option axis is {options['axis']}. Expected {least} to {len(shape) - 1}.")
    return axis
