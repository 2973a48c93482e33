"""How long the registry takes to answer with ten thousand versions in it, beside bare SQLite reading the same rows.

    python benchmarks/registry.py [--versions 10000] [--rounds 9]

In process: no start of Python, no printing. Made-up fits of 20 coins and three kinds, with walks forward of every
recipe and a live ledger of one year behind the version that is shown. Medians; prints Markdown.
"""

import argparse
import contextlib
import math
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptocast.cli.listings import best_document, history_document, version_document, versions_document
from cryptocast.config import Config, DataConfig, StoreConfig
from cryptocast.evaluation.records import Evidence, HoldOut, HorizonScore, IntervalCoverage
from cryptocast.evaluation.stored import with_answers
from cryptocast.market import Market
from cryptocast.registry import (
    CoinCalibration,
    CoinData,
    FitManifest,
    LedgerRow,
    NewVersion,
    Registry,
    artefacts_of,
    recipe_hash,
    sha256_hex,
)
from cryptocast.registry.live import matured_outcome
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.workflows.forecast import Request, ladder
from cryptocast.workflows.lifecycle.promote import promote
from cryptocast.workflows.online_calibration import learn, states_at

COINS = tuple(f"coin-{number:02}" for number in range(20))
KINDS = ("lightgbm", "lstm", "ml_ensemble")
HORIZONS = (1, 7, 14, 30)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = {f"section.setting_{number}": number / 7 for number in range(30)}
YEAR = 365


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    if asked.rounds >= len(COINS):
        parser.error(f"--rounds is below {len(COINS)}: each promotes another coin, and one more warms up")
    with tempfile.TemporaryDirectory() as folder:
        config = Config(store=StoreConfig(path=Path(folder)), data=DataConfig(coins=COINS, source="sample"))
        registry = Registry.open(config.store.path, gate=config.gate)
        began = time.perf_counter()
        fill(registry, asked.versions)
        live(registry)
        print(f"{len(registry.listing()):,} versions made in {time.perf_counter() - began:.0f} s\n")
        print("| question | median, ms | worst, ms | of that CPU, ms | bound, ms | x bare SQLite |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, bound, question, bare in questions(config, registry):
            (wall, cpu), (plain, _) = timed(question, asked.rounds), timed(bare, asked.rounds)
            told = f"{statistics.median(wall):.1f} | {max(wall):.1f} | {statistics.median(cpu):.1f} | {bound or '-'}"
            print(f"| {name} | {told} | {statistics.median(wall) / statistics.median(plain):.1f} |")


def questions(
    config: Config, registry: Registry
) -> Iterator[tuple[str, int, Callable[[], object], Callable[[], object]]]:
    """Each with its bound and the rows that it reads, as plainly as they can be read."""
    path = config.store.path / "registry" / "registry.db"

    def bare(query: str, *values: object) -> Callable[[], object]:
        def run() -> object:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                return connection.execute(query, values).fetchall()

        return run

    def show() -> object:
        version = registry.get("coin-03/lightgbm@production", Market("sample", "usd", "daily"))
        return version_document(registry, version)

    def forecasts_share() -> object:
        chosen = next(ladder(registry, registry.keys(coin="coin-03")[0], Request())).version
        assert chosen is not None
        return states_at(registry, chosen, NOW + timedelta(days=2 * YEAR)), registry.evidence_for(
            chosen.key, chosen.manifest.recipe
        )

    one = "SELECT * FROM versions WHERE coin = ? AND kind = ? AND number = ?"
    turn = iter(range(10_000))

    def promote_one() -> object:
        coin = COINS[next(turn) % len(COINS)]
        report = promote(config, registry, coin=coin, kind="lstm", who="ada", now=NOW + timedelta(days=1))
        assert [row.action for row in report.rows] == ["promoted"], report.summary
        return report

    yield "list", 100, lambda: versions_document(registry.listing()), bare("SELECT * FROM summaries")
    yield (
        *("list, one coin", 100),
        lambda: versions_document(registry.listing(coin="coin-03")),
        bare("SELECT s.* FROM versions v JOIN summaries s ON s.version_id = v.id WHERE v.coin = ?", "coin-03"),
    )
    yield "show", 100, show, bare(one, "coin-03", "lightgbm", 1)
    yield (
        *("best", 100),
        lambda: best_document(registry, "coin-03", Market("sample", "usd", "daily")),
        bare("SELECT * FROM aliases WHERE coin = ?", "coin-03"),
    )
    yield "promote, one (a refresh)", 200, promote_one, bare(one, "coin-03", "lstm", 1)
    yield (
        *("promote --dry-run, all 60", 0),
        lambda: promote(config, registry, dry_run=True, who="ada", now=NOW),
        bare("SELECT * FROM aliases"),
    )
    yield (
        *("history --at, one coin", 0),
        lambda: history_document(registry, registry.history(coin="coin-03", until=NOW), (), NOW),
        bare("SELECT * FROM history WHERE coin = ?", "coin-03"),
    )
    yield "what a forecast asks", 0, forecasts_share, bare(one, "coin-03", "lightgbm", 1)


def timed(question: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each round, by the clock and of this process; the first warms and does not count."""
    wall, cpu = [], []
    for _ in range(rounds + 1):
        began, used = time.perf_counter(), time.process_time()
        question()
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - used))
    return wall[1:], cpu[1:]


def fill(registry: Registry, versions: int) -> None:
    """Fits of all coins, kind after kind, and two walks forward of each recipe."""
    for number in range(math.ceil(versions / len(COINS))):
        kind = KINDS[number % len(KINDS)]
        files = {"model.txt": f"{kind} {number}".encode() * 100, "state.json": b"{}"}
        manifest = fit(kind, number, files)
        registry.register(manifest, files, [version(coin) for coin in COINS], now=NOW, who="ada")
    for kind in KINDS:
        registry.record_evidence([walk(f"{kind}-{run}", kind) for run in range(2)])


def fit(kind: str, number: int, files: dict[str, bytes]) -> FitManifest:
    """As large as a real one."""
    first = NOW - timedelta(days=2000)
    return FitManifest(
        kind=kind,
        source="sample",
        vs="usd",
        granularity="daily",
        coins=tuple(
            CoinData(
                coin=coin, rows=2000 + number, first=first, last=NOW, content_hash=sha256_hex(f"{number}".encode())
            )
            for coin in COINS
        ),
        horizons=HORIZONS,
        levels=tuple(LEVELS.tolist()),
        features=tuple(f"feature_{place}" for place in range(115)),
        feature_hash="f" * 64,
        recipe=recipe(kind),
        settings=SETTINGS,
        seed=7,
        threads=2,
        device="cpu",
        code_version="0.1.0",
        dirty=False,
        libraries={"lightgbm": "4.7.0", "numpy": "2.3.0", "polars": "2.1.0"},
        python="3.11.7",
        platform="linux",
        trained_at=NOW,
        train_rows=40_000,
        train_seconds=4.2,
        artefacts=artefacts_of(files),
    )


def recipe(kind: str) -> str:
    return recipe_hash(kind, SETTINGS, "f" * 64)


def version(coin: str) -> NewVersion:
    held = HoldOut(start=NOW - timedelta(days=300), end=NOW, coins=COINS, horizons=scores("lightgbm"))
    return NewVersion(coin, CoinCalibration(coin=coin, state={"baseline_at": {}, "blocks": [300.0] * 4}), held)


def scores(kind: str) -> tuple[HorizonScore, ...]:
    references = ("baseline", "rw_gaussian", "rw_empirical")
    found = tuple(
        HorizonScore(
            horizon=horizon,
            n=900,
            dates=300,
            crps={kind: 0.0198, **dict.fromkeys(references, 0.02)},
            skill=dict.fromkeys(references, 0.01),
            p_better=dict.fromkeys(references, 0.2),
            p_worse_than_baseline=0.8,
            coverage=tuple(IntervalCoverage(percent=p, share=p / 100, se=0.02, n=900) for p in (80, 95)),
            mape=4.1,
            mape_random_walk=4.0,
        )
        for horizon in HORIZONS
    )
    return with_answers(found, step=1)


def walk(run: str, kind: str) -> Evidence:
    return Evidence(
        run=run,
        recipe=recipe(kind),
        kind=kind,
        source="sample",
        vs="usd",
        granularity="daily",
        coin=None,
        coins=COINS,
        start=NOW - timedelta(days=900),
        end=NOW,
        step_bars=7,
        refit_every_bars=91,
        window_bars=0,
        embargo_bars=0,
        scores=scores(kind),
        recorded_at=NOW,
    )


def live(registry: Registry) -> None:
    """A year of matured forecasts of one version, and of the baseline."""
    spread = [0.03 * (level - 0.5) for level in LEVELS.tolist()]
    rows = [
        LedgerRow(
            coin="coin-03",
            source="sample",
            vs="usd",
            granularity="daily",
            kind=kind,
            number=number,
            issued_at=NOW + timedelta(days=day),
            horizon=horizon,
            target_at=NOW + timedelta(days=day + horizon),
            price=100.0,
            volatility=0.03,
            p_up=0.5,
            quantiles=tuple(spread),
            written_at=NOW,
        )
        for kind, number in (("lightgbm", 1), ("baseline", 0))
        for day in range(YEAR)
        for horizon in HORIZONS
    ]
    registry.write_ledger(rows)
    registry.write_outcomes([matured_outcome(r, 0.03 * math.sin(r.horizon), now=r.target_at) for r in rows], learn)


if __name__ == "__main__":
    main()
