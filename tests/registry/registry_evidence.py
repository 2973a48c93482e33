"""Made-up evidence and trials for the tests of the registry, and a command line that records them."""

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from cryptocast.evaluation.records import Evidence, Trial
from cryptocast.evaluation.stored import with_answers
from cryptocast.registry import Registry
from tests.registry.registry_fits import NOW, score

RECIPE, OTHER = "a" * 64, "b" * 64
SERIES = "sample/usd/daily/bitcoin"


def day(number: int) -> datetime:
    return NOW + timedelta(days=number)


def evidence(run: str = "walk-1", **changes: Any) -> Evidence:
    """What a walk over bitcoin and ethereum found about RECIPE on bitcoin, from day 0 to day 100."""
    made = Evidence(
        run=run,
        recipe=RECIPE,
        kind="lightgbm",
        source="sample",
        vs="usd",
        granularity="daily",
        coin="bitcoin",
        coins=("bitcoin", "ethereum"),
        start=NOW,
        end=day(100),
        step_bars=1,
        refit_every_bars=30,
        window_bars=0,
        embargo_bars=2,
        scores=with_answers((score(1), score(7)), step=1),
        recorded_at=day(101),
    )
    return msgspec.structs.replace(made, **changes)


def trial(name: str = "long, target 0.4", run: str = "walk-1", **changes: Any) -> Trial:
    """A strategy tried on bitcoin from day 0 to day 100."""
    made = Trial(
        run=run,
        at=day(101),
        command="backtest",
        series=SERIES,
        start=NOW,
        end=day(100),
        name=name,
        recipe=RECIPE,
        sharpe=0.06,
        bars=100,
        score=None,
    )
    return msgspec.structs.replace(made, **changes)


def record(store: Path, rounds: int) -> None:
    """Record two rows of each in every round, as fast as it goes; prints a line for each round that was confirmed."""
    registry = Registry.open(store)
    for turn in range(rounds):
        run = f"run-{os.getpid()}-{turn}"
        registry.record_evidence([evidence(run), evidence(run, coin=None)])
        registry.record_trials([trial("a", run), trial("b", run)])
        sys.stdout.write(f"{run}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    record(Path(sys.argv[1]), int(sys.argv[3]))
