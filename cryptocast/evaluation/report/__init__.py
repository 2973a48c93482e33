"""A backtest as one page: plain values -> one self-contained HTML text, or one picture.

In: a `Page`. Out: text or bytes. It never reads or writes a file, asks a clock or the network, or computes a score:
what it shows was computed before. The drawing libraries are imported when the first page is rendered.
"""

from cryptocast.evaluation.report.page import (
    CoinScore,
    ConfidenceSet,
    CostRow,
    CoverageRow,
    CrossValidatedPaths,
    Curve,
    DelayRow,
    Estimate,
    Fan,
    FoldRow,
    Importance,
    Page,
    Pit,
    Placebo,
    Problem,
    Reliability,
    Scores,
    SkillRow,
    StatedProbability,
    StrategyRow,
    Trading,
    Verdict,
)
from cryptocast.evaluation.report.render import picture, render

__all__ = [
    "CoinScore",
    "ConfidenceSet",
    "CostRow",
    "CoverageRow",
    "CrossValidatedPaths",
    "Curve",
    "DelayRow",
    "Estimate",
    "Fan",
    "FoldRow",
    "Importance",
    "Page",
    "Pit",
    "Placebo",
    "Problem",
    "Reliability",
    "Scores",
    "SkillRow",
    "StatedProbability",
    "StrategyRow",
    "Trading",
    "Verdict",
    "picture",
    "render",
]
