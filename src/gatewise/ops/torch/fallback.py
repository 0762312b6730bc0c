# SPDX-License-Identifier: Apache-2.0
"""Kernels in Python for the operations of `operations.py`, for a torch that lacks its stable C interface.

They check what they are given and hand NumPy views of it to the engine: some microseconds a call more than
csrc/bind/torch.cpp, and the same numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gatewise import _native
from gatewise.arrays import real_array
from gatewise.ops.torch import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

_WHERE = "gatewise::gru"


def register(library: Any, saved_shape: Callable[..., tuple[int, int, int]]) -> None:
    """Gives the declared operations `gru`, `gru_train` and `gru_grad` their kernels.

    Args:
        library: the `torch.library.Library` that declares them.
        saved_shape: the shape of `saved`, from x, recurrent_kernel and the options.
    """

    def gru_train(*inputs: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        call = _call(*inputs, **options)
        shape = saved_shape(inputs[0], inputs[3], **options)
        saved = torch.empty(shape, dtype=torch.int32)
        outputs, state = _forward(call, _floats(saved, call))
        return outputs, state, saved

    library.impl("gru", lambda *inputs, **options: _forward(_call(*inputs, **options), None), "CPU")
    library.impl("gru_train", gru_train, "CPU")
    library.impl("gru_grad", _gradients, "CPU")


def _forward(call: _native.Call, saved: npt.NDArray[np.float32] | None) -> tuple[torch.Tensor, torch.Tensor]:
    outputs, state = torch.empty(call.output_shape), torch.empty(call.state_shape)
    _native.forward(call, outputs.numpy(), state.numpy(), saved)
    return outputs, state


def _gradients(*inputs: Any, x_gradient: bool, **options: Any) -> tuple[torch.Tensor, ...]:
    *layer, saved, d_outputs, d_state = inputs
    call = _call(*layer, **options)
    batch, timesteps, units = call.output_shape
    axes = ("batch", batch), ("timesteps", timesteps), ("units", units)
    dy = _optional("d_outputs", d_outputs, axes)
    dh = _optional("d_state", d_state, (axes[0], axes[2]))
    x, d_initial_state = torch.empty(call.x_shape), torch.empty(call.state_shape)
    kernel, recurrent_kernel = torch.empty(call.x_shape[2], 3 * units), torch.empty(units, 3 * units)
    bias = None if layer[4] is None else torch.empty((2, 3 * units) if options["reset_after"] else (3 * units,))
    _native.backward(
        call,
        _floats(saved, call),
        None,
        dy,
        dh,
        x.numpy(),
        d_initial_state.numpy(),
        kernel.numpy(),
        recurrent_kernel.numpy(),
        None if bias is None else bias.numpy(),
    )
    weights: tuple[torch.Tensor | None, ...] = (kernel, recurrent_kernel, bias, None)
    if options["torch_layout"]:
        weights = layout.from_keras(kernel, recurrent_kernel, bias)
    states = None if layer[1] is None else d_initial_state
    return tuple(torch.empty(0) if value is None else value for value in (x if x_gradient else None, states, *weights))


def _call(*inputs: Any, torch_layout: bool, **options: Any) -> _native.Call:
    x, initial_state, kernel, recurrent_kernel, bias, recurrent_bias, *others = inputs
    if torch_layout:
        kernel, recurrent_kernel, bias = layout.to_keras(kernel, recurrent_kernel, bias, recurrent_bias)
    elif recurrent_bias is not None:
        raise ValueError(
            f"{_WHERE}: recurrent_bias stands beside bias with reset_after and torch_layout, and nowhere else. Give "
            "or leave out both."
        )
    return _checked(x, initial_state, kernel, recurrent_kernel, bias, *others, **options)


def _checked(
    x: torch.Tensor,
    initial_state: torch.Tensor | None,
    kernel: torch.Tensor,
    recurrent_kernel: torch.Tensor,
    bias: torch.Tensor | None,
    mask: torch.Tensor | None,
    input_dropout: torch.Tensor | None,
    recurrent_dropout: torch.Tensor | None,
    **options: Any,
) -> _native.Call:
    """Checks the arguments of a layer, as csrc/bind/torch.cpp does, and makes the engine's call of them."""
    xs = _array("x", x, ("batch", "timesteps", "features"))
    recurrent = _array("recurrent_kernel", recurrent_kernel, ("units", "3 * units"))
    batch, timesteps, features = ("batch", xs.shape[0]), ("timesteps", xs.shape[1]), ("features", xs.shape[2])
    units, gates = ("units", len(recurrent)), ("3 * units", 3 * len(recurrent))
    masks = 3 if input_dropout is not None and input_dropout.ndim == 3 and len(input_dropout) == 3 else 1
    valid = None if mask is None else np.ascontiguousarray(mask.detach().numpy(), bool)
    if valid is not None and valid.shape != xs.shape[:2]:
        raise ValueError(
            f"{_WHERE}: mask has the wrong shape. Expected (batch={batch[1]}, timesteps={timesteps[1]}); received "
            f"{valid.shape}. Check what the layer was given."
        )
    return _native.make_call(
        x=xs,
        kernel=_array("kernel", kernel, (features, gates)),
        recurrent_kernel=_array("recurrent_kernel", recurrent_kernel, (units, gates)),
        bias=_optional("bias", bias, (("input and recurrent", 2), gates) if options["reset_after"] else (gates,)),
        initial_state=_optional("initial_state", initial_state, (batch, units)),
        mask=valid,
        input_dropout=_optional("input_dropout", input_dropout, (("masks", masks), batch, features)),
        recurrent_dropout=_optional("recurrent_dropout", recurrent_dropout, (("gates", 3), batch, units)),
        candidates_again=False,
        **options,
    )


def _array(name: str, value: torch.Tensor, axes: tuple[str | tuple[str, int], ...]) -> npt.NDArray[np.float32]:
    if value.dtype != torch.float32:
        received = str(value.dtype).removeprefix("torch.")
        raise TypeError(
            f"{_WHERE}: {name} has the wrong type. Expected float32; received {received}. Convert it first."
        )
    return real_array(_WHERE, name, value.detach().numpy(), axes, np.float32)


def _optional(
    name: str, value: torch.Tensor | None, axes: tuple[str | tuple[str, int], ...]
) -> npt.NDArray[np.float32] | None:
    return None if value is None else _array(name, value, axes)


def _floats(saved: torch.Tensor, call: _native.Call) -> npt.NDArray[np.float32]:
    """The part of `saved` that the engine writes and reads."""
    if saved.dtype != torch.int32 or saved.numel() < call.saved_floats:
        raise ValueError(
            f"{_WHERE}: saved was not saved for these inputs. Expected at least {call.saved_floats} elements of "
            f"int32; received {saved.numel()} of {str(saved.dtype).removeprefix('torch.')}. Run gru_train again."
        )
    floats: npt.NDArray[np.float32] = saved.view(torch.float32).flatten().numpy()
    return floats[: call.saved_floats]
