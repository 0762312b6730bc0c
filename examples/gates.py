# SPDX-License-Identifier: Apache-2.0
"""What the gates of trained models do: of forecasts, of surnames, of spoken digits.

Run `python examples/gates.py --data FOLDER`; docs/gates.md says what FOLDER holds, and what came out. The models are
those of `forecasts.py`, `surnames.py` and `spoken_digits.py`, trained once each; each gets a page in build/studies/.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import forecasts
import gatewise
import series_cases
import spoken_digits
import surnames
from gatewise.data.preprocessing import find_preprocessing
from gatewise.data.series import Windows
from gatewise.inspect import AttributionError, sentences
from recordings import TEST_TAKES, read
from study import GREY, INK, OTHER, OURS, PALE, STYLE, THIRD, Study, Table, begin, console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewise.inspect import Attribution, Inspection
    from gatewise.inspect.layer import Layer

ROWS, EXPLAINED, FEW = 200, 20, 4  # sequences of the test part that are looked at; those that are explained; in small
NAME, DIGIT = "Papageorgiou", 7  # that are drawn


class Case(NamedTuple):
    """A trained model, and what it is looked at with.

    Attributes:
        name: in tables and pictures.
        model: Keras's.
        x: by input or in their order, sequences of the test part; the first is drawn.
        lengths: how many steps of each are no padding.
        features: what the inputs mean, where they have names.
        target: which number is explained; None for the likeliest class.
        tokens: what the first sequence's steps are, where they have names.
    """

    name: str
    model: Any
    x: Any
    lengths: Any
    features: dict[str, list[str]] | None = None
    target: tuple[int, ...] | None = None
    tokens: list[str] | None = None


def forecast_cases(study: Study) -> Iterator[Case]:
    """Trains a forecast of each series on what is before its test part."""
    for case in series_cases.CASES:
        series = series_cases.read(case, study.data)
        small = replace(case, epochs=2, history=24) if study.quick else case
        training = series.before(case.test)
        scaler = series_cases.scaler_of(small, training, calendar=True)
        windows, test = (Windows(one, small.history, series_cases.HORIZON, scaler=scaler) for one in (training, series))
        model = forecasts.train(small, windows, seed=1)
        rows = FEW if study.quick else ROWS
        first = len(windows) + series_cases.HORIZON - 1  # whose forecast begins where training ends
        seen = test.take(np.linspace(first, len(test) - 1, rows).astype(int))
        lengths = np.full(rows, small.history)
        names = {"values": [case.columns[1].lower(), "sin of the year", "cos of the year"]}
        given = {"values": seen.x, "mask": seen.mask}
        yield Case(case.name.partition(",")[0], model, given, lengths, names, (0, 1))


def surname_case(study: Study) -> Case:
    """Trains the reader of surnames on four fifths of them; looks at others, after one that is known to all."""
    names, languages = surnames.read_names(study.data / "surnames")
    part = np.random.default_rng(0).permutation(len(names))
    held, rest = part[: len(part) // 5], part[len(part) // 5 :][: 2000 if study.quick else None]
    seen = [NAME, *(names[i] for i in held[: (FEW if study.quick else ROWS) - 1])]
    train = [i for i in rest if names[i] != NAME]
    model = surnames.train([names[i] for i in train], [languages[i] for i in train], 0, epochs=1 if study.quick else 8)
    x = tuple(np.asarray(ids) for ids in surnames.encode(find_preprocessing(model)["vocabularies"], seen))
    return Case("surnames", model, x, np.array([len(name) for name in seen]), tokens=list(NAME))


def digit_case(study: Study) -> Case:
    """Trains the ear for digits, in small; looks at recordings of the test takes, after one that says seven."""
    recordings = read(study.data)
    if study.quick:
        recordings = recordings.where(recordings.take % TEST_TAKES == 0)
    held = recordings.take < TEST_TAKES
    model = spoken_digits.train(recordings.where(~held), 1, quick=True)
    test = recordings.where(held)
    order = np.argsort(test.digit != DIGIT, kind="stable")
    order = np.concatenate([order[:1], np.random.default_rng(0).permutation(order[1:])])[: FEW if study.quick else ROWS]
    frames = [spoken_digits.LOG_MEL(test.sounds[i]) for i in order]
    x = spoken_digits.fill_up(frames, find_preprocessing(model)["scaler"])
    return Case("spoken digits", model, x, (x != 0).any(axis=-1).sum(axis=1))


def explain(case: Case, found: Inspection) -> tuple[list[Attribution], Any]:
    """Explains predictions, and finds the shares of each third of the sequences.

    Shares are taken without their signs, so that what speaks against a prediction counts as well.
    """
    explained, thirds = [], []
    for row in range(min(EXPLAINED, len(case.lengths))):
        with suppress(AttributionError):  # a prediction that hardly differs from that of zeros has no shares
            explained.append(found.attribute(row, target=case.target))
            shares = np.abs(by_step(explained[-1])[: case.lengths[row]])
            thirds.append([part.sum() / shares.sum() for part in np.array_split(shares, 3)])
    return explained, np.mean(thirds, axis=0)


def by_step(one: Attribution) -> Any:
    """Adds up the shares of all inputs at each step: (timesteps,)."""
    return np.sum([one.by_step(name) for name in one.values], axis=0)


def layer_row(case: str, name: str, layer: Layer) -> list[str]:
    """Writes a layer's line of the table."""
    lives = layer.half_lives
    open_, shut = (np.mean(layer.ends[layer.keep][i]) for i in (1, 0))
    return [
        f"{case}: {name}",
        str(layer.units),
        *(sentences.number(float(one)) for one in (np.median(lives), np.max(lives), layer.gradient_half_life)),
        f"{open_:.0%}",
        f"{shut:.0%}",
        str(len(layer.dead)),
        str(len(layer.duplicates)),
    ]


def draw(cases: list[Case], founds: list[Inspection], explained: list[Attribution]) -> Figure:
    """Draws for each model how half-lives are spread, one sequence's update gates, and what its prediction rests on."""
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 7), layout="constrained")
        grid = figure.subplots(3, len(cases), height_ratios=[1, 1.3, 1])
        for (top, middle, below), case, found, one in zip(grid.T, cases, founds, explained, strict=True):
            layers = [*found.layers.values()]
            edges = np.geomspace(0.1, 1000, 33)
            for layer, colour in zip(layers, (OURS, OTHER, THIRD, GREY), strict=False):
                share = np.histogram(np.clip(layer.half_lives, 0.1, 999), edges)[0] / layer.units
                top.stairs(share, edges, color=colour, lw=1.5, label=short(layer, layers))
            top.axvline(case.lengths.max(), color=INK, lw=0.8, ls=":")
            top.set(xscale="log", xlim=(0.1, 1000))
            top.set_xlabel("half-life, steps", color=GREY)
            top.xaxis.set_major_formatter(lambda steps, _: f"{steps:g}")
            top.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
            top.set_title(case.name, loc="left", fontsize=11, color=INK)
            if len(layers) > 1:
                top.legend(frameon=False, fontsize=7, labelcolor=GREY, handlelength=1, loc="upper right")
            shown, count = layers[0], int(case.lengths[0])
            order = np.argsort(-shown.half_lives)
            image = middle.imshow(
                shown.gates["update"][0, :count, order], aspect="auto", vmin=0, vmax=1, interpolation="nearest"
            )
            middle.set_yticks([])
            middle.set_title(f"update gates, {short(shown, layers)}", loc="left", fontsize=9, color=GREY)
            shares = by_step(one)[:count]
            below.bar(range(count), shares, color=np.where(shares < 0, OTHER, OURS), width=0.9)
            below.axhline(0, color=PALE, lw=0.8)
            below.set_title(f"what the prediction {one.prediction:.2f} rests on", loc="left", fontsize=9, color=GREY)
            for axes in (middle, below):
                axes.set_xlim(-0.5, count - 0.5)
                if case.tokens:
                    axes.set_xticks(range(count), case.tokens, fontsize=8)
            below.set_xlabel("letter" if case.tokens else "step", color=GREY)
        figure.colorbar(image, ax=grid[1], pad=0.01, ticks=[0, 1]).ax.set_yticklabels(["shut", "open"], color=GREY)
        grid[0, 0].set_ylabel("units", color=GREY)
        grid[1, 0].set_ylabel("units, long memory on top", color=GREY)
        grid[2, 0].set_ylabel("share of each step", color=GREY)
    return figure


def short(layer: Layer, layers: list[Layer]) -> str:
    """Names a layer: a way of a `Bidirectional`, and which of several."""
    if "/" not in layer.name:
        return "GRU"
    places = list(dict.fromkeys(one.name.split("/")[0] for one in layers))
    way = layer.name.split("/")[1].split("_")[0]
    return f"layer {places.index(layer.name.split('/')[0]) + 1}, {way}" if len(places) > 1 else way


def main() -> None:
    """Trains the models and looks inside."""
    study = begin("gates", "What the gates of trained models do")
    cases = [*forecast_cases(study), surname_case(study), digit_case(study)]
    founds, explained, rows, shares, facts = [], [], [], [], {}
    for case in cases:
        found = gatewise.inspect(case.model, case.x, features=case.features)
        ours, thirds = explain(case, found)
        error = max(one.completeness_error for one in ours)
        console.print(f"[bold]{case.name}[/]\n{found}\n{ours[0]}", soft_wrap=True)
        founds.append(found)
        explained.append(ours[0])
        layers = [*found.layers.values()]
        rows += [layer_row(case.name, short(layer, layers), layer) for layer in layers]
        parts = [f"{share:.0%}" for share in thirds]
        shares.append([case.name, str(len(ours)), f"{np.mean(case.lengths):.0f}", *parts, f"{error:.2%}"])
        facts[case.name] = {
            "findings": found.findings,
            "explained": len(ours),
            "thirds": thirds.tolist(),
            "completeness_error": error,
            "half_lives": {layer.name: layer.half_lives.tolist() for layer in layers},
        }
        study.out.mkdir(parents=True, exist_ok=True)
        page = study.out / f"gates_{case.name.replace(' ', '_')}.html"
        found.save(page, title=f"What the gates do: {case.name}", attributions=ours[:1], tokens=case.tokens)
    columns = ["layer", "units", "half-life, median", "longest", "a gradient's"]
    columns += ["gate open", "gate shut", "dead", "duplicates"]
    ends = ["model", "predictions", "steps, mean", "first third", "middle", "last third", "completeness error, at most"]
    tables = [
        Table(
            f"What the update gates do, over {len(cases[0].lengths)} sequences of the test part; half-lives in steps",
            columns,
            rows,
        ),
        Table("Where the shares of predictions lie, without their signs, by integrated gradients", ends, shares),
    ]
    study.report(tables, draw(cases, founds, explained), facts)


if __name__ == "__main__":
    main()
