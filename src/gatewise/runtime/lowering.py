# SPDX-License-Identifier: Apache-2.0
"""A graph as a native program that takes a step, or a chunk of steps, in one call: what a stream runs.

Of each value it is known how it goes along with time: it has a frame for every so many steps of the stream, or it is
given once. What would look at steps that have not come yet, or at all that have gone by, cannot stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from gatewise.cells import Cell
from gatewise.runtime.graph import Value, needed
from gatewise.runtime.moving import MOVES
from gatewise.runtime.states import GivenBack, given_back, state_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    import numpy.typing as npt

    from gatewise.runtime.graph import Graph, Node

    Array = npt.NDArray[Any]

CELLS = {cell.name.lower(): cell for cell in Cell}
MERGES = {"add", "subtract", "multiply", "divide", "average", "maximum", "minimum"}
FEATURES = 2  # the axis of a frame's features, whatever the value's rank
# What may lay out a step otherwise, and moves no number
LAYOUTS = {"reshape", "permute", "repeat", "take", "expand"}
# Of each row and step alone
POINTWISE = {
    *("dense", "embedding", "affine", "layer_normalization", "rms_normalization", "unit_normalization", "activation"),
    *("prelu", "softmax", "log_softmax", "not_equal", "zero_masked", "all", "any"),
}


_CURE = "Use predict for whole sequences, give what does not go on in context=, or cut the graph with model.part()."


class StreamError(ValueError):
    """A model that cannot stream, or not with what was given: it names the layer, and says what to do."""


class Frames(NamedTuple):
    """A value of which the stream makes a frame every `period` steps.

    Attributes:
        number: in the program.
        width: numbers of a frame; 1 of ids and masks.
        dtype: "float32", "int64" or "bool".
        period: steps of the stream for one frame.
        last: the graph has the last frame alone.
    """

    number: int
    width: int
    dtype: str
    period: int = 1
    last: bool = False


class Given(NamedTuple):
    """A value that does not advance: it is found once, when a stream begins."""

    value: str


class State(NamedTuple):
    """A state of a recurrent layer that the graph gives out: the stream has it as its own."""

    layer: str


@dataclass
class Lowered:
    """What a stream has to know of a graph.

    Attributes:
        operations: of the program, as `_native.Program` takes them.
        fed: by name, the inputs that come with every step, in the program's order.
        chunks: by their names, shape and dtype of a chunk of them.
        states: the inputs that layers begin in; those that nobody gives are zeros.
        given: the number in the program of each value that does not advance, in its order, after those that are fed.
        starts: the value that each state of a recurrent layer begins in, by the state's name in the program.
        outputs: by name, what a stream gives, in the program's order.
        layers: what the layer of each operation is called.
        block: steps that the stream takes at once: the product of all strides.
    """

    operations: list[Any] = field(default_factory=list)
    fed: dict[str, Frames] = field(default_factory=dict)
    chunks: dict[str, Value] = field(default_factory=dict)
    states: set[str] = field(default_factory=set)
    given: dict[str, int] = field(default_factory=dict)
    starts: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, Frames] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    block: int = 1


def operation_of(
    graph: Graph, node: Node, inputs: Sequence[int], outputs: Sequence[int], **changed: object
) -> tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any], dict[str, Array]]:
    """A node as the native program takes it.

    Args:
        graph: the node's.
        node: what is to be computed.
        inputs: numbers of its inputs; -1 for one that is not given.
        outputs: numbers of its outputs.
        changed: options in the place of the node's.

    Returns:
        Kind, inputs, outputs, options, and constants by name.
    """
    constants = {name: graph.tensors[tensor] for name, tensor in node.weights.items()}
    return node.operation, tuple(inputs), tuple(outputs), node.all_options | changed, constants


def lower(graph: Graph, context: Container[str]) -> Lowered:
    """Makes a program of a graph.

    Args:
        graph: the model.
        context: names of inputs that do not advance with time.

    Raises:
        StreamError: the model cannot stream; it names the layer.
    """
    return _Lowering(graph, context).done()


class _Lowering:
    """The lowering as it goes on, node by node."""

    def __init__(self, graph: Graph, context: Container[str]) -> None:
        self._graph = graph
        self._made = Lowered()
        self._places: dict[str, Frames | Given | State] = {}
        self._count = 0
        self._constants = {node.outputs[0]: node for node in graph.nodes if node.operation == "constant"}
        self._read: dict[str, int] = {}  # the constants that the program has
        self._others: dict[str, Callable[[Node, list[Any]], None]] = {
            "concatenate": self._concatenate,
            **dict.fromkeys(("slice", "take"), self._slice),
            **dict.fromkeys(("conv1d", "max_pool1d", "average_pool1d"), self._window),
            **dict.fromkeys(("attention", "additive_attention"), self._attention),
        }
        self._made.states = state_inputs(graph)
        self._one_step, self._back = False, GivenBack({}, set())
        for name, (shape, dtype) in graph.inputs.items():
            with_time = 3 if dtype == "float32" else 2
            if name in context or name in self._made.states or len(shape) != with_time:
                self._places[name] = Given(name)
            else:
                self._feed(name, Value(shape, dtype))
        if not self._made.fed and self._made.states:
            self._feed_one_step(context)

    def _feed(self, name: str, chunk: Value) -> None:
        width = chunk.shape[-1] if chunk.dtype == "float32" else 1
        if width is None:
            raise StreamError(
                f"stream: input {name!r} has no known width. Expected features; received {chunk.shape}. "
                "Give its last axis a fixed size in the model."
            )
        self._places[name] = self._made.fed[name] = self._frames(width, chunk.dtype)
        self._made.chunks[name] = chunk

    def _feed_one_step(self, context: Container[str]) -> None:
        """A graph of one step, whose states come in and go out again, takes a step of whatever has no axis of them."""
        self._back = given_back(self._graph, self._made.states)
        lost = self._made.states - {*self._back.outputs}
        if lost:
            name = min(lost)
            raise StreamError(
                f"stream: input {name!r} is a state of a model of one step, and no output gives it back in the same "
                "form. Expected a state of known sizes, and what it is after the step among the outputs; received "
                f"{self._graph.inputs[name].shape}. Use predict."
            )
        self._one_step = True
        for name, (shape, dtype) in self._graph.inputs.items():
            without_time = 2 if dtype == "float32" else 1
            if name not in self._made.states and name not in context and len(shape) == without_time:
                self._feed(name, Value((shape[0], None, *shape[1:]), dtype))

    def done(self) -> Lowered:
        """Lowers everything."""
        outputs = {n: v for n, v in self._graph.outputs.items() if n not in self._back.outputs.values()}
        for node in needed(self._graph, outputs.values(), lambda _: False):
            given = [None if name is None else self._places[name] for name in node.inputs]
            states = [place for place in given if isinstance(place, State)]
            if not states and not any(isinstance(place, Frames) for place in given):
                self._places |= {value: Given(value) for value in node.outputs}
            elif node.operation in MOVES and len(states) == len(given):
                self._places[node.outputs[0]] = states[0]  # the same ones, laid out otherwise
            else:
                self._lower(node, given)
        for name, value in outputs.items():
            place = self._places[value]
            if isinstance(place, Frames):
                self._made.outputs[name] = place
            elif isinstance(place, Given):
                raise StreamError(
                    f"stream: output {name!r} does not change with the steps. Expected outputs that do; received one "
                    "of what is given once. Take it from predict, and cut it off with model.part()."
                )
        if not self._made.outputs:
            raise StreamError(
                "stream: the model gives nothing for each step. Expected an output that goes on; received states "
                "alone. Give the outputs of a layer out, too, or use predict."
            )
        return self._made

    def _lower(self, node: Node, given: list[Any]) -> None:
        for name, place in zip(node.inputs, given, strict=True):
            if isinstance(place, State):
                self._refuse(node, f"reads {name!r}, the state of layer {place.layer!r}, before its sequence ends")
        if self._one_step and self._keeps_order(node):
            self._places[node.outputs[0]] = given[0]
            return
        rule: Callable[[Node, list[Any]], None]
        if node.operation in CELLS:
            rule = self._recurrent
        elif node.operation in POINTWISE:
            rule = self._pointwise
        elif node.operation in MERGES:
            rule = self._merge
        else:
            rule = self._others.get(node.operation, self._cannot)
        rule(node, given)

    # --- A rule for each kind of operation ---

    def _recurrent(self, node: Node, given: list[Any]) -> None:
        count = 3 + len(CELLS[node.operation].row.states)
        x, mask, *states, starts = [*given, *[None] * count][:count]
        if not isinstance(x, Frames) or x.last:
            self._refuse(node, "reads a sequence that does not go on with the stream")
        self._aligned(node, [x, mask, starts])
        if node.all_options["go_backwards"]:
            cure = "Use predict for whole sequences, or train a model that reads forwards alone."
            self._refuse(node, "reads from the end, as half of a Bidirectional does, and the end has not come", cure)
        if self._one_step and node.name not in self._back.layers:
            self._refuse(node, "begins anew at each step of a model of one step, which does not give its state back")
        place = len(self._made.operations)
        for name, state, value in zip(CELLS[node.operation].row.states, states, node.inputs[2:], strict=False):
            if isinstance(state, Frames):
                self._refuse(node, f"begins in the state {value!r}, which changes with the steps")
            if state is not None and starts is not None:
                cure = (
                    "Make the model without starts, and call stream.reset(rows) where a sequence begins: that goes "
                    "back to initial_state. Or without the state: each start begins with zeros then. Predict takes "
                    "both."
                )
                self._refuse(node, f"goes back to the state {value!r} at each start, which a stream has not kept", cure)
            if state is not None and value is not None:
                self._made.starts[f"{place}/{name}"] = value
        units = len(self._graph.tensors[node.weights["recurrent_kernel"]])
        last = not node.all_options["return_sequences"] and not self._one_step
        out = self._frames(units, "float32", x.period)
        inputs = [x, mask] if starts is None else [x, mask, *[None] * len(states), starts]
        self._add(node, inputs, [out], return_sequences=True)
        self._places[node.outputs[0]] = out._replace(last=last)
        self._places |= {value: State(node.name) for value in node.outputs[1:]}
        if self._one_step and node.outputs[1:] and not node.all_options["zero_output_for_mask"]:
            self._places[node.outputs[1]] = out  # h after the step is the step's output

    def _pointwise(self, node: Node, given: list[Any]) -> None:
        first = self._aligned(node, given)
        if node.operation in {"not_equal", "all", "any"}:
            width, dtype = 1, "bool"
        else:
            size = self._graph.values[node.outputs[0]].shape[-1]
            width, dtype = first.width if size is None else size, "float32"
        self._one(node, given, self._frames(width, dtype, first.period, last=first.last))

    def _merge(self, node: Node, given: list[Any]) -> None:
        first = self._aligned(node, given)
        width = self._graph.values[node.outputs[0]].shape[-1]
        self._one(node, given, self._frames(width or first.width, "float32", first.period, last=first.last))

    def _concatenate(self, node: Node, given: list[Any]) -> None:
        first = self._aligned(node, given)
        if not self._of_features(node):
            self._refuse(node, "joins steps")
        out = self._frames(self._width(node), first.dtype, first.period, last=first.last)
        self._one(node, given, out, axis=FEATURES)

    def _slice(self, node: Node, given: list[Any]) -> None:
        (x,) = given
        if self._of_features(node):
            self._one(node, given, self._frames(self._width(node), x.dtype, x.period, last=x.last), axis=FEATURES)
        elif node.operation == "take" and node.all_options["axis"] in {1, -2} and node.all_options["index"] == -1:
            self._places[node.outputs[0]] = x._replace(last=True)  # the last step of all so far
        else:
            self._refuse(node, "picks steps by their place in the whole sequence")

    def _window(self, node: Node, given: list[Any]) -> None:
        (x,) = given
        options, size = node.all_options, node.all_options.get("size")
        size = len(self._graph.tensors[node.weights["kernel"]]) if size is None else size
        blocks = options["padding"] == "valid" and size == options["strides"] and options.get("dilation", 1) == 1
        if options["padding"] != "causal" and size > 1 and not blocks:
            self._refuse(node, f"looks at steps that have not come (padding={options['padding']!r})")
        if self._one_step and size > 1:
            self._refuse(node, "looks back, where a model of one step begins anew")
        self._made.block *= options["strides"]
        width = self._graph.values[node.outputs[0]].shape[2]
        self._one(node, given, self._frames(width or x.width, "float32", x.period * options["strides"]))

    def _attention(self, node: Node, given: list[Any]) -> None:
        query, value, key = [*given, None][:3]
        if not isinstance(query, Frames) or isinstance(value, Frames) or isinstance(key, Frames):
            self._refuse(node, "looks at all steps that have gone by")
        if node.all_options["causal"]:
            self._refuse(node, "attends causally to a context that does not go on")
        width = self._graph.values[node.outputs[0]].shape[2] or query.width
        self._one(node, given, self._frames(width, "float32", query.period, last=query.last))

    def _cannot(self, node: Node, _given: list[Any]) -> None:
        self._refuse(node, f"needs the whole sequence ({node.operation})")

    # --- What the rules share ---

    def _frames(self, width: int, dtype: str, period: int = 1, *, last: bool = False) -> Frames:
        self._count += 1
        return Frames(self._count - 1, width, dtype, period, last)

    def _aligned(self, node: Node, given: list[Any]) -> Frames:
        """The first value that goes on; all have to go on alike, or to be the same at every step."""
        frames = [place for place in given if isinstance(place, Frames)]
        for place in given:
            if isinstance(place, Given) and not self._is_for_every_step(place.value, last=frames[0].last):
                self._refuse(node, f"reads {place.value!r}, whose steps do not go on with the stream")
        if len({(place.period, place.last) for place in frames}) > 1:
            self._refuse(node, "reads values that go on at different rates")
        return frames[0]

    def _keeps_order(self, node: Node) -> bool:
        """Whether the numbers of a step stay as they are, and only axes of size 1 come and go."""
        shapes = [self._graph.values[name].shape[1:] for name in (*node.inputs, *node.outputs) if name is not None]
        wide = [[size for size in shape if size != 1] for shape in shapes]
        flat = all(len(sizes) <= 1 for sizes in wide) and wide[0] == wide[-1] != [None]
        return node.operation in LAYOUTS and flat

    def _is_for_every_step(self, value: str, *, last: bool) -> bool:
        shape, dtype = self._graph.values[value]
        axes = len(shape) + (dtype != "float32")  # as frames have them: ids and masks have no axis of features
        return shape[1] == 1 if axes == 3 else axes == 2 and (last or shape[0] == 1)

    def _of_features(self, node: Node) -> bool:
        rank = len(self._graph.values[node.inputs[0]].shape)  # type: ignore[index]  # required
        return bool(node.all_options["axis"] % rank == rank - 1) and node.operation != "take"

    def _width(self, node: Node) -> int:
        size = self._graph.values[node.outputs[0]].shape[-1]
        if size is None:
            self._refuse(node, "has no known width")
        return size

    def _one(self, node: Node, given: list[Any], out: Frames, **changed: object) -> None:
        self._add(node, given, [out], **changed)
        self._places[node.outputs[0]] = out
        self._places |= {value: State(node.name) for value in node.outputs[1:]}

    def _add(self, node: Node, given: list[Any], made: list[Frames], **changed: object) -> None:
        numbers = [-1 if place is None else self._number(place) for place in given]
        outputs = [frames.number for frames in made]
        self._made.operations.append(operation_of(self._graph, node, numbers, outputs, **changed))
        self._made.layers.append(node.name)

    def _number(self, place: Frames | Given) -> int:
        if isinstance(place, Frames):
            return place.number
        if place.value in self._constants:
            return self._constant(place.value)
        if place.value not in self._made.given:
            self._made.given[place.value] = self._count
            self._count += 1
        return self._made.given[place.value]

    def _constant(self, value: str) -> int:
        if value not in self._read:
            out = self._read[value] = self._frames(1, "float32").number
            self._add(self._constants[value], [], [Frames(out, 1, "float32")])
        return self._read[value]

    def _refuse(self, node: Node, why: str, cure: str = _CURE) -> NoReturn:
        raise StreamError(
            f"stream: layer {node.name!r} {why}. Expected layers that need each step and those before it alone; "
            f"received a {node.operation}. {cure}"
        )
