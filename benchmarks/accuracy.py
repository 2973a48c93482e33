"""How good the forecasts are on real daily coins, beside three random walks, on identical origins.

    python benchmarks/accuracy.py [--data ../shared/data] [--bars 365] [--holdout]

Weekly origins over the 18 months that end six months before the end of the series, a refit every 91 days, every model
trained on all coins. `--bars N` lets every fit and every forecast see only the N bars before it. `--holdout` opens the
last six months instead: once, at the end of the work on the models. Prints Markdown.

Skill is 1 - CRPS / CRPS of rw_empirical, in percent. Coverage has its standard error (clustered by date, HAC) and its
distance from nominal in such errors. `pooled` is the mean over the horizons.
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from cryptocast.config import Config
from cryptocast.data.file_source import read_file
from cryptocast.data.schema import BAR_US
from cryptocast.evaluation.plan import Plan
from cryptocast.evaluation.records import HorizonScore
from cryptocast.evaluation.scores import Judged, judge, score_model
from cryptocast.evaluation.walk_forward import walk_forward
from cryptocast.features.catalogue import FEATURES, add_features
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun, Forecast
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.fitting import concatenate, fit_in_time
from cryptocast.models.kinds import learner

DAY_US = BAR_US["daily"]
HORIZONS = (1, 7, 14, 30)
WEEKS = 78  # 18 months
MONTHS_KEPT = 182  # days at the end that are not looked at
REFIT_DAYS = 91
FIRST_REFIT_STEP = 13  # weeks
THURSDAY = 3
MODELS = ("baseline", "lightgbm")
REFERENCES = ("rw_empirical", "rw_gaussian")


@dataclass(frozen=True, slots=True)
class Window:
    """The origins: close times in microseconds, weekly, first and last included."""

    first: int
    last: int

    @property
    def origins(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return np.arange(self.first, self.last + 1, 7 * DAY_US, dtype=np.int64)


def main() -> None:
    options = parse()
    candles = load(options.data, options.coins)
    window = window_of(candles, holdout=options.holdout)
    began = time.perf_counter()
    config = Config()
    if options.bars:
        rows, forecasts = short_histories(candles, window, config, options.bars)
    else:
        rows, forecasts = whole_histories(candles, window, config)
    judged = judge(rows, forecasts, step=7)
    print_report(judged, candles, window, options, time.perf_counter() - began)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--bars", type=int, default=0, help="let models see only this many bars")
    parser.add_argument("--holdout", action="store_true", help="the last six months instead")
    parser.add_argument("--coins", nargs="*", default=[], help="some of the coins; default all")
    return parser.parse_args()


def load(folder: Path, coins: Sequence[str]) -> pl.DataFrame:
    """All `<coin>.daily.parquet` of the folder as one candle frame."""
    files = sorted(folder.glob("*.daily.parquet"))
    names = [path.name.removesuffix(".daily.parquet") for path in files]
    if not files:
        raise SystemExit(f"There is no *.daily.parquet in {folder}. Name another folder with --data.")
    now = datetime.now(UTC)
    chosen = [(path, name) for path, name in zip(files, names, strict=True) if not coins or name in coins]
    return pl.concat([read_file(path, name, now=now).frame for path, name in chosen])


def window_of(candles: pl.DataFrame, *, holdout: bool) -> Window:
    """Weekly origins on Thursdays 00:00 UTC (the close of Wednesday) whose longest label ends in the window."""
    end = candles["close_time"].max()
    assert isinstance(end, datetime)
    limit = end if holdout else end - timedelta(days=MONTHS_KEPT)
    last = limit - timedelta(days=max(HORIZONS))
    last -= timedelta(days=(last.weekday() - THURSDAY) % 7)
    weeks = (MONTHS_KEPT - max(HORIZONS)) // 7 if holdout else WEEKS
    first = last - timedelta(weeks=weeks - 1)
    return Window(_us(first), _us(last))


def whole_histories(candles: pl.DataFrame, window: Window, config: Config) -> tuple[Matrix, Mapping[str, Forecast]]:
    """One walk forward over all coins, every model refitted on all that was known."""
    matrix = matrix_of(candles)
    plan = Plan(window.first, window.last, 7, REFIT_DAYS, 0, config.train.min_train_bars)
    walked = walk_forward(
        matrix,
        {name: learner(name, config) for name in MODELS},
        plan,
        block_count=config.train.blocks,
        least_blocks=config.train.min_independent_blocks,
        seed=config.train.seed,
        run=FitRun(threads=os.cpu_count() or 1),
    )
    return matrix.rows(walked.row), walked.forecasts


def short_histories(
    candles: pl.DataFrame, window: Window, config: Config, bars: int
) -> tuple[Matrix, Mapping[str, Forecast]]:
    """Every refit is a whole training on the last bars before it, every forecast rests on the last bars before it.

    What is scored (and what the references see) are the rows of the whole series, so that tables can be compared.
    """
    scored: list[int] = []
    parts: dict[str, list[Forecast]] = {name: [] for name in MODELS}
    whole = matrix_of(candles)
    for index, origin in enumerate(window.origins.tolist()):
        seen = matrix_of(last_bars(candles, origin, bars))
        if index % FIRST_REFIT_STEP == 0:
            model = fit_in_time(
                learner("lightgbm", config),
                seen,
                fit=config.split.fit,
                stop=config.split.stop,
                block_count=config.train.blocks,
                least_blocks=config.train.min_independent_blocks,
                seed=config.train.seed,
                run=FitRun(threads=os.cpu_count() or 1),
            ).final
        now = seen.rows(seen.issued_at == origin)
        place = {(c, t): i for i, (c, t) in enumerate(zip(whole.coin_names, whole.issued_at.tolist(), strict=True))}
        scored += [place[(coin, origin)] for coin in now.coin_names]
        parts["lightgbm"].append(model.predict(now))
        parts["baseline"].append(BaselineLearner().fit(seen).predict(now))
    rows = whole.rows(np.array(scored, dtype=np.int64))
    return rows, {name: concatenate(forecasts) for name, forecasts in parts.items()}


def last_bars(candles: pl.DataFrame, moment: int, bars: int) -> pl.DataFrame:
    """What a user with so many bars has at that moment."""
    stamp = pl.col("close_time").to_physical()
    return candles.filter((stamp <= moment) & (stamp > moment - bars * DAY_US))


def matrix_of(candles: pl.DataFrame) -> Matrix:
    """The rows that models see."""
    table = add_features(candles.lazy(), FEATURES, bar_us=DAY_US).collect()
    return build_matrix(table, [feature.name for feature in FEATURES], horizons=HORIZONS, bar_us=DAY_US)


def print_report(
    judged: Judged, candles: pl.DataFrame, window: Window, options: argparse.Namespace, seconds: float
) -> None:
    """Markdown: skill by model and horizon, then coverage, then the tests."""
    coins = candles["coin"].n_unique()
    seen = f"only the {options.bars} bars before each origin" if options.bars else "all bars before each origin"
    print(
        f"{coins} coins, {len(window.origins)} weekly origins {_day(window.first)} to {_day(window.last)}, {seen}; ",
        end="",
    )
    print(f"{int(judged.scored[:, 0].sum())} forecasts a horizon; {seconds:.0f} s.\n")
    names = (*MODELS, *REFERENCES)
    scores = {name: score_model(judged, name) for name in names}
    print_skill(scores)
    print_against_best(scores)
    print_coverage(scores)
    print_tests(scores["lightgbm"])


def print_skill(scores: Mapping[str, Sequence[HorizonScore]]) -> None:
    """CRPS against rw_empirical."""
    print("| skill, % | " + " | ".join(f"{h} d" for h in HORIZONS) + " | pooled | MAPE at 1, 7, 14, 30 d, % |")
    print("| --- |" + " --- |" * (len(HORIZONS) + 2))
    for name, rows in scores.items():
        skill = [100 * (1 - row.crps[name] / row.crps["rw_empirical"]) for row in rows]
        mape = ", ".join(f"{100 * (row.mape or float('nan')):.2f}" for row in rows)
        print(f"| {name} | " + " | ".join(f"{s:.2f}" for s in skill) + f" | {np.mean(skill):.2f} | {mape} |")
    walk = ", ".join(f"{100 * (row.mape_random_walk or float('nan')):.2f}" for row in scores["baseline"])
    print(f"| the last price | | | | | | {walk} |\n")


def print_against_best(scores: Mapping[str, Sequence[HorizonScore]]) -> None:
    """How far lightgbm is from the best of the others at each horizon, and from baseline."""
    gaps, to_baseline = [], []
    for column in range(len(HORIZONS)):
        row = scores["lightgbm"][column]
        best = min(row.crps[name] for name in ("baseline", *REFERENCES))
        gaps.append(100 * (row.crps["lightgbm"] / best - 1))
        to_baseline.append(100 * (row.crps["lightgbm"] / row.crps["baseline"] - 1))
    print("CRPS of lightgbm above the best of the three, %: " + ", ".join(f"{g:+.2f}" for g in gaps))
    print("CRPS of lightgbm above baseline, %: " + ", ".join(f"{g:+.2f}" for g in to_baseline) + "\n")


def print_coverage(scores: Mapping[str, Sequence[HorizonScore]]) -> None:
    """Coverage with standard errors, and the distance from nominal in them."""
    print("| coverage, % (se; distance in se) | " + " | ".join(f"{h} d" for h in HORIZONS) + " |")
    print("| --- |" + " --- |" * len(HORIZONS))
    for name in MODELS:
        for percent in (80, 95):
            cells = []
            for row in scores[name]:
                cell = next(c for c in row.coverage if c.percent == percent)
                distance = (cell.share - percent / 100) / cell.se
                cells.append(f"{100 * cell.share:.1f} ({100 * cell.se:.1f}; {distance:+.1f})")
            print(f"| {name} {percent} | " + " | ".join(cells) + " |")
    print()


def print_tests(rows: Sequence[HorizonScore]) -> None:
    """One-sided Diebold-Mariano p of lightgbm being better, and the verdict after correction."""
    print(
        "| lightgbm | p better than rw_empirical | rw_gaussian | baseline | verdict |\n| --- | --- | --- | --- | --- |"
    )
    for row in rows:
        p = [row.p_better.get(name) for name in ("rw_empirical", "rw_gaussian", "baseline")]
        cells = " | ".join("too few" if value is None else f"{value:.3f}" for value in p)
        print(f"| {row.horizon} d | {cells} | {row.verdict} |")


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _day(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds / 1e6, tz=UTC):%Y-%m-%d}"


if __name__ == "__main__":
    main()
