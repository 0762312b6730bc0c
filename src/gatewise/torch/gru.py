# SPDX-License-Identifier: Apache-2.0
"""`torch.nn.GRU` with its layers on the engine. Parameters, checks, packing and the random numbers stay PyTorch's.

Letters: B = batch, T = timesteps, F = features, U = units (`hidden_size`), L = layers, D = directions, 1 or 2.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.ops import torch as engine
from gatewise.ops.direction import Direction
from gatewise.torch.quantization import warn_if_passed_over
from gatewise.torch.reasons import NOT_PACKED, advice, reason, warn

if TYPE_CHECKING:
    from collections.abc import Callable

STOCK_FORWARD: Callable[..., Any] = torch.nn.GRU.forward
# What a torch.nn.GRU computes.
_OPTIONS: dict[str, Any] = {
    "torch_layout": True,
    "reset_after": True,
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "go_backwards": False,
    "return_sequences": True,
    "zero_output_for_mask": False,
}
# What a module of ours holds besides what a torch.nn.GRU does. torch.fx keeps a module whole whose `__module__` is in
# torch.nn: it asks the module, pickle asks the class.
OWN_STATE = {"__module__": torch.nn.GRU.__module__, "fallback_reason": None}


class GRU(torch.nn.GRU):
    """Reads sequences with gated recurrent units: `torch.nn.GRU`, faster on a CPU, with the same numbers.

    Arguments, parameters, call and state dict are those of `torch.nn.GRU`; so is what it computes, with these remarks:

    - bfloat16 and float16 are computed in float32 and rounded at the end of the call; results have the input's dtype.
    - The output is contiguous, whatever `batch_first` says.
    - What is exported or traced (`torch.export`, ONNX, TorchScript) holds PyTorch's own operations.
      `torch.jit.script` puts a `torch.nn.GRU` with the same parameters in this module's place.
    - Tools that know a `torch.nn.GRU` by its very class, `torch.ao.quantization.quantize_dynamic` among them, leave
      this module as it is. A warning says so where it can be seen; the cure is `gatewise.torch.convert(model,
      to="stock")`.

    Attributes:
        fallback_reason: why PyTorch's own path ran in the latest call; None if the engine ran. The reasons: a device
            other than the CPU, float64, tensors of different dtypes, sparse ones, export and tracing, transformations
            of torch.func, forward-mode derivatives, `gatewise.portable()`.

    Example:
        >>> import torch
        >>> gru = GRU(5, 4, num_layers=2, bidirectional=True, batch_first=True)
        >>> gru.load_state_dict(torch.nn.GRU(5, 4, num_layers=2, bidirectional=True).state_dict())
        <All keys matched successfully>
        >>> outputs, state = gru(torch.zeros(2, 3, 5))
        >>> tuple(outputs.shape), tuple(state.shape), gru.fallback_reason
        ((2, 3, 8), (4, 2, 4), None)
    """

    fallback_reason: str | None = None

    if not TYPE_CHECKING:  # whose signatures stay those of torch.nn.GRU

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            vars(self).update(OWN_STATE)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "qconfig":  # torch.ao.quantization asks nothing else of a module that it passes over
            warn_if_passed_over(value, sys._getframe(1).f_locals)  # noqa: SLF001

    def forward(self, input: Any, hx: torch.Tensor | None = None) -> tuple[Any, torch.Tensor]:  # noqa: A002
        """Runs the layers over sequences.

        Args:
            input: (T, B, F), (B, T, F) with `batch_first`, (T, F) for a single sequence, or a PackedSequence.
            hx: (L * D, B, U), or (L * D, U) for a single sequence; None for zeros.

        Returns:
            The last layer's outputs, (T, B, D * U) or as the input, and every layer's last state, in the shape of hx.

        Raises:
            RuntimeError: a shape does not fit; it is PyTorch's own check, as for ValueError.
            ValueError: the input has the wrong rank or dtype.
        """
        return forward(self, input, hx)

    def __prepare_scriptable__(self) -> torch.nn.GRU:  # torch.jit.script compiles what this returns
        stock = torch.nn.GRU.__new__(torch.nn.GRU)
        stock.__dict__ = {name: value for name, value in vars(self).items() if name not in OWN_STATE}
        return stock


class _Sequences(NamedTuple):
    """A batch of sequences as the engine reads them, and as PyTorch does."""

    x: torch.Tensor  # (B, T, F), any dtype
    lengths: torch.Tensor | None  # (B,) int64, descending, for what came packed; else None


def forward(module: Any, input: Any, hx: torch.Tensor | None = None) -> tuple[Any, torch.Tensor]:  # noqa: A002
    """Runs a `torch.nn.GRU`, or a subclass of it, on the engine where it can; see `GRU.forward`."""
    # torch.compile steps around every GRU unless told otherwise. Then it shall not compile pieces of ours either.
    if torch.compiler.is_dynamo_compiling() or "torch._dynamo" not in sys.modules:
        return _run(module, input, hx)
    return _uncompiled_run()(module, input, hx)


@functools.cache
def _uncompiled_run() -> Callable[..., tuple[Any, torch.Tensor]]:
    disable: Any = torch.compiler.disable  # without types
    run: Callable[..., tuple[Any, torch.Tensor]] = disable(_run)
    return run


def _run(module: Any, input: Any, hx: torch.Tensor | None) -> tuple[Any, torch.Tensor]:  # noqa: A002
    if not _flat_weights_are_current(module):
        module._update_flat_weights()  # noqa: SLF001  # as stock's forward begins
    packed = isinstance(input, PackedSequence)
    data = input.data if packed else input
    if not _are_tensors(data, hx) or not (packed or _are_sequences(module, data, hx)):
        return _stock(module, input, hx)  # which raises, in its own words
    why = reason(module, data, hx)
    if module.fallback_reason != why:
        module.fallback_reason = why
    if why is not None:
        return _stock(module, input, hx)
    return _packed(module, input, hx) if packed else _padded(module, input, hx)


def _stock(module: Any, input: Any, hx: Any) -> tuple[Any, torch.Tensor]:  # noqa: A002
    """Runs PyTorch's own path. To its error comes what to do, where that is more than it says itself."""
    try:
        return STOCK_FORWARD(module, input, hx)  # type: ignore[no-any-return]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        note = advice(module, input, hx)
        if note is not None:
            error.add_note(note)
        raise


def _flat_weights_are_current(module: Any) -> bool:
    """Says whether the list of weights holds the parameters, in a fifth of the time that stock's question takes."""
    parameters, names, weights = module._parameters, module._flat_weights_names, module._flat_weights  # noqa: SLF001
    return all(parameters.get(name) is weight for name, weight in zip(names, weights, strict=True))


def _are_tensors(data: Any, hx: Any) -> bool:
    return isinstance(data, torch.Tensor) and (hx is None or isinstance(hx, torch.Tensor))


def _are_sequences(module: Any, data: torch.Tensor, hx: torch.Tensor | None) -> bool:
    """Says whether the ranks are those of sequences, of at least one step."""
    if data.is_nested:
        return True  # of no shape to ask for: the reason says so
    rank = data.dim()
    if rank not in {2, 3} or (hx is not None and hx.dim() != rank):
        return False
    return data.shape[1 if rank == 3 and module.batch_first else 0] > 0


def _padded(module: Any, data: torch.Tensor, hx: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs over sequences of one length, (T, B, F), (B, T, F) with batch_first, or (T, F)."""
    single = data.dim() == 2
    batch_axis = 0 if module.batch_first else 1
    if single:
        data, hx = data.unsqueeze(batch_axis), None if hx is None else hx.unsqueeze(1)
    _check(module, data, hx, None)
    x = data if module.batch_first else data.transpose(0, 1)
    outputs, state = _layers(module, _Sequences(x, None), hx)
    if not module.batch_first:
        outputs = outputs.transpose(0, 1).contiguous()  # users call view() on it, as they can on stock's
    return (outputs.squeeze(batch_axis), state.squeeze(1)) if single else (outputs, state)


def _packed(module: Any, packed: PackedSequence, hx: torch.Tensor | None) -> tuple[PackedSequence, torch.Tensor]:
    """Runs over sequences of many lengths, which stand in descending order in what is packed."""
    data, batch_sizes, to_descending, to_given = packed
    given_hx, hx = hx, None if hx is None else module.permute_hidden(hx, to_descending)
    _check(module, data, hx, batch_sizes)
    padded = _unpacked(data, batch_sizes)
    if padded is None:
        module.fallback_reason = NOT_PACKED
        warn(NOT_PACKED)
        return _stock(module, packed, given_hx)
    x, lengths = padded
    outputs, state = _layers(module, _Sequences(x, lengths), hx)
    result = pack_padded_sequence(outputs, lengths, batch_first=True).data
    return PackedSequence(result, batch_sizes, to_descending, to_given), module.permute_hidden(state, to_given)


def _unpacked(data: torch.Tensor, batch_sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Pads sequences. Returns them, (B, T, F), and their lengths; None if the sizes are not those of any."""
    try:
        x, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes), batch_first=True)
    except (IndexError, RuntimeError):
        return None
    return (x, lengths) if len(lengths) else None


def _check(module: Any, data: torch.Tensor, hx: torch.Tensor | None, batch_sizes: torch.Tensor | None) -> None:
    """Lets PyTorch check the shapes, in its own words."""
    module.check_input(data, batch_sizes)
    if hx is not None:
        module.check_hidden_size(hx, module.get_expected_hidden_size(data, batch_sizes))


def _layers(module: Any, sequences: _Sequences, hx: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs every layer and direction. Returns outputs (B, T, D * U) and states (L * D, B, U)."""
    x, lengths = _float32(sequences.x), sequences.lengths
    dtype = sequences.x.dtype if hx is None else hx.dtype  # they differ under autocast alone
    mask = None
    if lengths is not None and int(lengths[-1]) < x.shape[1]:
        mask = torch.arange(x.shape[1]) < lengths[:, None]
    states: list[torch.Tensor] = []
    for layer in range(module.num_layers):
        if layer and module.training and module.dropout:
            x = x * _dropout_factors(module.dropout, sequences, x.shape[2])
        x, *own = _layer(module, layer, x, mask, hx)
        states += own
    state = torch.stack(states)
    return (x, state) if dtype == torch.float32 else (x.to(dtype), state.to(dtype))


def _layer(
    module: Any, layer: int, x: torch.Tensor, mask: torch.Tensor | None, hx: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """Runs a layer of the stack. Returns outputs (B, T, D * U) and the last state of each direction, (B, U)."""
    if not module.bidirectional:
        direction, recurrent_bias = _direction(module, layer, hx)
        return engine.gru(x, *direction[:4], mask, recurrent_bias=recurrent_bias, **_OPTIONS)
    (first, first_bias), (second, second_bias) = (_direction(module, 2 * layer + i, hx) for i in range(2))
    outputs, states = engine.bidirectional(
        x, first, second, mask, recurrent_biases=(first_bias, second_bias), **_OPTIONS
    )
    return outputs, *states


def _direction(module: Any, place: int, hx: torch.Tensor | None) -> tuple[Direction, torch.Tensor | None]:
    """Names one direction's parameters as the engine does, in float32: kernels (3U, F) and (3U, U), biases (3U,)."""
    count = 4 if module.bias else 2
    weights = module._flat_weights[place * count : (place + 1) * count]  # noqa: SLF001
    kernel, recurrent_kernel, bias, recurrent_bias = (*map(_float32, weights), None, None)[:4]
    initial_state = None if hx is None else _float32(hx[place])
    return Direction(initial_state, kernel, recurrent_kernel, bias), recurrent_bias


def _float32(value: torch.Tensor) -> torch.Tensor:
    return value if value.dtype is torch.float32 else value.float()  # which takes four times as long to do nothing


def _dropout_factors(probability: float, sequences: _Sequences, width: int) -> torch.Tensor:
    """Draws the factors on a layer's input, (B, T, width), as stock does: from the same seed come the same ones.

    Stock's tensor is (T, B, width), or the data of a packed sequence, and random numbers are drawn in its order.
    """
    batch, timesteps, _ = sequences.x.shape
    if sequences.lengths is None:
        ones = sequences.x.new_ones(timesteps, batch, width)
        return torch.dropout(ones, probability, train=True).transpose(0, 1).float()
    packed = pack_padded_sequence(sequences.x.new_ones(batch, timesteps, width), sequences.lengths, batch_first=True)
    dropped = PackedSequence(torch.dropout(packed.data, probability, train=True), packed.batch_sizes)
    return pad_packed_sequence(dropped, batch_first=True)[0].float()
