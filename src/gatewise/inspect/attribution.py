# SPDX-License-Identifier: Apache-2.0
"""Which inputs a prediction rests on: gradient times input, and integrated gradients, through time.

Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365) share out how much a prediction differs from that of a
baseline, here zeros: an input's share is its difference from the baseline times the mean of its gradient on the
straight way between the two. The shares add up to the whole difference (completeness), which is measured. The integral
is by Gauss and Legendre, with more points until it is exact enough. It is written here because captum is for PyTorch
alone; the gradients are the framework's own.

Ids have no gradient: a token's share is that of its embedding's outputs, summed. Masks stay those of the data: the way
begins just off the zeros, which `Masking` would take for padding, and padding stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gatewise.inspect.arguments import number, row_of
from gatewise.inspect.opening import opened
from gatewise.options import cut, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Array = npt.NDArray[Any]

INTEGRATED, TIMES_INPUT = METHODS = ("integrated_gradients", "gradient_times_input")
FEWEST_POINTS, MOST_POINTS, AT_ONCE = 16, 1024, 16
BEGIN = 1e-6  # of the way; what is nearer to zeros is float32's rounding
ROUNDING = 1e-5  # a difference of predictions below this share of them is float32's rounding

CANCELLED = 1e-2  # likewise of the shares without their signs: what is left when they cancel is rounding
_WHY = {
    False: "The prediction jumps on the way from zeros to the row, as masks that are made of the data let it, or is as "
    "steep as layer normalisation makes what is nearly zero: give the mask as an input, or use gradient_times_input.",
    True: "The prediction hardly differs from that of zeros, and the shares cancel, but for float32's rounding: choose "
    "another row or target.",
}


class AttributionError(ValueError):
    """A prediction whose shares do not add up, or that has none."""


class Differentiable(Protocol):
    """A model of a framework, with one row of data: what it computes at places on the way, and its gradients there."""

    sources: dict[str, Array]  # by name, (1, ...), what is differentiated by: inputs, and embeddings' outputs
    baselines: dict[str, Array]  # likewise, where the way begins
    tokens: set[str]  # those that are embeddings' outputs

    def predict(self, places: Mapping[str, Array]) -> dict[str, Array]:
        """Returns the outputs by name, (n, ...), at n places (n, ...)."""

    def gradients(self, places: Mapping[str, Array], output: str, target: tuple[int, ...]) -> dict[str, Array]:
        """Returns by source the gradients, (n, ...), of one number of an output."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a prediction rests on. Printed, it says of what prediction, and how exact it is.

    Attributes:
        method: "integrated_gradients" or "gradient_times_input".
        row: of the data.
        output: the name of the output.
        target: which number of that row's output; () for a single one.
        prediction: that number.
        baseline: what the model says of the baseline.
        values: by input, float64: (timesteps, features), or (timesteps,) for ids, each token's share.
        completeness_error: how far the shares' sum is from prediction less baseline, as a share of that.
        points: on the way from the baseline that gradients were taken at.
    """

    method: str
    row: int
    output: str
    target: tuple[int, ...]
    prediction: float
    baseline: float
    values: Mapping[str, npt.NDArray[np.float64]]
    completeness_error: float
    points: int

    def by_step(self, name: str | None = None) -> npt.NDArray[np.float64]:
        """Sums the shares of each step of an input, by default of the first: (timesteps,).

        Raises:
            ValueError: there is no such input.
        """
        values = self.values[next(iter(self.values)) if name is None else one_of("by_step", "name", name, self.values)]
        return values.reshape(len(values), -1).sum(axis=1) if values.ndim else values[None]

    def __str__(self) -> str:
        place = f"[{', '.join(map(str, self.target))}]" if self.target else ""
        shares = ", ".join(f"{name} {values.sum():+.4g}" for name, values in self.values.items())
        return (
            f"{self.output}{place} of row {self.row} is {self.prediction:.6g}, {self.baseline:.6g} at the baseline; by "
            f"{self.method.replace('_', ' ')} at {self.points} point{'s' * (self.points > 1)}: {shares}; completeness "
            f"error {self.completeness_error:.2%}"
        )


def attribute(
    model: Any,
    x: Any,
    row: int = 0,
    *,
    method: str = INTEGRATED,
    output: str | None = None,
    target: int | tuple[int, ...] | None = None,
    tolerance: float = 0.01,
) -> Attribution:
    """Finds which inputs a prediction rests on.

    Layers are given other values while it runs: do not use the model from another thread meanwhile.

    Args:
        model: a Keras model, on TensorFlow, JAX or PyTorch, or a `torch.nn.Module` whose batch comes first. It runs as
            in evaluation: nothing is dropped out.
        x: as `gatewise.inspect` takes it.
        row: of x.
        method: "integrated_gradients", whose shares add up to prediction less baseline, or "gradient_times_input", one
            gradient, which says what a small change would do and adds up only where the model is linear.
        output: the name of an output; by default the first.
        target: which number of the row's output, by its indices: a class. By default the largest, of the last step if
            there are steps.
        tolerance: the largest completeness error that integrated gradients may have.

    Returns:
        The shares, and their completeness error.

    Raises:
        TypeError: model has no gradients: it is a file's, or a graph; or row or tolerance is no number.
        AttributionError: the shares do not add up within the tolerance, or prediction and baseline are the same. It is
            a ValueError.
        ValueError: row, method, output, target or tolerance is none that there is, NaN reaches the prediction, or ids
            are read by no Embedding.

    Example:
        >>> import keras, numpy as np
        >>> from gatewise.inspect import attribute
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential([keras.Input((None, 2), name="x"), keras.layers.GRU(4), keras.layers.Dense(1)])
        >>> found = attribute(model, np.random.default_rng(0).normal(size=(3, 5, 2)))
        >>> found.values["x"].shape, found.completeness_error < 0.01
        ((5, 2), True)
    """
    one_of("attribute", "method", method, METHODS)
    tolerance = number("attribute", "tolerance", tolerance)
    seen = opened(model, x)
    if seen.source is None:
        raise TypeError(
            "attribute: a file or a graph has no gradients. Expected a Keras model or a torch.nn.Module; received "
            f"{type(model).__name__}. Load the model in its framework: keras.saving.load_model(path)."
        )
    rows = len(next(iter(seen.inputs.values())))
    row = row_of("attribute", row, rows)
    one = {name: array[row : row + 1] for name, array in seen.inputs.items()}
    differentiable = _differentiable(seen.framework, seen.source, one, [*seen.model.outputs])
    found = differentiable.predict(_places(differentiable, np.array([BEGIN, 1.0])))
    name = _same_as_graph(seen.model.run(one), {name: array[1:] for name, array in found.items()}, output)
    place = _place(found[name][1], target)
    baseline, prediction = (float(found[name][(i, *place)]) for i in (0, 1))
    if abs(prediction - baseline) <= ROUNDING * max(abs(prediction), abs(baseline)):
        raise AttributionError(
            f"attribute: the baseline, zeros, has the same prediction. Expected another; received {prediction:.6g} and "
            f"{baseline:.6g}. There is nothing to share out: choose another row or target."
        )
    shares, error, points = _shared(differentiable, name, place, method, prediction - baseline, tolerance)
    values = {
        source: share[0].sum(axis=-1) if source in differentiable.tokens else share[0]
        for source, share in shares.items()
    }
    return Attribution(method, row, name, place, prediction, baseline, values, error, points)


def _differentiable(framework: str | None, model: Any, one: dict[str, Array], outputs: Sequence[str]) -> Differentiable:
    if framework == "keras":
        from gatewise.inspect.of_keras import KerasModel

        return KerasModel(model, one, outputs)
    from gatewise.inspect.of_torch import TorchModule

    return TorchModule(model, one, outputs)


def _same_as_graph(expected: Mapping[str, Array], found: Mapping[str, Array], output: str | None) -> str:
    """Makes sure that the framework reads the row as the graph does: a batch that does not come first would differ.

    Returns:
        The name of the output that is asked for.
    """
    name = next(iter(found)) if output is None else one_of("attribute", "output", output, found)
    theirs, ours = found[name], expected[name]
    if not np.isfinite(theirs).all() or not np.isfinite(ours).all():
        raise ValueError(
            f"attribute: output {name!r} is not finite. Expected numbers; received NaN or infinity, of the data or of "
            "the weights. Fill in what is missing, or mask it."
        )
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(ours).max()):
        raise ValueError(
            f"attribute: output {name!r} of the row by itself is not what the graph says. Expected a batch that comes "
            "first, and a prediction that depends on its own row alone; received another. Give a model with "
            "batch_first=True."
        )
    return name


def _shared(
    model: Differentiable, name: str, place: tuple[int, ...], method: str, difference: float, tolerance: float
) -> tuple[dict[str, Array], float, int]:
    """Shares a difference out, at more and more points. Returns the shares, their error, and at how many points."""
    points = FEWEST_POINTS if method == INTEGRATED else 1
    while True:
        shares = _shares(model, name, place, method, points)
        error = float(abs(sum(share.sum() for share in shares.values()) - difference) / abs(difference))
        if method == TIMES_INPUT or error <= tolerance:
            return shares, error, points
        if 2 * points > MOST_POINTS:
            cancelled = abs(difference) < CANCELLED * sum(np.abs(share).sum() for share in shares.values())
            raise AttributionError(
                f"attribute: the shares do not add up. Expected a completeness error of at most {tolerance:.2%}; "
                f"received {error:.2%} at {points} points. {_WHY[cancelled]}"
            )
        points *= 2


def _shares(model: Differentiable, output: str, place: tuple[int, ...], method: str, points: int) -> dict[str, Array]:
    """Takes the mean gradient on the way, times the way: by source (1, ...)."""
    at, weights = np.polynomial.legendre.leggauss(points)
    at, weights = ((at + 1) / 2, weights / 2) if method == INTEGRATED else (np.ones(1), np.ones(1))
    total = {name: np.zeros(array.shape) for name, array in model.sources.items()}
    for begin in range(0, points, AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        for name, gradient in model.gradients(_places(model, at[part]), output, place).items():
            total[name] += np.tensordot(weights[part], gradient.astype(np.float64), 1)[None]
    return {name: total[name] * (model.sources[name] - model.baselines[name]) for name in total}


def _places(model: Differentiable, at: Array) -> dict[str, Array]:
    """Finds places on the way, 0 to 1: by source (n, ...)."""
    found = {}
    for name, end in model.sources.items():
        begin = model.baselines[name]
        found[name] = (begin + at.reshape(-1, *[1] * (end.ndim - 1)) * (end - begin)).astype(end.dtype)
    return found


def _place(output: Array, target: Any) -> tuple[int, ...]:
    """Finds which number of a row's output is meant."""
    if target is None:
        last = output[(-1,) * (output.ndim - 1)] if output.ndim else output
        before = tuple(size - 1 for size in output.shape[:-1])
        return (*before, int(np.argmax(last))) if output.ndim else ()
    place = target if isinstance(target, tuple) else (target,)
    fits = len(place) == output.ndim and all(
        isinstance(i, int | np.integer) and not isinstance(i, bool) and -size <= i < size
        for i, size in zip(place, output.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"attribute: target is none of the output's numbers. Expected indices into {output.shape}; received "
            f"{cut(repr(target))}. Give one for each axis behind the batch."
        )
    return tuple(int(i) % size for i, size in zip(place, output.shape, strict=True))
