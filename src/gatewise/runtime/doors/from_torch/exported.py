# SPDX-License-Identifier: Apache-2.0
"""A module's forward as a list of PyTorch's operations, by torch.export, on an example of any batch."""

from __future__ import annotations

import copy
import functools
import itertools
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from gatewise.fallback import portable
from gatewise.options import cut
from gatewise.runtime.doors.from_torch.modules import patch
from gatewise.runtime.doors.from_torch.whole import Whole
from gatewise.runtime.graph import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parents[3]))


class Exported(NamedTuple):
    """What torch.export found.

    Attributes:
        program: the exported program.
        batch_axes: of each of the program's inputs that is a tensor, by name, which axis is the batch.
        kept: the attributes of modules in which forward leaves a tensor.
    """

    program: Any
    batch_axes: dict[str, int]
    kept: list[str]


def attempts(module: Any, example: Any, given_axes: Mapping[str, int]) -> list[Callable[[], Exported]]:
    """Prepares to read a module, once for each way in which the example may hold its batch.

    Args:
        module: a `torch.nn.Module`, left as it is.
        example: its inputs: a tensor, a tuple of positional ones, or a dict by parameter.
        given_axes: by input's name, the axis of the batch, where it is known.

    Returns:
        Functions that read it, the likeliest first; each raises GraphError where that is not the way.

    Raises:
        GraphError: forward does not run on the example.
    """
    args, kwargs = _arguments(example)
    names = _parameters(module, args)
    model = _copy(module)
    examples = _examples(model, args, kwargs)
    patch(model)
    return [functools.partial(_exported, model, names, *given, given_axes) for given in examples]


def _exported(model: Any, names: list[str], args: Any, kwargs: Any, given_axes: Mapping[str, int]) -> Exported:
    shapes = pytree.tree_map(_open_axes, (args, kwargs))
    dynamic = dict(zip(names, shapes[0], strict=False)) | shapes[1]
    before, kept = _attributes(model), list[str]()
    watch = model.register_forward_hook(lambda *_: kept.extend(_changed(before, _attributes(model))))
    with warnings.catch_warnings(), portable(), Whole():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(model, args, kwargs, dynamic_shapes=dynamic, strict=False)
        except Exception as error:
            raise GraphError(_unreadable(error)) from error
        finally:
            watch.remove()
    return Exported(program, _batch_axes(program, given_axes), list(dict.fromkeys(kept)))


def _attributes(model: Any) -> dict[str, Any]:
    """Returns what the modules hold besides parameters, buffers and modules."""
    return {
        f"{path}.{name}" if path else name: value
        for path, part in model.named_modules()
        for name, value in vars(part).items()
        if not name.startswith("_")
    }


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Lists the attributes in which forward has left a tensor."""
    return [
        name
        for name, value in after.items()
        if value is not before.get(name) and any(map(_is_tensor, pytree.tree_leaves(value)))
    ]


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Brings the example to positional and named arguments, its numbers to float32."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(example, dict):
        kwargs = example
    elif isinstance(example, tuple | list) and not isinstance(example, PackedSequence):
        args = tuple(example)
    else:
        args = (example,)
    brought: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_map(_brought, (args, kwargs), is_leaf=_is_packed)
    return brought


def _is_packed(value: Any) -> bool:
    return isinstance(value, PackedSequence)  # to pytree, a tuple of tensors


def _brought(value: Any) -> Any:
    if isinstance(value, PackedSequence):
        raise GraphError(
            "from_torch: an example input is a packed sequence. Expected tensors; received PackedSequence. Let forward "
            "take the padded sequences and their lengths, and pack them itself."
        )
    if hasattr(value, "__array__") and not isinstance(value, torch.Tensor):
        value = torch.as_tensor(value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return value.float() if value.is_floating_point() else value
    return value


def _copy(module: Any) -> Any:
    """Copies a module, for inference, in float32. Weights that were computed have no copy: they are made constants."""
    held = [weight for part in module.modules() for weight in getattr(part, "_flat_weights", ())]
    computed = {id(w): w.detach().clone() for w in held if isinstance(w, torch.Tensor) and not w.is_leaf}
    model = copy.deepcopy(module, computed).cpu().eval()
    wide = sorted({str(t.dtype) for t in (*model.parameters(), *model.buffers()) if _is_other(t)})
    if wide:
        warnings.warn(
            f"from_torch: weights of {', '.join(wide)} are converted. The graph computes in float32, and so do the "
            "example inputs from here on.",
            stacklevel=5,
        )
        model = model.float()
    return model


def _is_other(tensor: Any) -> bool:
    return bool(tensor.is_floating_point() and tensor.dtype != torch.float32)


def _open_axes(value: Any) -> Any:
    return {axis: torch.export.Dim.AUTO for axis, n in enumerate(value.shape) if n > 1} if _is_tensor(value) else None


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _parameters(module: Any, args: tuple[Any, ...]) -> list[str]:
    import inspect

    signature = inspect.signature(module.forward)
    names = list(signature.bind_partial(*args).arguments)
    kinds = [signature.parameters[name].kind for name in names]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        raise GraphError(
            "from_torch: forward takes *args. Expected named parameters, which name the graph's inputs; received "
            f"{signature}. Name them."
        )
    return names


# --- A batch of one ---


def _examples(model: Any, args: Any, kwargs: Any) -> list[tuple[Any, Any]]:
    """Repeats an example that may be of one row, in each way that runs: a size of 1 torch.export takes for fixed."""
    leaves, spec = pytree.tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if _is_tensor(leaf) and leaf.dim()]
    ways = [_possible_batches(leaves[i].shape) for i in places]
    if not places or not all(any(axis is not None for axis in of) for of in ways):
        ways, cure = [[None]] * len(places), ""
    else:
        cure = " Give example inputs of two rows or more."
    found: list[tuple[Any, Any]] = []
    first: Exception | None = None
    for axes in itertools.islice(itertools.product(*ways), 64):
        wide = list(leaves)
        for i, axis in zip(places, axes, strict=True):
            wide[i] = leaves[i] if axis is None else leaves[i].repeat_interleave(3, axis)
        given: tuple[Any, Any] = pytree.tree_unflatten(wide, spec)
        try:
            _run(model, *given)
        except Exception as error:  # noqa: BLE001  # whatever forward raises: other axes may be the right ones
            first = first or error
        else:
            found.append(given)
    if not found:
        message = _unreadable(first) if first else "from_torch: forward fails."
        raise GraphError(f"{message}{cure}") from first
    return found


def _run(model: Any, args: Any, kwargs: Any) -> None:
    """Calls forward, natively: PyTorch's own path has no starts and no zoneout. What it keeps is forgotten."""
    held = [(part, vars(part) | {"_buffers": dict(part._buffers)}) for part in model.modules()]  # noqa: SLF001
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model(*args, **kwargs)
    finally:
        for part, attributes in held:
            vars(part).clear()
            vars(part).update(attributes)


def _possible_batches(shape: Any) -> list[int | None]:
    """Lists the axes that may be a batch of one; None for a batch of more, in front."""
    ones: list[int | None] = [axis for axis, size in enumerate(shape[:2]) if size == 1]
    return [None, *ones] if shape[0] > 1 else ones


def _batch_axes(program: Any, given: Mapping[str, int]) -> dict[str, int]:
    """Finds the axis of the batch in each input: that of the first recurrent layer's, else the first."""
    values = {
        node.name: node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    }
    shapes = {name: tuple(map(expression, v.shape)) for name, v in values.items() if _is_tensor(v)}
    unknown = set(given) - set(shapes)
    if unknown:
        raise GraphError(
            f"from_torch: batch_axes names {cut(', '.join(sorted(unknown)))}. Expected inputs of forward: "
            f"{cut(', '.join(shapes), 200)}. Check the names."
        )
    for name, axis in given.items():
        if not 0 <= axis < len(shapes[name]):
            raise GraphError(
                f"from_torch: batch_axes[{name!r}] is out of range. Expected 0 to {len(shapes[name]) - 1}; received "
                f"{axis}. Count from 0."
            )
    opened = {size for shape in shapes.values() for size in shape if not isinstance(size, int)}
    batches = [shapes[name][axis] for name, axis in given.items()]
    batches += [size for size in _recurrent_batches(program) if size in opened]
    examples = {expression(size): _example(size) for name in shapes for size in values[name].shape}
    rows = examples.get(batches[0], 0) if batches else 0
    found = {}
    for name, shape in shapes.items():
        found[name] = given.get(name, _batch_axis(values[name].shape, batches, rows))
        if not shape or isinstance(shape[found[name]], int):
            raise GraphError(_without_batch(name, shape, found[name]))
    return found


def _batch_axis(sizes: Any, batches: list[Any], rows: int) -> int:
    """Finds the axis that is the batch, or else, where nothing says so, one that is as long in the example."""
    same = [axis for axis, size in enumerate(sizes) if batches and expression(size) == batches[0]]
    as_long = [axis for axis, size in enumerate(sizes[:2]) if _example(size) == rows]
    return next(iter((*same, *as_long)), 0)


def _example(size: Any) -> int:
    """Returns a size of the example's."""
    return size if isinstance(size, int) else int(size.node.hint)


def _without_batch(name: str, shape: tuple[Any, ...], axis: int) -> str:
    sizes = ", ".join(str(size) if isinstance(size, int) else "any" for size in shape)
    return (
        f"from_torch: the input {name!r} has no batch. Expected an axis {axis} of any size, the batch; received "
        f"({sizes}). Give an example of two rows or more, take out of forward what holds for that size alone, or say "
        f"which axis is the batch: batch_axes={{{name!r}: 1}}."
    )


def _recurrent_batches(program: Any) -> Iterator[Any]:
    for node in program.graph.nodes:
        name = getattr(getattr(node.target, "_schema", None), "name", "")
        if name == "gatewise_runtime::recurrent":
            sizes = node.args[3]
            value = node.args[0].meta["val"] if sizes is None else sizes.meta["val"]
            yield expression(value.shape[0 if sizes is None else 1])


def expression(size: Any) -> Any:
    """Returns a size as an int, or as an expression of those that are open."""
    if isinstance(size, int):
        return size
    found = size.node.expr
    return int(found) if found.is_number else found


# --- Where it went wrong ---


def _unreadable(error: BaseException) -> str:
    """Says what torch.export could not read, and where that stands."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OWN)]
    inner = [frame for frame in frames if frame.filename != "<frozen importlib._bootstrap>"][1:]
    at = f"{inner[-1].filename}:{inner[-1].lineno}, {inner[-1].line!r}" if inner else "the call of forward"
    what = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    cure = "Check that forward runs on the example inputs"
    if type(error).__name__.startswith("GuardOnDataDependent") or "data-dependent" in str(error):
        cure = "Expected a path that does not depend on the numbers in the inputs; choose by torch.where, or before"
    elif "assigned" in str(error) or "mutat" in str(error):
        cure = "Expected a forward that keeps nothing; take states as inputs, and return them"
    reason = f"{cut(what, 300).rstrip('.')} ({type(error).__name__})"
    return f"from_torch: forward cannot be read at {at}: {reason}. {cure}."
