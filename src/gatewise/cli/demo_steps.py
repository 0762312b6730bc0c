# SPDX-License-Identifier: Apache-2.0
"""The demo from its first line to its last: what is computed, in order, and what is said about it.

Importing this module starts Keras and its backend.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.markup import escape

import gatewise
from gatewise.cli import co2, demo_model, demo_picture
from gatewise.cli import demo_screen as screen
from gatewise.keras import GRU

NETWORK = "GRU"  # its name among the forecasts

keras.ops.zeros(1)  # the first operation starts the backend, and makes it write its log


@dataclass(frozen=True, slots=True)
class Task:
    """The record made ready: its parts as windows, and what the network reads and answers on two of them.

    fit, check: inputs (n, HISTORY, 3) and targets (n, HORIZON) of the training and the validation part, float32
    """

    scale: co2.Scale
    test: co2.Windows
    fit: demo_model.Arrays
    check: demo_model.Arrays


def run(output: Path, epochs: int, seed: int, with_stock: bool) -> bool:
    """Runs the demo.

    Args:
        output: an existing folder for `demo.png` and `co2.keras`.
        epochs: of the training.
        seed: of the initial weights and of the order of the batches.
        with_stock: whether the same epochs are timed with `keras.layers.GRU`.

    Returns:
        Whether the model that was saved and loaded predicts the same bits.
    """
    task = _prepare()
    model = demo_model.build(GRU, task.fit, epochs, seed)
    initial = model.get_weights()
    ours = _train(task, model, epochs, seed)
    forecasts = _forecast(task, model)
    states = _read_states(task, model)
    stock = _train_stock(task, initial, ours, epochs, seed) if with_stock else None
    equal = _save_and_load(task, model, output / "co2.keras", number=6 if with_stock else 5)
    errors = {name: co2.error_by_lead(task.test, forecast) for name, forecast in forecasts.items()}
    demo_picture.draw(demo_picture.Results(task.test, forecasts, errors, ours, stock, states), output / "demo.png")
    screen.show_files(
        [
            (str(output / "demo.png"), "forecast, losses, errors, times, states"),
            (str(output / "co2.keras"), "the trained model"),
        ]
    )
    return equal


def _prepare() -> Task:
    record = co2.load()
    training, validation, test = co2.split(co2.cut_windows(record))
    scale = co2.Scale.fit(training)
    years = record.dates.astype("datetime64[Y]")
    means = np.array([record.ppm[years == year].mean() for year in np.unique(years)])
    screen.show_section(1, "The record")
    gaps = int((~record.measured).sum())
    counts = [len(part) for part in (training, validation, test)]
    first, last = record.dates[0], record.dates[-1]
    parts = f"{counts[0]:,} training (to 1989), {counts[1]} validation (1990-93), {counts[2]} test (1994-2001)"
    screen.show_facts(
        [
            ("weeks", f"{len(record.ppm):,}, {first} to {last}; {gaps} missing, filled by straight lines"),
            ("yearly means", f"{means[0]:.0f} ppm [cyan]{screen.spark(means)}[/] {means[-1]:.0f} ppm"),
            ("task", f"read {co2.HISTORY} weeks, forecast the change over the next {co2.HORIZON}"),
            ("windows", parts),
            ("scale", f"from the training part alone: level {scale.level:.2f} ppm, change {scale.change:.2f} ppm"),
        ]
    )
    return Task(
        scale,
        test,
        (scale.inputs(training), scale.targets(training)),
        (scale.inputs(validation), scale.targets(validation)),
    )


def _train(task: Task, model: Any, epochs: int, seed: int) -> demo_model.Training:
    units, horizon = demo_model.UNITS, co2.HORIZON
    screen.show_section(2, "Training")
    screen.show_facts(
        [
            ("one import", "[bold]from gatewise.keras import GRU[/]"),
            ("model", escape(f"Sequential([GRU({units}, return_sequences=True), GRU({units}), Dense({horizon})])")),
            ("weights", f"{model.count_params():,}; Adam, mean square error, batches of {demo_model.BATCH}"),
        ]
    )
    before = gatewise.native.calls()
    training = demo_model.train(model, task.fit, task.check, epochs, seed)
    after = gatewise.native.calls()
    forward, backward = after.forward - before.forward, after.backward - before.backward
    work = f"{screen.plural(epochs, 'epoch')} of {len(task.fit[0]):,} windows"
    screen.show_facts(
        [
            ("time", f"{sum(training.seconds):.1f} s for {work}"),
            ("engine", f"{gatewise.isa()}: {forward:,} forward and {backward:,} backward calls{_fallback(model)}"),
        ]
    )
    return training


def _fallback(model: Any) -> str:
    """Why a GRU layer of the model ran Keras's own path, as a remark in rich markup; empty if none did."""
    reasons = {layer.fallback_reason for layer in model.layers if getattr(layer, "fallback_reason", None)}
    return "".join(f"\n[yellow]Keras's own path ran: {escape(reason)}[/]" for reason in sorted(reasons))


def _forecast(task: Task, model: Any) -> dict[str, NDArray[np.float64]]:
    answers = demo_model.predict(model, task.scale.inputs(task.test))
    forecasts = {**co2.naive_forecasts(task.test), NETWORK: task.scale.forecast(task.test, answers)}
    totals = {name: co2.error(task.test, forecast) for name, forecast in forecasts.items()}
    best_naive = min(total for name, total in totals.items() if name != NETWORK)
    change = 1 - totals[NETWORK] / best_naive
    screen.show_section(3, "Forecasts of the test years: root mean square error in ppm")
    screen.show_errors(
        {name: co2.error_by_lead(task.test, forecast) for name, forecast in forecasts.items()},
        totals,
        best=min(totals, key=lambda name: totals[name]),
    )
    verdict = f"{abs(change):.0%} {'below' if change > 0 else 'above'} the best naive forecast"
    screen.show_facts([("the GRU errs", f"[{'bold green' if change > 0 else 'yellow'}]{verdict}[/]")])
    return forecasts


def _read_states(task: Task, model: Any) -> NDArray[np.float32]:
    """Reads the states of the last five test windows; returns those of the last one, (HISTORY, units)."""
    sequences, state = demo_model.read_states(GRU, model, task.scale.inputs(task.test)[-5:])
    same = np.array_equal(sequences[:, -1], state)
    screen.show_section(4, "Sequences and states of the upper layer, five windows")
    screen.show_facts(
        [
            ("sequences", f"{sequences.shape}, every hidden state on the way"),
            ("state", f"{state.shape}, {'equal to' if same else '[red]not equal to[/]'} the last of each sequence"),
        ]
    )
    last: NDArray[np.float32] = sequences[-1]
    return last


def _train_stock(
    task: Task, initial: list[NDArray[np.float32]], ours: demo_model.Training, epochs: int, seed: int
) -> demo_model.Training:
    screen.show_section(5, "The same epochs with stock Keras: same initial weights, same batches")
    model = demo_model.build(keras.layers.GRU, task.fit, epochs, seed)
    model.set_weights(initial)
    with screen.console.status("") as status:

        def tell(done: int) -> None:
            status.update(f"[dim]keras.layers.GRU: epoch {min(done + 1, epochs)} of {epochs}")

        tell(0)
        stock = demo_model.train(model, task.fit, task.check, epochs, seed, on_epoch=tell)
    screen.show_times(ours.seconds, stock.seconds)
    apart = max(abs(own / theirs - 1) for own, theirs in zip(ours.loss, stock.loss, strict=True))
    verdict = f"differ from stock's by a relative {apart:.1e} at most" if apart else "equal stock's, bit for bit"
    screen.show_facts([("losses", verdict)])
    return stock


def _save_and_load(task: Task, model: Any, path: Path, number: int) -> bool:
    loaded = demo_model.save_and_load(model, path)
    inputs = task.scale.inputs(task.test)
    before, after = demo_model.predict(model, inputs), demo_model.predict(loaded, inputs)
    equal = np.array_equal(before, after)
    difference = float(np.abs(before - after).max())
    verdict = "[bold green]equal, bit for bit[/]" if equal else f"[red]differ by up to {difference:.1e}[/]"
    screen.show_section(number, "Saved, loaded again")
    screen.show_facts(
        [
            ("predictions", verdict),
            ("compared", f"{before.size:,} values of {len(before)} test windows"),
        ]
    )
    return equal
