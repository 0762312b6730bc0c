# SPDX-License-Identifier: Apache-2.0
"""`compare`: which cell is best for these data? recurrent layers, trained side by side."""

from __future__ import annotations

import sys
from os import PathLike
from typing import TYPE_CHECKING, Any, cast

from gatewise.compare.result import Comparison
from gatewise.options import cut, flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Comparison", "compare"]


def compare(
    data: Any,
    *,
    minutes: float,
    cells: Iterable[Any] | Mapping[str, Any] = ("GRU", "LSTM", "SimpleRNN", "LayerNormGRU"),
    units: int = 64,
    ways: Iterable[str] = ("units", "parameters", "time"),
    seeds: int = 5,
    epochs: int = 100,
    patience: int | None = None,
    batch_size: int = 64,
    learning_rate: float | None = None,
    tune: int = 0,
    build: Callable[..., Any] | None = None,
    task: str | None = None,
    split: str | None = None,
    validation: float | None = None,
    mask_value: float | None = None,
    mask_zero: bool | None = None,
    folder: str | PathLike[str] | None = None,
    verbose: bool | None = None,
    seed: int = 0,
) -> Comparison:
    """Trains several cells on data of your own and says which differ.

    Every cell sees the same rows in the same batches in the same order, and is judged by the same rows. It is compared
    at equal units; at equal parameters, with as many units as bring its number of weights (without embeddings) within
    2 % of the first cell's; and at equal processor time, where each has the same seconds of training. In the first two
    all may train for the same number of epochs and stop early. A run's score is that of the epoch whose validation
    loss was least. The model is an embedding for ids, the cell, and a head of softmax, sigmoid or linear units for
    y; Adam trains it, with gradients clipped to a norm of 1. Numbers are scaled by the training rows.

    A difference is called where the 95 % intervals of the mean over the seeds do not overlap; these are Student's t,
    see `gatewise.compare.intervals` for why and what that costs. A seed decides the first weights and the order of the
    batches. The validation rows choose the epoch and judge it, for all alike: test the cell that you choose on rows
    that were not in `data`.

    Args:
        data: (x, y), or (x, y, x_val, y_val). x: (rows, timesteps) int, ids; or (rows, timesteps) or (rows, timesteps,
            features) float. y: (rows,) or (rows, outputs), or at every step (rows, timesteps) of classes, (rows,
            timesteps, outputs) of numbers. Classes are whole numbers, names, or whatever else `numpy.unique` sorts.
        minutes: the budget. What does not fit is left out, seeds first, and the result says so. Costs are measured
            before the first run; seeds that seemed not to fit come after all if runs leave the time.
        cells: names, layer classes, layers, functions (units, return_sequences=...) that make a layer; or a dict from
            a name to one of these.
        units: of every cell, and of the first at equal parameters.
        ways: of comparing: "units", "parameters", "time".
        seeds: how many; with fewer than three there are no intervals, and no difference is called.
        epochs: of a run, at most.
        patience: epochs without a better validation loss after which a run stops; None: 5. At equal processor time no
            run stops early.
        batch_size: rows of a step of training.
        learning_rate: of Adam; None: 0.001. A model that `build` compiled keeps its own, unless this is given.
        tune: tries for each cell of a search for units and learning rate, by optuna (extra `tune`), in up to two
            fifths of the budget; "tuned" is then a way of comparing, too.
        build: a function (layer, units) that gives the model, with `layer` being the class or function that makes the
            cell; if it compiles the model, its loss and its accuracy count. The arrays reach it as they are.
        task: "classes", "labels" (each 0 or 1) or "numbers"; None: what y looks like, and names are classes.
        split: of (x, y): "random" or "last", the last rows, as windows of a series need it, which overlap; None: "last"
            for numbers, "random" for the others.
        validation: the share of the rows of (x, y) that judge; None: 0.2.
        mask_value: of numbers, steps that hold nothing else are left out. Not with `build`, whose model masks.
        mask_zero: of ids, whether 0 stands for no step; None: it does. Not with `build`, likewise.
        folder: where findings are kept as they come; called again with the same data and settings, an interrupted
            comparison goes on there, whatever ended it, and a finished one is read. A change of the code of `build` is
            not noticed.
        verbose: whether a line is written for each run, to the standard error; None: on a terminal alone.
        seed: what decides the split and where the seeds begin. Keras's global seed is set by every run.

    Returns:
        What was found: print it, or `plot` it.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: data or settings do not fit, an argument would have no effect beside the others, or the budget does
            not suffice for one epoch.
        OSError: folder cannot be read or written; BlockingIOError: another comparison has it.
        ModuleNotFoundError: Keras, or for `tune` optuna, is not installed.

    Example:
        >>> import gatewise, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(60, 5)).astype("float32")
        >>> found = gatewise.compare(
        ...     (x, x[:, 0] > 0), minutes=1, cells=["GRU", "SimpleRNN"], units=4, ways=["units"], seeds=2, epochs=2
        ... )
        >>> [(row.cell, row.units, len(row.scores)) for row in found.rows]
        [('GRU', 4, 2), ('SimpleRNN', 4, 2)]
    """
    from gatewise.compare.cells import factories
    from gatewise.compare.data import prepare
    from gatewise.compare.model import Builder
    from gatewise.compare.progress import Progress
    from gatewise.compare.records import Records
    from gatewise.compare.running import run_comparison
    from gatewise.compare.settings import Settings
    from gatewise.compare.tuning import require_optuna

    _check_call(build, folder, verbose)
    settings = Settings(
        *(units, cast("Any", ways), minutes, seeds, epochs, patience, batch_size, learning_rate, tune, seed)
    )
    if settings.tune:
        require_optuna()
    prepared = prepare(
        data,
        task=task,
        split=split,
        validation=validation,
        mask_value=mask_value,
        mask_zero=mask_zero,
        as_given=build is not None,
        seed=seed,
    )
    builder = Builder(factories(cells), prepared, build)
    stream = sys.stderr if verbose or (verbose is None and sys.stderr.isatty()) else None
    with Records(folder, builder.question(settings)) as records:
        return run_comparison(builder, settings, records, Progress(stream))


def _check_call(build: Any, folder: Any, verbose: Any) -> None:
    if build is not None and not callable(build):
        raise TypeError(
            f"compare: build has the wrong type. Expected a function (layer, units) that gives a model, or None; "
            f"received {cut(repr(build))}. Define one."
        )
    if folder is not None and (not isinstance(folder, str | PathLike) or not str(folder)):
        raise TypeError(
            f"compare: folder is no path. Expected a str or a pathlib.Path, or None; received {cut(repr(folder))}. "
            "Name a folder."
        )
    if verbose not in (None, 0, 1):  # as Keras has it, too
        flag("compare", "verbose", verbose)
