# SPDX-License-Identifier: Apache-2.0
"""Sizes and rates of learning, searched by optuna for each cell, with as many tries and as much time for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewise.compare.plan import Contender, Cost
from gatewise.compare.sizes import weights
from gatewise.compare.trial import Limit
from gatewise.extras import required_by

if TYPE_CHECKING:
    from gatewise.compare.bench import Bench
    from gatewise.compare.settings import Settings

SHARE = 0.4  # of the budget that the search may take
RATES = (1e-4, 1e-2)


def require_optuna() -> Any:
    """Imports optuna.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    with required_by("compare: tune", "tune"):
        import optuna
    return optuna


def tuned(bench: Bench, settings: Settings, costs: dict[str, Cost], steps: int) -> tuple[list[Contender], list[str]]:
    """Searches units, from a quarter to twice the number given, and the rate, from 0.0001 to 0.01, by TPE.

    Every try trains with the first seed for the same processor time. The same tries again find the same, so that an
    interrupted search goes on.

    Args:
        bench: where runs are made.
        settings: what was chosen.
        costs: of each cell, at the number of units given.
        steps: an epoch.

    Returns:
        Each cell with the size and the rate of its best try; and what was left out, sentences.
    """
    share = SHARE * settings.minutes * 60 / len(costs)
    tries, cpu_seconds = _tries(settings.tune, share, list(costs.values()), steps)
    left_out = []
    if tries < settings.tune:
        left_out.append(f"{tries} instead of {settings.tune} tries of tuning a cell: the budget does not suffice.")
    best = [_search(bench, settings, cell, tries, Limit(cpu_seconds=cpu_seconds), costs[cell]) for cell in costs]
    found = [one for one in best if one is not None]
    if len(found) < len(best) or not tries:
        return [], [*left_out, "No comparison with each cell tuned: the budget ended, or every try diverged."]
    return found, left_out


def _tries(wanted: int, share: float, costs: list[Cost], steps: int) -> tuple[int, float]:
    """Finds how many tries of an epoch or more fit into a cell's share of seconds, and the time for each."""
    epoch = max(cost.trace + cost.of_epochs(1, steps) for cost in costs)
    tries = min(wanted, int(share / epoch))
    if not tries:
        return 0, 0.0
    begin = max(cost.trace + cost.judge for cost in costs)
    slowest = max(costs, key=lambda cost: cost.step)  # wall seconds become processor seconds as it uses them
    judged = (steps * slowest.step + slowest.judge) / (steps * slowest.step)
    return tries, (share / tries - begin) / judged * slowest.cpu / slowest.step


def _search(bench: Bench, settings: Settings, cell: str, tries: int, limit: Limit, cost: Cost) -> Contender | None:
    optuna = require_optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.seed))
        for _ in range(tries):
            asked = study.ask()
            units = asked.suggest_int("units", max(1, settings.units // 4), 2 * settings.units, log=True)
            rate = asked.suggest_float("rate", *RATES, log=True)
            one = Contender("tuned", cell, units, rate, 0)
            trial = bench.trial(one, settings.seed + 1, limit, cost, "tuning", keep=False)
            if trial is None:
                return None
            if trial.best is None:
                study.tell(asked, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(asked, trial.best.validation_loss)
        done = [trial for trial in study.trials if trial.value is not None]
    finally:
        optuna.logging.set_verbosity(before)
    if not done:
        return None
    best = study.best_params
    parameters = weights(bench.builder(cell, best["units"], best["rate"]).model)
    return Contender("tuned", cell, best["units"], best["rate"], parameters)
