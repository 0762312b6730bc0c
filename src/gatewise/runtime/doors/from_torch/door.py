# SPDX-License-Identifier: Apache-2.0
"""Reads what torch.export found, operation by operation, into a graph."""

from __future__ import annotations

import operator
import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from gatewise.runtime.doors.from_torch import arithmetic, attention, features, moving, recurrent, time  # noqa: F401  # rules
from gatewise.runtime.doors.from_torch.builder import Builder
from gatewise.runtime.doors.from_torch.call import LAZY, RULES, Call, as_tensor, is_real, positive, shape_of
from gatewise.runtime.doors.from_torch.exported import Exported, attempts
from gatewise.runtime.doors.from_torch.layout import plain, single
from gatewise.runtime.doors.from_torch.place import CURES, Place
from gatewise.runtime.doors.from_torch.values import Stack, Tensor, same
from gatewise.runtime.graph import Graph, GraphError, Value
from gatewise.runtime.operations import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANDOM = re.compile(r"rand|normal|bernoulli|multinomial|poisson|exponential_|uniform|gumbel")
_SKIPPED = re.compile(r"^(_assert|sym_|_guards|assert)")
_VIEWS = {"view", "select", "slice", "transpose", "permute", "unsqueeze", "squeeze", "expand", "alias", "detach", "t"}


def read(module: Any, example: Any, batch_axes: Mapping[str, int] | None) -> Graph:
    """Reads a module; see `from_torch`."""
    said = batch_axes or {}
    first: GraphError | None = None
    for attempt in attempts(module, example, said):
        try:
            graph, notes = _graph(attempt(), said)
        except GraphError as error:
            first = first or error
        else:
            for note in notes:
                warnings.warn(f"from_torch: {note}", stacklevel=3)
            return graph
    raise first or GraphError("from_torch: there is no example.")


def _graph(found: Exported, said: Mapping[str, int]) -> tuple[Graph, list[str]]:
    """Makes the graph of what was exported; and what there is to say of it."""
    builder, notes = Builder(), [
        f"forward keeps a tensor in self.{name}, which the graph does not. Where the next call reads it, take it as an "
        "input, and return it."
        for name in found.kept
    ]  # fmt: skip
    reader = _Reader(builder, _give_inputs(builder, found, said, notes), found.program)
    outputs = reader.run(found.program.graph_module, [])
    graph = builder.graph(_named_outputs(builder, found.program, outputs))
    return graph, [*notes, *builder.notes]


def _give_inputs(b: Builder, found: Exported, said: Mapping[str, int], notes: list[str]) -> dict[str, Tensor]:
    """Enters the inputs, each with its batch first."""
    given: dict[str, Tensor] = {}
    nodes = [node for node in found.program.graph.nodes if node.op == "placeholder" and node.name in found.batch_axes]
    _one_batch(b, [node.meta["val"].shape[found.batch_axes[node.name]] for node in nodes])
    for node in nodes:
        value, batch = node.meta["val"], found.batch_axes[node.name]
        shape = tuple(map(b.size, value.shape))
        order = [batch, *(axis for axis in range(len(shape)) if axis != batch)]
        sizes = tuple(shape[axis] for axis in order)
        kind = "bool" if value.dtype == torch.bool else "float32" if value.is_floating_point() else "int64"
        b.give(node.name, Value(tuple(n if isinstance(n, int) else None for n in sizes), kind))
        axes = tuple((order.index(axis),) for axis in range(len(shape)))
        given[node.name] = Tensor(node.name, axes, sizes)
        b.remember(given[node.name])
        if batch != 0 and node.name not in said:
            place = ", ".join("batch" if axis == batch else str(n if isinstance(n, int) else "any")
                              for axis, n in enumerate(shape))  # fmt: skip
            notes.append(
                f"the input {node.name!r} is ({place}) in the module, and batch first in the graph. "
                f"Say batch_axes={{{node.name!r}: {batch}}} if you know."
            )
    return given


def _one_batch(b: Builder, sizes: list[Any]) -> None:
    """Takes the batches of all inputs for one, whether or not forward shows that they are."""
    first = b.size(sizes[0])
    for given in sizes[1:]:
        size = b.size(given)
        if b.hint(size) != b.hint(first):
            raise GraphError(
                f"from_torch: the example inputs have {b.hint(first)} and {b.hint(size)} rows. Expected one batch; "
                "received several. Say which axis is the batch: batch_axes."
            )
        if size != first:
            b.batches[size] = first


class _Reader:
    """Runs through an exported program with what stands for its tensors."""

    def __init__(self, b: Builder, given: dict[str, Tensor], program: Any) -> None:
        self.b = b
        self.given = given
        self.program = program
        self.held = _held(program)

    def run(self, module: Any, arguments: list[Any]) -> Any:
        """Reads a graph of operations. Returns what it returns."""
        there: dict[Any, Any] = {}
        places = iter(arguments)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                there[node] = next(places) if arguments else self._placeholder(node)
            elif node.op == "get_attr":
                there[node] = _attribute(module, node.target)
            elif node.op == "output":
                return torch.fx.map_arg(node.args[0], there.__getitem__)
            else:
                there[node] = self._call(node, there)
        return None

    def _placeholder(self, node: Any) -> Any:
        if node.name in self.given:
            return self.given[node.name]
        return self.held.get(node.name, node.meta.get("val"))

    def _call(self, node: Any, there: dict[Any, Any]) -> Any:
        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), there.__getitem__)
        if node.target is operator.getitem:
            return args[0][args[1]]
        schema = getattr(node.target, "_schema", None)
        place = Place(node)
        name = schema.name.partition("::")[2] if schema else str(getattr(node.target, "__name__", node.target))
        if name in {"wrap_with_set_grad_enabled", "wrap_with_autocast"}:
            body = next(i for i, arg in enumerate(args) if isinstance(arg, torch.fx.GraphModule))
            return self.run(args[body], list(args[body + 1 :]))
        value = node.meta.get("val")
        if _SKIPPED.match(name) or isinstance(
            value, torch.SymInt | torch.SymFloat | torch.SymBool | int | float | bool
        ):
            return self.b.size(value) if isinstance(value, torch.SymInt) else value
        if schema is None:
            raise GraphError(place.error(name, "it is not known. Expected an operation of torch"))
        self.b.here, self.b.is_module = place.node_name(), place.is_module
        try:
            return self._found(name, schema, node, (args, kwargs), _sizes(value, self.b))
        except Problem as problem:
            raise GraphError(place.error(name, str(problem))) from None
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}. Expected a clearer error; this is a fault of gatewise"
            raise GraphError(place.error(name, fault)) from error

    def _found(self, name: str, schema: Any, node: Any, given: tuple[Any, Any], shapes: Any) -> Any:
        args, kwargs = given
        bound = _bound(schema, args, kwargs)
        leaves = pytree.tree_leaves(bound)
        orders = {leaf.order for leaf in leaves if isinstance(leaf, Tensor | Stack) and _sorted(leaf)}
        if _RANDOM.search(name):
            raise Problem(
                "it draws random numbers. Expected none: return the distribution's parameters, and draw later"
            )
        if name.endswith("_") and not name.endswith("__"):
            _refuse_shared(node)
            name = name[:-1]
        if not any(isinstance(leaf, LAZY) for leaf in leaves) and _is_fixed(leaves, shapes):
            with torch.no_grad():
                return node.target(*args, **kwargs)
        rule = RULES.get(name)
        if rule is None:
            raise Problem("it is not known. " + CURES.get(name, "Expected it written with operations that are"))
        plain_order = name in {"index_select", "index", "sort", "pack"} or len(orders) == 0
        if len(orders) > 1 and not plain_order and not name == "recurrent":
            raise Problem("it combines rows in two orders. Expected packed sequences that are unpacked first")
        if orders and name in {"recurrent", "unpack"}:
            plain_order = False
        found = rule(Call(name, bound, shapes, self.b))
        if not plain_order:
            found = pytree.tree_map(lambda leaf: _in_order(leaf, orders), found, is_leaf=_is_leaf)
        self._check(found, shapes)
        return found

    def _check(self, found: Any, shapes: Any) -> None:
        """Makes sure that what was found has the shapes that PyTorch's result has."""
        values = found if isinstance(found, tuple | list) else [found]
        for value, shape in zip(values, shapes, strict=False):
            if not isinstance(value, Tensor | Stack):
                continue
            own = shape_of(value)
            if len(own) != len(shape) or not all(map(same, own, shape)):
                raise Problem(
                    f"it was read as a tensor of the shape {own}. Expected {shape}; this is a fault of gatewise"
                )
            if isinstance(value, Tensor):
                self.b.remember(value)


def _is_leaf(value: Any) -> bool:
    return isinstance(value, LAZY)


def _sorted(value: Any) -> bool:
    return isinstance(value, Stack) or value.has_batch


def _in_order(value: Any, orders: set[Any]) -> Any:
    return replace(value, order=next(iter(orders))) if isinstance(value, Tensor | Stack) else value


def _held(program: Any) -> dict[str, Any]:
    """Returns parameters, buffers and constants by the name of their placeholder."""
    signature = program.graph_signature
    found = {}
    for name, target in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items():
        source = program.state_dict if target in program.state_dict else program.constants
        found[name] = source[target]
    for name, target in signature.inputs_to_lifted_tensor_constants.items():
        found[name] = program.constants[target]
    return {name: tensor.detach() for name, tensor in found.items()}


def _attribute(module: Any, target: str) -> Any:
    for name in target.split("."):
        module = getattr(module, name)
    return module


def _sizes(value: Any, b: Builder) -> tuple[Any, ...]:
    """Returns the shapes of what an operation returns."""
    leaves = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
    return tuple(tuple(map(b.size, leaf.shape)) for leaf in leaves)


def _bound(schema: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """Names the arguments of a call, defaults included."""
    bound = {}
    for i, argument in enumerate(schema.arguments):
        if i < len(args) and not argument.kwarg_only:
            bound[argument.name] = args[i]
        else:
            bound[argument.name] = kwargs.get(argument.name, argument.default_value)
    return {name: list(value) if isinstance(value, tuple | list) else value for name, value in bound.items()}


def _is_fixed(leaves: list[Any], shapes: Any) -> bool:
    """Says whether an operation can be computed at once: no size is open."""
    open_argument = any(hasattr(leaf, "free_symbols") for leaf in leaves)
    return not open_argument and all(isinstance(size, int) for shape in shapes for size in shape)


def _refuse_shared(node: Any) -> None:
    """Refuses to write into a tensor that others read as well, before or after under another name.

    Raises:
        Problem: it is so.
    """
    target = node.args[0]
    root = target
    while root.op == "call_function" and _base(root) in _VIEWS:
        root = root.args[0]
    if root.op == "placeholder" and root is target and "scatter" not in str(node.target):
        raise Problem("it writes into an input, a parameter or a buffer. Expected results of their own: x = x + y")
    if root is not target or any(_base(user) in _VIEWS and _is_used_after(user, node) for user in target.users):
        raise Problem("it writes into a part of a tensor. Expected torch.cat or torch.stack of the parts")


def _base(node: Any) -> str:
    schema = getattr(node.target, "_schema", None)
    return schema.name.partition("::")[2] if schema else ""


def _is_used_after(view: Any, node: Any) -> bool:
    order = {other: i for i, other in enumerate(node.graph.nodes)}
    return order[view] < order[node] and any(order[user] > order[node] for user in view.users)


# --- Outputs ---


def _named_outputs(b: Builder, program: Any, outputs: Any) -> dict[str, str]:
    """Names the outputs, and brings each to its place: the batch first."""
    kept = [spec.kind.name == "USER_OUTPUT" for spec in program.graph_signature.output_specs]
    if not all(kept):
        raise GraphError(
            "from_torch: forward changes a buffer. Expected one that computes its outputs alone. Take the state as an "
            "input, and return it."
        )
    leaves = list(outputs)
    places = pytree.tree_unflatten(list(range(len(leaves))), program.call_spec.out_spec)
    names: dict[str, int] = {}
    _name(places, "", names)
    b.here, b.is_module = "outputs", False
    found = {}
    for name, i in names.items():
        if leaves[i] is None:
            continue
        try:
            found[name] = _output(b, leaves[i])
        except Problem as problem:
            raise GraphError(f"from_torch: the output {name!r} cannot be read: {problem}.") from None
    return found


def _name(value: Any, name: str, names: dict[str, int]) -> None:
    """Names the leaves of what forward returns: by key or field, else by number."""
    if isinstance(value, int):
        names[name or "output"] = value
        return
    if value is None:
        return
    if isinstance(value, dict):
        parts = {str(key): part for key, part in value.items()}
    elif hasattr(value, "_fields"):
        parts = {field: getattr(value, field) for field in value._fields}
    else:
        start = f"{name}_" if name else "output_"
        parts = {f"{start}{i}": part for i, part in enumerate(value)}
        name = ""
    for key, part in parts.items():
        _name(part, f"{name}_{key}" if name else key, names)


def _output(b: Builder, value: Any) -> str:
    if not isinstance(value, LAZY) and not is_real(value):
        raise Problem("it is no tensor. Expected tensors alone")
    t = as_tensor(b, value)
    if t.order is not None:
        raise Problem("its rows are sorted by length. Expected packed sequences that are unpacked: pad_packed_sequence")
    for axis, own in enumerate(t.axes):
        if len(own) > 1:
            t = single(b, t, axis)
    t = plain(b, t)
    if not t.has_batch:
        raise Problem(f"it does not depend on the input: a constant {t.shape}. Expected outputs that do")
    return positive(b, t).value if t.negated else t.value
