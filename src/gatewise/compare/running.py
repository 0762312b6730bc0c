# SPDX-License-Identifier: Apache-2.0
"""A comparison from the question to the result: sizes, costs, plan, then run after run, seed by seed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from gatewise.compare.bench import Bench
from gatewise.compare.clock import Clock, Deadline
from gatewise.compare.contenders import contenders
from gatewise.compare.machine import machine
from gatewise.compare.order import steps_an_epoch
from gatewise.compare.plan import MARGIN, WAYS, Contender, Cost, Plan, at, distinct, fewer, make_plan
from gatewise.compare.progress import duration
from gatewise.compare.result import Comparison
from gatewise.compare.score import Score
from gatewise.compare.speed import OneStep
from gatewise.compare.table import Row
from gatewise.compare.trial import Limit, Trial
from gatewise.compare.tuning import tuned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewise.compare.model import Builder
    from gatewise.compare.progress import Progress
    from gatewise.compare.records import Records
    from gatewise.compare.settings import Settings


@dataclass(frozen=True)
class Prepared:
    """What is known before the first run.

    Attributes:
        contenders: who takes part.
        costs: of each.
        one_steps: likewise, what a step of a stream takes.
        plan: what fits into the budget.
        score: what cells are compared by.
        machine: what it runs on.
    """

    contenders: tuple[Contender, ...]
    costs: tuple[Cost, ...]
    one_steps: tuple[OneStep, ...]
    plan: Plan
    score: Score
    machine: str


def run_comparison(
    builder: Builder, settings: Settings, records: Records, progress: Progress, clock: Clock | None = None
) -> Comparison:
    """Compares.

    Args:
        builder: of models, with the cells and the data.
        settings: what was chosen.
        records: what was found before, and where findings are kept.
        progress: what a person sees.
        clock: what time is taken by; None: the machine's.

    Raises:
        ValueError: the budget does not suffice for one epoch of each cell.
    """
    clock = clock or Clock()
    spent = records.made("spent", float) or 0.0
    batch = min(settings.batch_size, len(builder.data.x))
    deadline = Deadline(clock, settings.minutes * 60 - spent)
    bench = Bench(builder, batch, records, clock, deadline, progress, spent)
    try:
        progress.line(_opening(builder, settings))
        prepared = _prepared(bench, settings)
        plan, rows, left_out = _run_all(bench, settings, prepared)
    finally:
        progress.close()
    if records.get("finished") is None:
        bench.note_time()  # with that of a run which the budget ended: it is not begun again
        records.put("finished", {"seconds": bench.spent()})
    seconds = records.made("finished", lambda finished: float(finished["seconds"]))
    chosen = {
        **dataclasses.asdict(settings),
        "cells": list(builder.cells),
        "ways": list(settings.all_ways()),
        "batch_size": batch,
        "asked_seeds": settings.seeds,
        "asked_epochs": settings.epochs,
        "seeds": plan.seeds,
        "epochs": plan.epochs,
        "cpu_seconds": plan.cpu_seconds,
    }
    return Comparison(
        *(prepared.score.name, prepared.score.higher_is_better, rows, tuple(left_out)),
        *(_about(builder), chosen, cast("float", seconds), prepared.machine),
    )


def _opening(builder: Builder, settings: Settings) -> str:
    return f"{_about(builder)}; {duration(settings.minutes * 60)} at the most"


def _about(builder: Builder) -> str:
    data, (*most, last) = builder.data, builder.cells
    return f"{', '.join(most)} and {last} on {len(data.x):,} rows of {data.x.shape[1]} steps, judged by {data.split}"


def _prepared(bench: Bench, settings: Settings) -> Prepared:
    """Finds sizes and costs, tunes, and plans; or gives what was found before."""
    kept = bench.records.made("plan", _from_json)
    if kept is not None:
        bench.score = kept.score
        return kept
    bench.progress.now("finding sizes of equal numbers of weights")
    some, left_out = contenders(bench.builder, settings)
    steps = steps_an_epoch(len(bench.builder.data.x), bench.batch_size)
    known: dict[tuple[str, int], tuple[Cost, OneStep]] = {}

    def measured(some: Sequence[Contender]) -> list[tuple[Cost, OneStep]]:
        new = {(one.cell, one.units): one for one in some if (one.cell, one.units) not in known}
        known.update(zip(new, bench.measure(new.values()), strict=True))
        return [known[one.cell, one.units] for one in some]

    if settings.tune:
        rate = settings.learning_rate
        plain = [Contender("tuned", cell, settings.units, rate, 0) for cell in bench.builder.cells]
        costs_of = {one.cell: cost for one, (cost, _) in zip(plain, measured(plain), strict=True)}
        best, missing = tuned(bench, settings, costs_of, steps)
        some, left_out = [*some, *best], [*left_out, *missing]
    if not some:
        raise ValueError(f"compare: nothing is left to compare. {' '.join(left_out)}")
    costs, one_steps = zip(*measured(some), strict=True)
    plan = make_plan(some, costs, steps, bench.deadline.left(), settings.seeds, settings.epochs)
    plan = dataclasses.replace(plan, left_out=(*left_out, *plan.left_out))
    found = Prepared(tuple(some), costs, one_steps, plan, cast("Score", bench.score), machine())
    bench.records.put("plan", dataclasses.asdict(found))
    bench.note_time()
    return found


def _from_json(kept: Any) -> Prepared:
    plan = kept["plan"]
    return Prepared(
        tuple(Contender(*one) for one in kept["contenders"]),
        tuple(Cost(*one) for one in kept["costs"]),
        tuple(OneStep(*one) for one in kept["one_steps"]),
        Plan(**{**plan, "ways": tuple(plan["ways"]), "left_out": tuple(plan["left_out"])}),
        Score(*kept["score"]),
        kept["machine"],
    )


def _run_all(bench: Bench, settings: Settings, prepared: Prepared) -> tuple[Plan, tuple[Row, ...], list[str]]:
    """Makes every run, one seed of all after the other, so that whenever the budget ends, all have as many.

    Runs that stop early, or a machine that was busy when the plan was made, leave some of the budget: then come seeds
    that were asked for and not planned, as long as there is time for the longest that there was.

    Returns:
        The plan with as many seeds, rows, and what was left out.
    """
    plan = prepared.plan
    rows = list(zip(prepared.contenders, prepared.costs, prepared.one_steps, strict=True))
    rows = [row for row in rows if row[0].way in plan.ways]
    by_epochs = Limit(epochs=plan.epochs, patience=settings.patience)
    found: dict[Contender, list[Trial]] = {row[0]: [] for row in rows}
    limits = {way: Limit(cpu_seconds=plan.cpu_seconds) if way == "time" else by_epochs for way in plan.ways}
    once, longest = distinct([(one, cost) for one, cost, _ in rows]), 0.0
    for number, seed in enumerate(range(settings.seed + 1, settings.seed + 1 + settings.seeds)):
        begun = bench.holds(rows[0][0], seed, limits[rows[0][0].way])
        if number >= plan.seeds and not begun and longest > MARGIN * bench.deadline.left():
            break
        for one, cost, _ in rows:
            trial = bench.trial(one, seed, limits[one.way], cost, WAYS[one.way])
            if trial is None:  # the budget ended
                break
            found[one].append(trial)
        else:
            longest = max(longest, sum(cost.begin + found[one][-1].seconds for one, cost in once))
            continue
        break
    made = min(map(len, found.values()))
    if made > plan.seeds:
        left_out = [line for line in plan.left_out if line not in fewer(settings.seeds, plan.seeds)]
        plan = dataclasses.replace(plan, seeds=made, left_out=(*left_out, *fewer(settings.seeds, made)))
    return plan, *_complete([(one, step) for one, _, step in rows], found, plan)


def _complete(
    rows: Sequence[tuple[Contender, OneStep]], found: Mapping[Contender, Sequence[Trial]], plan: Plan
) -> tuple[tuple[Row, ...], list[str]]:
    """Makes rows of the seeds that all cells of a way have; says what is missing."""
    left_out, complete = list(plan.left_out), []
    for way in plan.ways:
        some = [(one, step) for one, step in rows if one.way == way]
        seeds = min(plan.seeds, *(len(found[one]) for one, _ in some))
        if seeds < plan.seeds:
            left_out.append(f"{plan.seeds - seeds} of {plan.seeds} seeds {at(way)}: the budget ended before.")
        if seeds:
            complete += [Row(*one, step, tuple(found[one][:seeds])) for one, step in some]
    return tuple(complete), left_out
