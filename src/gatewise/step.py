# SPDX-License-Identifier: Apache-2.0
"""One step of a layer, again and again: what a stream needs, in microseconds a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from gatewise import _native
from gatewise.arrays import Axes, real_array
from gatewise.engine import activation_code
from gatewise.operands import INPUTS, engine_options
from gatewise.options import fraction
from gatewise.states import by_name, nested
from gatewise.weights import Weights, require_weights

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]


class Step:
    """A layer that takes one step a call, for any number of independent rows. Its weights are packed once.

    The states are the caller's, so that rows may join, leave and be stored at will. A row gives the same bits in any
    batch, and the same as `gatewise.rnn` gives for the whole sequence. It can be pickled and copied, and then packs its
    weights for the CPU that it finds itself on.

    Args:
        weights: the layer's. Their arrays must not change afterwards.
        activation: the candidate's: "tanh", "sigmoid", "relu", "linear" or "hard_sigmoid".
        recurrent_activation: the gates', likewise.
        **zoneout: zoneout_h, what part of h, from 0 to 1, a step keeps; zoneout_c, likewise of the second state.

    Raises:
        TypeError: weights are no weights of gatewise, or an argument is unknown or no number.
        ValueError: an activation is unknown, or a part is not from 0 to 1.

    Example:
        >>> import gatewise, numpy as np
        >>> weights = gatewise.GRUWeights(np.zeros((5, 12)), np.zeros((4, 12)), np.zeros((2, 12)))
        >>> step = gatewise.Step(weights)
        >>> state = np.ones((1, 4), np.float32)
        >>> for x in np.zeros((3, 1, 5), np.float32):
        ...     state = step(x, state)
        >>> state  # halved three times
        array([[0.125, 0.125, 0.125, 0.125]], dtype=float32)
    """

    def __init__(
        self,
        weights: Weights,
        *,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        **zoneout: float,
    ) -> None:
        self._weights = require_weights("Step", weights)
        known = [f"zoneout_{state}" for state in weights.cell.row.states]
        for name in zoneout:
            if name not in known:
                raise TypeError(
                    f"Step: {name} is no argument. Expected one of activation, recurrent_activation, "
                    f"{', '.join(known)}; received {name!r}. Check its spelling."
                )
        self._options = engine_options(
            cell=weights.cell,
            activation=activation_code("Step", "activation", activation),
            recurrent_activation=activation_code("Step", "recurrent_activation", recurrent_activation),
            **{name: fraction("Step", name, part) for name, part in zoneout.items()},
        )
        self.features, self.units = weights.features, weights.units
        self._native = self._pack()
        self._run = self._native.run

    def _pack(self) -> Any:
        return _native.Step(tuple(map(self._weights.arrays().get, (row.name for row in INPUTS))), self._options)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in {"_native", "_run"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._native = self._pack()  # for the instruction set that runs here
        self._run = self._native.run

    def __call__(self, x: npt.ArrayLike, state: Any, out: Any = None) -> Any:
        """Takes one step.

        Float32 C-contiguous arrays are read in place; other strides and real dtypes are copied first.

        Args:
            x: (rows, features), the rows' next inputs.
            state: (rows, units), their states; a tuple of such where the cell has several.
            out: (rows, units), float32, C-contiguous, nested as `state`: where the next states go; or None. It may be
                `state` itself, and shares no memory with anything else that is read.

        Returns:
            The next states, (rows, units), float32, nested as `state`: `out` if that is given, else new arrays.

        Raises:
            TypeError: an array does not hold real numbers or is a masked array, or `out` is no array that can be
                written to.
            ValueError: an array has the wrong shape, or `out` overlaps what is read.
            MemoryError: there is no memory for the next states.
        """
        result = self._run(x, state, out)
        return self._convert_and_run(x, state, out) if result is None else result

    def update(self, x: npt.ArrayLike, states: Any, rows: npt.ArrayLike | None = None) -> Array:
        """Takes one step of some of many streams, whose states stand in one array, and are replaced there.

        Args:
            x: (n, features), the next inputs of those streams.
            states: (streams, units), float32, C-contiguous and writeable: all states; a tuple of such where the cell
                has several. No other row changes.
            rows: (n,), whole numbers: where the state of each row of x stands in `states`, no two the same; or None for
                all rows in their order.

        Returns:
            The next states of those streams, of several the first, h, (n, units), float32, in a new array.

        Raises:
            TypeError: an array does not hold numbers of its kind or is a masked array, or `states` cannot be written
                to.
            ValueError: an array has the wrong shape, a row is out of range or named twice, or `states` overlaps x or
                the weights.
            MemoryError: there is no memory for the next states.

        Example:
            >>> import gatewise, numpy as np
            >>> step = gatewise.Step(gatewise.GRUWeights(np.zeros((5, 12)), np.zeros((4, 12))))
            >>> states = np.ones((1000, 4), np.float32)
            >>> step.update(np.zeros((2, 5), np.float32), states, rows=[7, 3])
            array([[0.5, 0.5, 0.5, 0.5],
                   [0.5, 0.5, 0.5, 0.5]], dtype=float32)
            >>> states[[2, 3]]
            array([[1. , 1. , 1. , 1. ],
                   [0.5, 0.5, 0.5, 0.5]], dtype=float32)
        """
        result: Array | None = self._native.update(x, states, rows)
        return self._convert_and_update(x, states, rows) if result is None else result

    def _convert_and_update(self, x: npt.ArrayLike, states: Any, rows: npt.ArrayLike | None) -> Array:
        shape: Axes = ("streams", ("units", self.units))
        all_states = self._several("states", states)
        places_of = [self._place(name, array, shape) for name, array in all_states.items()]
        for name, array in zip(all_states, places_of, strict=True):
            real_array("Step", name, array, (("streams", len(places_of[0])), shape[1]), np.float32)
        rows_of = _places(rows, len(places_of[0]))
        wanted = (("rows", len(rows_of)), ("features", self.features))
        inputs = real_array("Step", "x", x, wanted, np.float32, _ROW_HINT)
        result: Array | None = self._native.update(inputs, nested(places_of), rows_of)
        if result is None:  # all else has been checked
            self._raise_overlap(dict(zip(all_states, places_of, strict=True)), inputs, places_of)
        return result

    def _convert_and_run(self, x: npt.ArrayLike, state: Any, out: Any) -> Any:
        inputs = real_array("Step", "x", x, ("rows", ("features", self.features)), np.float32, _ROW_HINT)
        shape = (("rows", len(inputs)), ("units", self.units))
        given = self._several("state", state).items()
        states = [real_array("Step", name, value, shape, np.float32, _ROW_HINT) for name, value in given]
        places = {} if out is None else self._several("out", out)
        places = {name: self._place(name, array, shape) for name, array in places.items()}
        result = self._run(inputs, nested(states), nested([*places.values()]) if places else None)
        if result is None:  # all else has been checked
            self._raise_overlap(places, inputs, states)
        return result if out is None else out

    def _several(self, name: str, value: Any) -> dict[str, Any]:
        return by_name("Step", name, value, self._weights.cell)

    def _place(self, name: str, out: Any, shape: Axes) -> Array:
        """Checks where next states go. Returns the array itself, or the plain array that it is."""
        masked = isinstance(out, np.ma.MaskedArray)
        if not isinstance(out, np.ndarray) or masked or out.dtype != np.float32 or not out.flags.carray:
            raise TypeError(
                f"Step: {name} cannot be written to. Expected a float32, C-contiguous, writeable numpy array; "
                f"received {_describe(out)}. Make it by np.empty((rows, units), np.float32)."
            )
        return real_array("Step", name, out, shape, np.float32)

    def _raise_overlap(self, places: dict[str, Array], inputs: Array, states: list[Array]) -> NoReturn:
        weights = self._weights.arrays().items()
        read = {"x": inputs} | {name: array for name, array in weights if array is not None}
        for i, (out, place) in enumerate(places.items()):
            others = {name: array for name, array in places.items() if name != out}
            own = {} if place.ctypes.data == states[i].ctypes.data else {"state": states[i]}
            others |= own | {f"state[{k}]": state for k, state in enumerate(states) if k != i}
            names = " and ".join(name for name, array in (read | others).items() if np.may_share_memory(place, array))
            if names:
                break
        free = "state itself, or memory" if out.startswith("out") else "memory"
        raise ValueError(
            f"Step: {out} overlaps {names}. Expected {free} that nothing is read from; received an array that shares "
            f"memory with {names}. Make it by np.empty((rows, units), np.float32)."
        )


_ROW_HINT = "Give one row a batch axis of 1: x[None]."


def _places(rows: npt.ArrayLike | None, streams: int) -> npt.NDArray[np.int64]:
    """Checks which rows take a step."""
    if rows is None:
        return np.arange(streams)
    given = np.asarray(rows)
    given = given.astype(np.int64) if given.shape == (0,) else given  # of no rows NumPy says that they are floats
    if given.dtype.kind not in "iu" or isinstance(rows, np.ma.MaskedArray):
        raise TypeError(
            f"Step: rows has the wrong type. Expected whole numbers; received dtype {given.dtype}. Give the places "
            "of the streams in states, or np.flatnonzero(mask) for a mask."
        )
    if given.ndim != 1:
        raise ValueError(f"Step: rows has the wrong shape. Expected (n,); received {given.shape}. Check its axes.")
    outside = given[(given < 0) | (given >= streams)]
    if len(outside):
        raise ValueError(
            f"Step: rows are out of range. Expected 0 to {streams - 1}, places in states; received {outside[0]}. "
            "Check the places."
        )
    numbers, counts = np.unique(given, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"Step: rows name a stream twice. Expected different places; received {numbers[counts > 1][0]} more "
            "than once. Take the steps of one stream in calls of their own."
        )
    return np.ascontiguousarray(given, np.int64)


def _describe(out: Any) -> str:
    """Says of what cannot be written to what it is."""
    if not isinstance(out, np.ndarray):
        return type(out).__name__
    flaws = {
        "masked": isinstance(out, np.ma.MaskedArray),
        "not C-contiguous": not out.flags.c_contiguous,
        "read-only": not out.flags.writeable,
        "not aligned": not out.flags.aligned,
    }
    return ", ".join([f"one of {out.dtype}", *(flaw for flaw, found in flaws.items() if found)])
