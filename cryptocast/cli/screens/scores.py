"""Hold-out and walk-forward scores as tables."""

from collections.abc import Iterable
from typing import Final

from cryptocast.cli.tables import Column, Columns, Sheet, table
from cryptocast.number_format import NOTHING, ahead, percent, spread
from cryptocast.registry import HorizonScore

READING: Final = (
    "skill: CRPS below that of a random walk with empirical (rw_emp) or normal (rw_gau) quantiles, or of the baseline. "
    "in 80 %: outcomes inside that interval. MAPE measures mostly the volatility: compare it with that of rw, a price "
    "that stays."
)


def score_sheet(name: str, model: str, scores: Iterable[HorizonScore], granularity: str) -> Sheet:
    """The scores of a model, a row for each horizon."""

    def skill(score: HorizonScore, reference: str) -> str:
        return percent(score.skill.get(reference), signed=True)

    columns: Columns[HorizonScore] = (
        (Column("ahead"), lambda score: ahead(score.horizon, granularity)),
        (Column("skill %\nrw_emp", "right"), lambda score: skill(score, "rw_empirical")),
        (Column("\nrw_gau", "right"), lambda score: skill(score, "rw_gaussian")),
        (Column("\nbaseline", "right"), lambda score: skill(score, "baseline")),
        (Column("CRPS\n%", "right", leaves=3), lambda score: percent(score.crps.get(model), 2)),
        (Column("in 80 %\n±se", "right"), lambda score: _coverage(score, 80)),
        (Column("in 95 %\n±se", "right"), lambda score: _coverage(score, 95)),
        (Column("in 98 %\n±se", "right", leaves=8), lambda score: _coverage(score, 98)),
        (Column("in 99 %\n±se", "right", leaves=7), lambda score: _coverage(score, 99)),
        (Column("MAPE\n%", "right", leaves=1), lambda score: percent(score.mape, 2)),
        (Column("of rw\n%", "right", leaves=1), lambda score: percent(score.mape_random_walk, 2)),
        (Column("dates", "right", leaves=5), lambda score: f"{score.dates:,}"),
        (Column("forecasts", "right", leaves=6), lambda score: f"{score.n:,}"),
    )
    return table(columns, scores, name)


def _coverage(score: HorizonScore, level: int) -> str:
    interval = next(
        (interval for interval in (*score.coverage, *(score.tails or ())) if interval.percent == level), None
    )
    return NOTHING if interval is None else spread(interval.share, interval.se)
