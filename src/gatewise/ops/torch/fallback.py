# SPDX-License-Identifier: Apache-2.0
"""Kernels in Python for the operations of `operations.py`, for a torch that lacks its stable C interface.

They check what they are given and hand NumPy views of it to the engine: some microseconds a call more than
csrc/bind/torch.cpp, and the same numbers.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatewise import _native, cells
from gatewise.ops.torch import layout, shapes, signatures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt


def register(library: Any, saved_shape: Callable[..., tuple[int, int, int]]) -> None:
    """Gives the declared operations of layers of one direction and of both their kernels.

    Args:
        library: the `torch.library.Library` that declares them.
        saved_shape: the shape of `saved`, from the number of directions, x, recurrent_kernel and the options.
    """
    for directions, name in signatures.NAMES.items():
        library.impl(name, lambda *inputs, **options: _forward(_calls(inputs, **options)), "CPU")
        library.impl(f"{name}_train", functools.partial(_train, functools.partial(saved_shape, directions)), "CPU")
        library.impl(f"{name}_grad", functools.partial(_gradients, directions), "CPU")


def _train(saved_shape: Callable[..., tuple[int, int, int]], *inputs: Any, **options: Any) -> tuple[torch.Tensor, ...]:
    calls = _calls(inputs, **options)
    saved = torch.empty(saved_shape(inputs[0], inputs[3], **options), dtype=torch.int32)
    return *_forward(calls, _parts(saved, calls)), saved


def _forward(calls: list[_native.Call], saved: list[npt.NDArray[np.float32]] | None = None) -> tuple[torch.Tensor, ...]:
    """Runs one direction after the other. Returns their outputs side by side, and the state of each."""
    outputs, states = [], []
    for i, call in enumerate(calls):
        y, state = torch.empty(call.output_shape), torch.empty(call.state_shape)
        _native.forward(call, y.numpy(), state.numpy(), saved[i] if saved else None)
        outputs.append(y.flip(1) if i else y)
        states.append(state)
    return torch.cat(outputs, 2), *states


def _gradients(directions: int, *inputs: Any, x_gradient: bool, **options: Any) -> tuple[torch.Tensor, ...]:
    m = signatures.layer_inputs(directions)
    layer, (saved, d_outputs, *d_states) = inputs[:m], inputs[m:]
    calls = _calls(layer, **options)
    parts = _parts(saved, calls)
    batch, timesteps, units = calls[0].output_shape
    shapes.expect("d_outputs", d_outputs, (("batch", batch), ("timesteps", timesteps), ("units", directions * units)))
    dy = _array(d_outputs)
    parts_of_x, gradients = [], []
    for i, (call, own) in enumerate(zip(calls, signatures.of_each_direction(layer), strict=True)):
        d_own_outputs = None if dy is None else dy[..., i * units : (i + 1) * units][:, :: -1 if i else 1]
        shapes.expect(f"{shapes.whose(directions)[i]}d_state", d_states[i], (("batch", batch), ("units", units)))
        d_x, others = _of_direction(call, parts[i], d_own_outputs, _array(d_states[i]), own, **options)
        parts_of_x.append(d_x)
        gradients += others
    d_x = functools.reduce(torch.add, parts_of_x)
    return tuple(torch.empty(0) if value is None else value for value in (d_x if x_gradient else None, *gradients))


def _of_direction(
    call: _native.Call,
    saved: npt.NDArray[np.float32],
    dy: npt.NDArray[np.float32] | None,
    dh: npt.NDArray[np.float32] | None,
    inputs: list[Any],
    *,
    reset_after: bool,
    torch_layout: bool,
    **_options: Any,
) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """Runs the way back of one direction. Returns the gradients of x, and of the others, None where one is absent."""
    features, units = call.x_shape[2], call.state_shape[1]
    x, d_initial_state = torch.empty(call.x_shape), torch.empty(call.state_shape)
    kernel, recurrent_kernel = torch.empty(features, 3 * units), torch.empty(units, 3 * units)
    bias = None if inputs[4] is None else torch.empty((2, 3 * units) if reset_after else (3 * units,))
    _native.backward(
        call,
        saved,
        None if dy is None else np.ascontiguousarray(dy),
        dh,
        x.numpy(),
        d_initial_state.numpy(),
        kernel.numpy(),
        recurrent_kernel.numpy(),
        None if bias is None else bias.numpy(),
    )
    weights: tuple[torch.Tensor | None, ...] = (kernel, recurrent_kernel, bias, None)
    if torch_layout:
        weights = layout.from_keras(kernel, recurrent_kernel, bias)
    return x, [None if inputs[1] is None else d_initial_state, *weights]


def _calls(inputs: Sequence[Any], *, go_backwards: bool, **options: Any) -> list[_native.Call]:
    """Makes a call of the engine for each direction, of which the second reads the other way."""
    shapes.check_inputs(inputs, options)
    return [
        _call(*own, go_backwards=go_backwards != (i > 0), **options)
        for i, own in enumerate(signatures.of_each_direction(inputs))
    ]


def _call(*inputs: Any, torch_layout: bool, reset_after: bool, **options: Any) -> _native.Call:
    x, initial_state, kernel, recurrent_kernel, bias, recurrent_bias, mask, *factors = inputs
    if torch_layout:
        kernel, recurrent_kernel, bias = layout.to_keras(kernel, recurrent_kernel, bias, recurrent_bias)
    input_dropout, recurrent_dropout = map(_array, factors)
    return _native.make_call(
        x=_array(x),
        kernel=_array(kernel),
        recurrent_kernel=_array(recurrent_kernel),
        bias=_array(bias),
        cell=cells.gru(reset_after=reset_after),
        initial_state=_array(initial_state),
        mask=_array(mask),
        input_dropout=input_dropout,
        recurrent_dropout=recurrent_dropout,
        **options,
    )


def _array(value: torch.Tensor | None) -> Any:
    """A tensor's elements as the engine reads them, without a copy where they stand so; None without a tensor."""
    return None if value is None else np.require(value.detach().numpy(), requirements=["C", "A"])


def _parts(saved: torch.Tensor, calls: list[_native.Call]) -> list[npt.NDArray[np.float32]]:
    """What the engine writes and reads of `saved` in each direction."""
    each, count = saved.numel() // len(calls), calls[0].saved_floats
    if saved.dtype != torch.int32 or each < count:
        raise ValueError(
            f"{shapes.WHERE}: saved was not saved for these inputs. Expected at least {len(calls) * count} elements of "
            f"int32; received {saved.numel()} of {str(saved.dtype).removeprefix('torch.')}. Run the layer again."
        )
    floats: npt.NDArray[np.float32] = saved.view(torch.float32).flatten().numpy()
    return [floats[i * each :][:count] for i in range(len(calls))]
