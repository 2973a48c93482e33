"""Hold-out and walk-forward scores as tables."""

from collections.abc import Iterable
from typing import Final

from cryptocast.cli.tables import CellText, Column, Sheet, verdict_cell
from cryptocast.number_format import NOTHING, ahead, percent, spread
from cryptocast.registry import HorizonScore
from cryptocast.workflows.reports import p_number

__all__ = ["READING", "score_sheet"]

REFERENCES: Final = ("rw_empirical", "rw_gaussian", "baseline")
COLUMNS: Final = (
    Column("ahead"),
    Column("skill %\nrw_emp", "right"),
    Column("\nrw_gau", "right"),
    Column("\nbaseline", "right"),
    Column("CRPS\n%", "right", leaves=3),
    Column("in 80 %\n±se", "right"),
    Column("in 95 %\n±se", "right"),
    Column("MAPE\n%", "right", leaves=1),
    Column("of rw\n%", "right", leaves=1),
    Column("p\n(Holm)", "right", leaves=4),
    Column("dates", "right", leaves=5),
    Column("forecasts", "right", leaves=6),
    Column("verdict"),
)
READING: Final = (
    "skill: CRPS below that of a random walk with empirical (rw_emp) or normal (rw_gau) quantiles, or of the baseline; "
    "better: significantly so against each of them. in 80 %: outcomes inside that interval. MAPE measures mostly the "
    "volatility: compare it with that of rw, a price that stays."
)


def score_sheet(name: str, model: str, scores: Iterable[HorizonScore], granularity: str) -> Sheet:
    """The scores of a model, a row for each horizon."""
    return Sheet(COLUMNS, [_row(model, score, granularity) for score in scores], name)


def _row(model: str, score: HorizonScore, granularity: str) -> list[CellText]:
    coverage = {interval.percent: interval for interval in score.coverage}
    return [
        ahead(score.horizon, granularity),
        *(percent(score.skill.get(reference), signed=True) for reference in REFERENCES),
        percent(score.crps.get(model), 2),
        *(spread(coverage[level].share, coverage[level].se) if level in coverage else NOTHING for level in (80, 95)),
        percent(score.mape, 2),
        percent(score.mape_random_walk, 2),
        p_number(score.verdict.p) or NOTHING,
        f"{score.dates:,}",
        f"{score.n:,}",
        verdict_cell(score.verdict, score.horizon),
    ]
