"""Made-up fits and scores for the tests of the registry, and a command line that registers and promotes them."""

import random
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from cryptocast.evaluation.answers import Unanswered
from cryptocast.evaluation.records import HoldOut, HorizonScore, IntervalCoverage
from cryptocast.evaluation.stored import with_answers
from cryptocast.market import Market
from cryptocast.registry import (
    CoinCalibration,
    CoinData,
    FitManifest,
    NewVersion,
    Registry,
    Version,
    VersionKey,
    artefacts_of,
    recipe_hash,
    sha256_hex,
)

FALLS_BACK: dict[str, Any] = {"unanswered": Unanswered.BASELINE_ANSWERS, "cause": "too little history"}
NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
BITCOIN = VersionKey("bitcoin", Market("sample", "usd", "daily"), "lightgbm")
FILES = {"model-1.txt": b"tree\n" * 100, "state.json": b"{}"}


def score(horizon: int = 7, **changes: Any) -> HorizonScore:
    """A horizon at which the model is a little better than the baseline and well calibrated."""
    good = HorizonScore(
        horizon=horizon,
        n=900,
        dates=300,
        crps={"lightgbm": 0.0198, "baseline": 0.02},
        skill={"baseline": 0.01},
        p_better={"baseline": 0.2},
        p_worse_than_baseline=0.8,
        coverage=(coverage(80, 0.79), coverage(95, 0.955, se=0.01)),
        mape=4.1,
        mape_random_walk=4.0,
    )
    return msgspec.structs.replace(good, **changes)


def coverage(percent: int, share: float, *, se: float = 0.02, n: int = 900) -> IntervalCoverage:
    return IntervalCoverage(percent=percent, share=share, se=se, n=n)


def hold_out(*scores: HorizonScore) -> HoldOut:
    """With the answers that the scores give."""
    own = with_answers(scores or (score(1), score(7)), step=1)
    return HoldOut(start=NOW - timedelta(days=300), end=NOW, coins=("bitcoin",), horizons=own)


def worse(horizon: int, p: float, **changes: Any) -> HorizonScore:
    """A horizon at which the model is worse than the baseline with this p."""
    own = {"p_better": {"baseline": 1.0 - p}, "p_worse_than_baseline": p, "skill": {"baseline": -0.2}}
    return score(horizon, **{**own, **changes})


def bad_hold_out() -> HoldOut:
    """One that the gate refuses: significantly worse than the baseline."""
    return hold_out(score(1), worse(7, 1e-6))


def manifest(
    label: str = "1", *, coins: Sequence[str] = ("bitcoin",), rounds: int = 400, files: Any = None, **changes: Any
) -> FitManifest:
    """The manifest of a fit. Fits with other labels differ in their data, those with other rounds in their recipe."""
    pool = tuple(
        CoinData(
            coin=coin,
            rows=2000,
            first=NOW - timedelta(days=2000),
            last=NOW,
            content_hash=sha256_hex(f"{coin} {label}".encode()),
        )
        for coin in coins
    )
    settings = {"lightgbm.rounds": rounds, "lightgbm.learning_rate": 0.03}
    made = FitManifest(
        kind="lightgbm",
        source="sample",
        vs="usd",
        granularity="daily",
        coins=pool,
        horizons=(1, 7),
        levels=(0.1, 0.5, 0.9),
        features=("ret_1", "vol_24"),
        feature_hash="f" * 64,
        recipe=recipe_hash("lightgbm", settings, "f" * 64),
        settings=settings,
        seed=7,
        threads=2,
        device="cpu",
        code_version="0.1.0",
        dirty=False,
        libraries={"lightgbm": "4.6.0"},
        python="3.11.7",
        platform="linux",
        trained_at=NOW,
        train_rows=5000,
        train_seconds=4.2,
        artefacts=artefacts_of(FILES if files is None else files),
    )
    return msgspec.structs.replace(made, **changes)


def new_version(coin: str = "bitcoin", scores: HoldOut | None = None) -> NewVersion:
    calibration = CoinCalibration(coin=coin, state={"offsets": {"7": [0.1, -0.1]}, "count": 40})
    return NewVersion(coin=coin, calibration=calibration, hold_out=scores or hold_out())


def register(
    registry: Registry,
    label: str = "1",
    *,
    coins: Sequence[str] = ("bitcoin",),
    scores: HoldOut | None = None,
    rounds: int = 400,
    now: datetime = NOW,
    **changes: Any,
) -> tuple[Version, ...]:
    fit = manifest(label, coins=coins, rounds=rounds, **changes)
    return registry.register(fit, FILES, [new_version(coin, scores) for coin in coins], now=now, who="ada")


def contend(store: Path, worker: str, rounds: int) -> None:
    """Register and promote at random, as fast as it goes; prints a line for each registration that was confirmed."""
    registry = Registry.open(store)
    draw = random.Random(worker)
    for turn in range(rounds):
        label = f"{worker}-{turn}"
        files = {"model.txt": label.encode() * 2000, "state.json": b"{}"}
        fit = manifest(label, coins=("bitcoin", "ethereum"), files=files)
        who = f"worker {worker}"
        versions = registry.register(
            fit, files, [new_version("bitcoin"), new_version("ethereum")], now=datetime.now(UTC), who=who
        )
        sys.stdout.write(f"{versions[0].fit_id}\n")
        sys.stdout.flush()
        if draw.random() < 0.5:
            number = draw.randint(1, versions[0].number)
            registry.promote(BITCOIN, number, now=datetime.now(UTC), who=who, why="at random", action="rollback")


if __name__ == "__main__":
    contend(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
