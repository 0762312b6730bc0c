# SPDX-License-Identifier: Apache-2.0
"""Recurrent modules with layer normalisation, on the engine. PyTorch has none of its own.

Letters: B = batch, T = timesteps, F = features, U = units (`hidden_size`), L = layers, D = directions, G = gates.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.cells import Cell, gru
from gatewise.layer_norm_weights import above_zero
from gatewise.operands import Direction
from gatewise.ops import torch as engine
from gatewise.options import fraction
from gatewise.torch import layer_norm_reasons, zoneout
from gatewise.torch.reasons import DTYPES
from gatewise.torch.starts import engine_starts

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the engine calls each parameter, by the beginning of its name; those of the last two have U numbers.
_PARAMETERS = {
    "weight_ih": "kernel",
    "weight_hh": "recurrent_kernel",
    "bias": "bias",
    "gain_ih": "gain",
    "gain_hh": "recurrent_gain",
    "gain_c": "state_gain",
    "bias_c": "state_bias",
}


class _LayerNorm(torch.nn.Module):
    """What both modules have in common.

    Attributes:
        fallback_reason: why PyTorch's own operations ran in the latest call; None if the engine ran.
    """

    fallback_reason: str | None = None
    cell: Cell

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: Any,
        bidirectional: bool,
        eps: float,
        device: Any,
        dtype: Any,
        **parts: float,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        for name, part in parts.items():
            setattr(self, name, fraction(where, name, part))
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if type(size) is not int or size < 1:
                raise ValueError(
                    f"{where}: {name} is out of range. Expected a whole number of at least 1; received {size!r}. "
                    "Check the order of the arguments."
                )
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ValueError(
                f"{where}: dropout is out of range. Expected a fraction between 0 and 1; received {dropout!r}. "
                "Write for instance dropout=0.2."
            )
        self.cell, self.eps = cell, above_zero(where, eps)
        self._names = cell.row.states
        self._number: Any = int(cell)  # torch.compile cannot follow an enumeration
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, float(dropout), bidirectional
        gates = len(cell.row.gates) * hidden_size
        for layer, suffix in self._places():
            width = hidden_size * (2 if bidirectional else 1) if layer else input_size
            for begin, operand in _PARAMETERS.items():
                if operand.startswith("state") and operand not in cell.row.weights:
                    continue
                shape = {"kernel": (gates, width), "recurrent_kernel": (gates, hidden_size)}.get(operand, (gates,))
                shape = (hidden_size,) if operand.startswith("state") else shape
                if operand != "bias" or bias:
                    value = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(f"{begin}_{suffix}", torch.nn.Parameter(value))
        self.reset_parameters()

    def _places(self) -> Iterator[tuple[int, str]]:
        """Lists the layers and directions: the layer, and what ends the names of its parameters."""
        for layer in range(self.num_layers):
            for reverse in ("", "_reverse")[: 2 if self.bidirectional else 1]:
                yield layer, f"l{layer}{reverse}"

    def reset_parameters(self) -> None:
        """Draws weights and biases uniformly from -1 / sqrt(U) to 1 / sqrt(U), as PyTorch; gains are ones."""
        bound = 1 / math.sqrt(self.hidden_size)
        for name, parameter in self.named_parameters():
            if name.startswith("gain"):
                torch.nn.init.ones_(parameter)
            elif name.startswith("bias_c"):
                torch.nn.init.zeros_(parameter)
            else:
                torch.nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        """Says what the module was made with, where that is not the default."""
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        parts += [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join([*parts, f"eps={self.eps:g}"]) + zoneout.described(self)

    def forward(self, input: Any, hx: Any = None, starts: Any = None) -> tuple[Any, Any]:  # noqa: A002
        """Runs the layers over sequences.

        Args:
            input: (T, B, F), (B, T, F) with `batch_first`, (T, F) for a single sequence, or a PackedSequence.
            hx: (L * D, B, U), or (L * D, U) for a single sequence; None for zeros. An LSTM takes a pair of such.
            starts: boundaries inside sequences, as `gatewise.torch.GRU` takes them; or None.

        Returns:
            The last layer's outputs, (T, B, D * U) or as the input, and every layer's last state, in the shape of hx.

        Raises:
            TypeError: the input is neither a tensor nor a PackedSequence, hx holds something else than tensors, or
                starts is no tensor of bool.
            ValueError: a shape does not fit.
        """
        states = self._states(hx)
        if isinstance(input, PackedSequence):
            return self._packed(input, states, engine_starts(type(self).__name__, self, input, starts))
        self._check_tensor("input", input)
        single = input.dim() == 2
        if input.dim() not in {2, 3} or not input.shape[0 if single or not self.batch_first else 1]:
            raise self._misfit("input", "(T, B, F), (B, T, F) with batch_first, or (T, F), of at least one step", input)
        x = input[None] if single else input if self.batch_first else input.transpose(0, 1)
        if single:
            states = tuple(state[:, None] for state in states)
        outputs, last = self._layers(x, None, states, engine_starts(type(self).__name__, self, input, starts))
        if single:
            return outputs[0], self._given_back(tuple(state[:, 0] for state in last))
        return outputs if self.batch_first else outputs.transpose(0, 1).contiguous(), self._given_back(last)

    def _packed(self, packed: PackedSequence, states: tuple[Any, ...], starts: Any) -> tuple[PackedSequence, Any]:
        data, batch_sizes, to_descending, to_given = packed
        x, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes), batch_first=True)
        if to_descending is not None:
            states = tuple(state.index_select(1, to_descending) for state in states)
        mask = (torch.arange(x.shape[1]) < lengths[:, None]).to(x.device)
        outputs, last = self._layers(x, mask, states, starts)
        if to_given is not None:
            last = tuple(state.index_select(1, to_given) for state in last)
        found = pack_padded_sequence(outputs, lengths, batch_first=True).data
        return PackedSequence(found, batch_sizes, to_descending, to_given), self._given_back(last)

    def _layers(self, x: Any, mask: Any, states: tuple[Any, ...], starts: Any) -> tuple[Any, tuple[Any, ...]]:
        """Runs every layer and direction. Returns outputs (B, T, D * U) and states (L * D, B, U)."""
        n, dtype = 2 if self.bidirectional else 1, x.dtype
        if x.shape[2] != self.input_size:
            raise self._misfit("input", f"a last axis of {self.input_size}, the input_size", x)
        wanted = (self.num_layers * n, x.shape[0], self.hidden_size)
        for state in states:
            if tuple(state.shape) != wanted:
                raise self._misfit("hx", f"(layers and directions, batch, units) of {wanted}", state)
        why = layer_norm_reasons.reason(self, x, states)
        self.fallback_reason = why
        wide = torch.float32 if dtype in DTYPES else dtype
        x = x.to(wide)
        last: list[tuple[Any, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = torch.nn.functional.dropout(x, self.dropout, self.training)
            directions = [self._direction(layer * n + i, states, x) for i in range(n)]
            options: Any = {"cell": self._number, "torch_layout": True, **zoneout.parts(self)}
            x, own = engine.rnn(x, directions, mask, starts, composed=why is not None, **options)
            last += own
        found = tuple(torch.stack(of_each) for of_each in zip(*last, strict=True))
        return x.to(dtype), tuple(state.to(dtype) for state in found)

    def operands(self, place: int) -> dict[str, torch.Tensor | None]:
        """Returns the parameters of one direction of a layer, by the engine's names, in PyTorch's layout.

        Args:
            place: counts layers and directions, the directions of a layer side by side.

        Returns:
            Those that the module has, and None for the others.
        """
        suffix = [suffix for _, suffix in self._places()][place]
        return {operand: getattr(self, f"{begin}_{suffix}", None) for begin, operand in _PARAMETERS.items()}

    def _direction(self, place: int, states: tuple[Any, ...], x: Any) -> Any:
        """Brings one direction's parameters and states to the input's dtype; and draws for its input."""
        own: dict[str, Any] = {**self.operands(place)}
        own |= dict(zip(("initial_h", "initial_c"), (state[place] for state in states), strict=False))
        given = {name: None if value is None else value.to(x.dtype) for name, value in own.items()}
        epsilon = torch.full((1,), self.eps, dtype=x.dtype, device=own["kernel"].device)
        return Direction(**given, epsilon=epsilon, **zoneout.draws(self, x))

    # --- What may be given ---

    def _states(self, hx: Any) -> tuple[Any, ...]:
        names = self._names
        given = () if hx is None else (hx,) if len(names) == 1 else hx
        if hx is not None and (not isinstance(given, tuple | list) or len(given) != len(names)):
            raise TypeError(
                f"{type(self).__name__}: hx has the wrong kind. Expected a tuple ({', '.join(names)}), or None; "
                f"received {type(hx).__name__}. Give all states."
            )
        for state in given:
            self._check_tensor("hx", state)
        return tuple(given)

    def _given_back(self, states: tuple[Any, ...]) -> Any:
        return states[0] if len(states) == 1 else states

    def _check_tensor(self, name: str, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"{type(self).__name__}: {name} has the wrong type. Expected a torch.Tensor; received "
                f"{type(value).__name__}. Call torch.as_tensor on it."
            )

    def _misfit(self, name: str, expected: str, value: Any) -> ValueError:
        return ValueError(
            f"{type(self).__name__}: {name} has the wrong shape. Expected {expected}; received {tuple(value.shape)}. "
            "Check its axes."
        )


class LayerNormGRU(_LayerNorm):
    """Reads sequences with gated recurrent units with layer normalisation; `gatewise.keras.LayerNormGRU` says what.

    The call is that of `torch.nn.GRU`. Parameters of layer k, with `_reverse` at the end for the other direction, gates
    in PyTorch's order r | z | n: weight_ih_lk (3 * U, F), weight_hh_lk (3 * U, U), bias_lk (3 * U,), gain_ih_lk
    (3 * U,) and gain_hh_lk (3 * U,).

    Args:
        input_size: the width of the input.
        hidden_size: the width of the state.
        num_layers: how many layers stand on each other.
        bias: whether there are biases.
        batch_first: whether the batch is the first axis.
        dropout: what is dropped of the outputs of all layers but the last.
        bidirectional: whether each layer reads both ways.
        eps: what is added to variances.
        reset_after: where the reset gate acts: on the normalised product (True), or on the state before it.
        zoneout: what part of the state a step keeps; `gatewise.torch.GRU` says how.
        device: of the parameters.
        dtype: likewise.

    Attributes:
        fallback_reason: why PyTorch's own operations ran in the latest call; None if the engine ran. The reasons: a
            device other than the CPU, float64, export and tracing, transformations of torch.func, forward-mode
            derivatives, `gatewise.portable()`.

    Example:
        >>> import torch
        >>> gru = LayerNormGRU(5, 4, num_layers=2, bidirectional=True, batch_first=True)
        >>> outputs, state = gru(torch.zeros(2, 3, 5))
        >>> tuple(outputs.shape), tuple(state.shape), gru.fallback_reason
        ((2, 3, 8), (4, 2, 4), None)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        eps: float = 1e-3,
        reset_after: bool = True,
        zoneout: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        cell = gru(reset_after=reset_after, layer_norm=True)
        super().__init__(cell, *sizes, bias, batch_first, dropout, bidirectional, eps, device, dtype, zoneout=zoneout)


class LayerNormLSTM(_LayerNorm):
    """Reads sequences with long short-term memory with layer normalisation; `gatewise.keras.LayerNormLSTM` says what.

    The call is that of `torch.nn.LSTM`. Parameters of layer k, with `_reverse` at the end for the other direction,
    gates in PyTorch's order i | f | g | o: weight_ih_lk (4 * U, F), weight_hh_lk (4 * U, U), bias_lk (4 * U,),
    gain_ih_lk (4 * U,), gain_hh_lk (4 * U,), gain_c_lk (U,) and bias_c_lk (U,).

    Args:
        input_size: the width of the input.
        hidden_size: the width of the states.
        num_layers: how many layers stand on each other.
        bias: whether gates have biases.
        batch_first: whether the batch is the first axis.
        dropout: what is dropped of the outputs of all layers but the last.
        bidirectional: whether each layer reads both ways.
        eps: what is added to variances.
        zoneout: what part of h a step keeps; `gatewise.torch.GRU` says how.
        zoneout_cell: likewise, of c.
        device: of the parameters.
        dtype: likewise.

    Attributes:
        fallback_reason: why PyTorch's own operations ran in the latest call; None if the engine ran. The reasons are
            those of `gatewise.torch.LayerNormGRU`.

    Example:
        >>> import torch
        >>> outputs, (h, c) = LayerNormLSTM(5, 4)(torch.zeros(3, 2, 5))
        >>> tuple(outputs.shape), tuple(h.shape), tuple(c.shape)
        ((3, 2, 4), (1, 2, 4), (1, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        eps: float = 1e-3,
        zoneout: float = 0.0,
        zoneout_cell: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        parts: dict[str, Any] = {"zoneout": zoneout, "zoneout_cell": zoneout_cell}
        cell = Cell.LAYER_NORM_LSTM
        super().__init__(cell, *sizes, bias, batch_first, dropout, bidirectional, eps, device, dtype, **parts)
