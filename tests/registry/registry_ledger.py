"""Made-up forecasts of the ledger and what came of them."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from cryptocast.registry import LedgerOutcome, LedgerRow
from cryptocast.registry.live import matured_outcome
from cryptocast.scoring.quantiles import LEVELS
from tests.registry.registry_fits import NOW

NORMAL = (-1.96, -1.645, -1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816, 1.645, 1.96)
assert len(NORMAL) == len(LEVELS)


def day(number: int) -> datetime:
    return NOW + timedelta(days=number)


def row(number: int = 1, issued: int = 0, horizon: int = 1, *, scale: float = 0.03, **changes: Any) -> LedgerRow:
    """A normal forecast of bitcoin by lightgbm; scale: its standard deviation."""
    made = LedgerRow(
        coin="bitcoin",
        source="sample",
        vs="usd",
        granularity="daily",
        kind="lightgbm",
        number=number,
        issued_at=day(issued),
        horizon=horizon,
        target_at=day(issued + horizon),
        price=100.0,
        volatility=scale,
        p_up=0.5,
        quantiles=tuple(scale * q for q in NORMAL),
        written_at=day(issued),
    )
    return msgspec.structs.replace(made, **changes)


def live(days: int, *, seed: int = 1, **scales: float) -> tuple[list[LedgerRow], list[LedgerOutcome]]:
    """Forecasts for so many days by versions 1 and 2 and the baseline, named v1, v2, v0, with the outcomes of normal
    returns of deviation 0.03."""
    returns = np.random.default_rng(seed).normal(0.0, 0.03, days)
    rows = [
        row(int(name[1:]), issued, scale=scale, kind="baseline" if name == "v0" else "lightgbm")
        for issued in range(days)
        for name, scale in scales.items()
    ]
    known = [matured_outcome(r, float(returns[(r.issued_at - NOW).days]), now=day(days + 1)) for r in rows]
    return rows, known
