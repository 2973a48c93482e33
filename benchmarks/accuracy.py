"""How good the forecasts are on real candles, beside random walks and other libraries, on identical origins.

    python benchmarks/accuracy.py [--granularity hourly] [--models M ...] [--coins C ...] [--bars 365] [--holdout]

Daily: weekly origins over the 18 months that end six months before the end of the series. Hourly: an origin every 49
hours (so that every hour and weekday is visited) over the 12 months that end there. Every model is trained on all coins
and refitted every 91 days (`--refit`; mlforecast at every origin) on what was known then. `--bars N` lets every fit and
every forecast see only the N bars before it. The last six months are cut off on reading, but for `--holdout`: once,
when the work on the models is done. Prints Markdown.

Skill is 1 - CRPS / CRPS of rw_empirical, in percent; `pooled` is the mean over the horizons. The tests are Diebold and
Mariano's (HLN; coins of one date averaged). Coverage has its standard error (clustered by date, HAC).

The other libraries (extra `peers`) may live in a Python of their own, `--peers-python`; `peers.py` runs there. Raw
forecasts are kept in `--cache` and made again when candles, settings or code have changed; for another release of a
peer, name another folder.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

import cryptocast
from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.file.reader import read_file
from cryptocast.errors import ModelError, UsageError
from cryptocast.evaluation.plan import Block, WalkPlan
from cryptocast.evaluation.records import HorizonScore
from cryptocast.evaluation.scores import ScoreSheet, TableRow, judge, score_row
from cryptocast.evaluation.walk_forward import RawForecasts, walk_forward
from cryptocast.features.builder import add_features
from cryptocast.features.catalogue import FEATURES
from cryptocast.features.matrix import Matrix, build_matrix
from cryptocast.models.base import FitRun, Forecast, Learner, Rounds
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.models.combination import Mix, average
from cryptocast.models.fitting import TrainingResult, concatenate, fit_in_time
from cryptocast.models.kinds import learner
from cryptocast.models.stacking import StackLearner
from cryptocast.scoring.diebold_mariano import DieboldMariano, diebold_mariano
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.scoring.skill import smallest_effect

DAYS_KEPT: Final = 182  # at the end, not looked at
REFIT_DAYS: Final = 91
THURSDAY: Final = 3
BASELINE: Final = "baseline"
MIX: Final = Mix((BASELINE, "lightgbm"))
OWN: Final = ("baseline", "har", "lightgbm", "lstm", "mix", "ml_ensemble")  # those of them that this release has
PEERS: Final = ("AutoARIMA", "AutoETS", "AutoTheta", "GARCH-t", "mlforecast")
REFERENCES: Final = ("rw_empirical", "rw_gaussian")
HEADLINES: Final = ("ml_ensemble", "mix", "lightgbm", "baseline")  # the first that takes part is tested against all
INTERVALS: Final = (80, 90, 95)
OUTER: Final = 1.96  # half the 95 % interval of a Gaussian, in standard deviations
HOURLY_COINS: Final = ("bitcoin", "ethereum")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is asked of the models: horizons and steps in bars."""

    granularity: Granularity
    unit: str
    horizons: tuple[int, ...]
    step: int
    days: int  # that the origins span

    @property
    def bar_us(self) -> int:
        return BAR_US[self.granularity]

    @property
    def bars_a_day(self) -> int:
        return BAR_US["daily"] // self.bar_us


DAILY: Final = Setting("daily", "d", (1, 7, 14, 30), 7, 78 * 7)
HOURLY: Final = Setting("hourly", "h", (1, 6, 24, 168), 49, 365)


@dataclass(frozen=True, slots=True)
class Window:
    """The origins: close times in microseconds, `spacing` apart, first and last included."""

    first: int
    last: int
    spacing: int

    @property
    def origins(self) -> Int64Array:
        return np.arange(self.first, self.last + 1, self.spacing, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Contest:
    """One comparison: the candles that may be seen, the origins, and how models are refitted."""

    setting: Setting
    candles: pl.DataFrame
    window: Window
    config: Config
    refit: int  # bars
    bars: int  # that models see; 0: all
    threads: int
    cache: Path

    @cached_property
    def matrix(self) -> Matrix:
        """The rows of all coins and times."""
        return self.matrix_of(self.candles)

    def matrix_of(self, candles: pl.DataFrame) -> Matrix:
        """The rows that models see of these candles."""
        table = add_features(candles.lazy(), FEATURES, bar_us=self.setting.bar_us).collect()
        names = [feature.name for feature in FEATURES]
        return build_matrix(table, names, horizons=self.setting.horizons, bar_us=self.setting.bar_us)

    @cached_property
    def plan(self) -> WalkPlan:
        least = self.config.train.min_train_bars
        return WalkPlan(self.window.first, self.window.last, self.setting.step, self.refit, 0, least)

    @cached_property
    def digest(self) -> str:
        """Of the candles and of what is asked: what any contender's forecasts depend on, beside its own code."""
        buffer = io.BytesIO()
        self.candles.write_ipc(buffer)
        said = (self.setting, self.window, self.refit, self.bars)
        return hashlib.sha256(buffer.getvalue() + repr(said).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Quantiles:
    """A contender's forecasts: coin (m,), issued_at (m,), values (m, H, q), volatility and p_up (m, H)."""

    coin: npt.NDArray[np.str_]
    issued_at: Int64Array
    values: FloatArray
    volatility: FloatArray
    p_up: FloatArray

    @property
    def keys(self) -> list[tuple[str, int]]:
        return list(zip(self.coin.tolist(), self.issued_at.tolist(), strict=True))


@dataclass(slots=True)
class Results:
    """Forecasts by contender, with the seconds that they took (0: from the cache)."""

    quantiles: dict[str, Quantiles] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def main() -> None:
    options = parse()
    setting = HOURLY if options.granularity == "hourly" else DAILY
    config = Config()
    candles = load(options.data, setting, options.coins, holdout=options.holdout)
    contest = Contest(
        setting=setting,
        candles=candles,
        window=window_of(candles, setting, holdout=options.holdout),
        config=config,
        refit=options.refit * setting.bars_a_day,
        bars=options.bars,
        threads=options.threads,
        cache=options.cache,
    )
    results = Results()
    chosen = [name for name in (*available(config), *PEERS) if not options.models or name in options.models]
    forecast_own(contest, [name for name in chosen if name in OWN], results)
    forecast_peers(contest, [name for name in chosen if name in PEERS], options.peers_python, results)
    if not results.quantiles:
        raise SystemExit("No contender is left: see --models and --peers-python.")
    judged, left_out = judged_of(contest, results)
    print_report(contest, judged, results, left_out, holdout=options.holdout)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--granularity", choices=("daily", "hourly"), default="daily")
    parser.add_argument("--models", nargs="*", choices=(*OWN, *PEERS), default=[], help="default: all there are")
    parser.add_argument("--coins", nargs="*", default=[], help="some of the coins; default all")
    parser.add_argument("--refit", type=int, default=REFIT_DAYS, help="days between refits")
    parser.add_argument("--bars", type=int, default=0, help="let models see only this many bars")
    parser.add_argument("--holdout", action="store_true", help="the last six months instead")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers-python", type=Path, default=Path(sys.executable), help="a Python with the peers")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "cryptocast-accuracy")
    return parser.parse_args()


def load(folder: Path, setting: Setting, coins: Sequence[str], *, holdout: bool) -> pl.DataFrame:
    """All `<coin>.<granularity>.parquet` of the folder as one candle frame, without its last six months."""
    suffix = f".{setting.granularity}.parquet"
    wanted = coins or (HOURLY_COINS if setting.granularity == "hourly" else ())
    names = sorted(path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}"))
    chosen = [name for name in names if not wanted or name in wanted]
    if not chosen:
        raise SystemExit(f"There is no *{suffix} of these coins in {folder}. Name another folder with --data.")
    now = datetime.now(UTC)
    candles = pl.concat([read_file(folder / f"{name}{suffix}", name, now=now).frame for name in chosen])
    end = candles["close_time"].max()
    assert isinstance(end, datetime)
    return candles if holdout else candles.filter(pl.col("close_time") <= end - timedelta(days=DAYS_KEPT))


def window_of(candles: pl.DataFrame, setting: Setting, *, holdout: bool) -> Window:
    """Origins whose longest label ends within the candles; daily ones at the close of a Wednesday (UTC)."""
    end = candles["close_time"].max()
    assert isinstance(end, datetime)
    longest = timedelta(microseconds=max(setting.horizons) * setting.bar_us)
    step = timedelta(microseconds=setting.step * setting.bar_us)
    last = end - longest
    if setting.granularity == "daily":
        last -= timedelta(days=(last.weekday() - THURSDAY) % 7)
    span = timedelta(days=DAYS_KEPT) - longest if holdout else timedelta(days=setting.days)
    return Window(_us(last - (span // step - 1) * step), _us(last), setting.step * setting.bar_us)


def available(config: Config) -> tuple[str, ...]:
    """Our models that this release has."""
    found = []
    for name in OWN:
        try:
            if name != "mix":
                learner(name, config)
        except (ModelError, UsageError):
            continue
        found.append(name)
    return tuple(found)


# --- our own models


def forecast_own(contest: Contest, names: Sequence[str], results: Results) -> None:
    """Forecasts of our models; what a model's fits gave is kept as far as its code is the same."""
    make = short_histories if contest.bars else whole_histories
    for name, forecast in make(contest, names, results).items():
        results.quantiles[name] = Quantiles(
            coin=forecast.coin,
            issued_at=forecast.issued_at,
            values=forecast.values,
            volatility=forecast.volatility,
            p_up=forecast.p_up,
        )


def whole_histories(contest: Contest, names: Sequence[str], results: Results) -> Mapping[str, Forecast]:
    """One walk forward over all coins, refitted on all that was known.

    Each model that is fitted walks alone first, block by block into the cache; then all walk together from there.
    """
    learners = {name: learner(name, contest.config) for name in names if name != "mix"}
    stacks = [chosen for chosen in learners.values() if isinstance(chosen, StackLearner)]
    fitted = {name: chosen for name, chosen in learners.items() if not isinstance(chosen, StackLearner)}
    for stack in stacks:
        fitted |= {name: member for name, member in stack.members.items() if name not in fitted}
    if "mix" in names:
        fitted |= {name: learner(name, contest.config) for name in MIX.members if name not in fitted}
    fitted.setdefault(BASELINE, learner(BASELINE, contest.config))
    for name, chosen in fitted.items():
        began = time.perf_counter()
        _walk(contest, {name: chosen}, Kept(contest, tuple({name, BASELINE})), {})
        results.seconds[name] = time.perf_counter() - began
    asked = {**{name: chosen for name, chosen in fitted.items() if name in names or "mix" in names}, **learners}
    mixes = {"mix": MIX} if "mix" in names else {}
    made = _walk(contest, asked, Kept(contest, tuple(fitted)), mixes)
    return {name: made[name] for name in names}


def _walk(
    contest: Contest, learners: Mapping[str, Learner], kept: "Kept", mixes: Mapping[str, Mix]
) -> Mapping[str, Forecast]:
    walked = walk_forward(
        contest.matrix,
        learners,
        contest.plan,
        block_count=contest.config.train.blocks,
        least_blocks=contest.config.train.min_independent_blocks,
        seed=contest.config.train.seed,
        run=FitRun(threads=contest.threads),
        mixes=mixes,
        keep=kept,
    )
    return walked.forecasts


@dataclass(frozen=True, slots=True)
class Kept:
    """Raw forecasts in the cache, a file for each model and block."""

    contest: Contest
    names: tuple[str, ...]

    def load(self, block: Block, matrix: Matrix) -> RawForecasts | None:
        """The block's forecasts of all these models; None if one is not there."""
        forecasts, rounds, row = {}, {}, None
        for name in self.names:
            path = self._path(name, block)
            if not path.is_file():
                return None
            with np.load(path, allow_pickle=False) as stored:
                row = stored["row"]
                rounds[name] = msgspec.json.decode(stored["rounds"].tobytes(), type=Rounds)
                if "values" in stored.files:
                    parts = (stored["values"], stored["volatility"], stored["p_up"])
                    forecasts[name] = _forecast(matrix.rows(row), *parts)
        repeated = {name: found for name, found in rounds.items() if found != Rounds()}
        return None if row is None else RawForecasts(row, forecasts, repeated)

    def save(self, block: Block, raw: RawForecasts) -> None:
        """One file for each of them; a model that had too few rows leaves one without forecasts."""
        for name in self.names:
            found = raw.forecasts.get(name)
            arrays = {} if found is None else {k: getattr(found, k) for k in ("values", "volatility", "p_up")}
            path = self._path(name, block)
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_suffix(".half.npz")
            rounds = np.frombuffer(msgspec.json.encode(raw.rounds.get(name, Rounds())), dtype=np.uint8)
            np.savez(half, row=raw.row, rounds=rounds, **arrays)
            half.rename(path)

    def _path(self, name: str, block: Block) -> Path:
        key = _key(self.contest.digest, name, _code(_settings(self.contest.config, name), name))
        return self.contest.cache / f"{name}-{key}" / f"{block.index:+03d}.npz"


def _forecast(rows: Matrix, values: FloatArray, volatility: FloatArray, p_up: FloatArray) -> Forecast:
    return Forecast(rows.coin_names, rows.issued_at, rows.price, rows.horizons, LEVELS, values, volatility, p_up)


def short_histories(contest: Contest, names: Sequence[str], results: Results) -> Mapping[str, Forecast]:
    """Every refit is a whole training on the last bars before it, every forecast rests on the last bars before it.

    The mix is the mean of what its members say.
    """
    began = time.perf_counter()
    parts: dict[str, list[Forecast]] = {name: [] for name in names}
    every = max(1, contest.refit // contest.setting.step)
    for index, origin in enumerate(contest.window.origins.tolist()):
        seen = contest.matrix_of(_last_bars(contest, origin))
        now = seen.rows(seen.issued_at == origin)
        if index % every == 0:
            models = _trained(contest, [name for name in names if name not in (BASELINE, "mix")], seen)
        said = {name: model.predict(now) for name, model in models.items()}
        # The baseline has no fit to keep: it is fitted on what is there.
        said[BASELINE] = BaselineLearner().fit(seen).predict(now)
        if "mix" in names:
            said["mix"] = average([said[member] for member in MIX.members])
        for name in names:
            parts[name].append(said[name])
    results.seconds["trainings"] = time.perf_counter() - began
    return {name: concatenate(forecasts) for name, forecasts in parts.items()}


def _trained(contest: Contest, names: Sequence[str], seen: Matrix) -> dict[str, CalibratedForecaster]:
    """The models that a user would have trained at this moment; an ensemble comes behind its members."""
    config = contest.config
    trained: dict[str, TrainingResult] = {}
    for name in names:
        trained[name] = fit_in_time(
            learner(name, config),
            seen,
            fit=config.split.fit,
            stop=config.split.stop,
            block_count=config.train.blocks,
            least_blocks=config.train.min_independent_blocks,
            seed=config.train.seed,
            run=FitRun(threads=contest.threads),
            members=trained,
        )
    return {name: fitted.final for name, fitted in trained.items()}


def _last_bars(contest: Contest, moment: int) -> pl.DataFrame:
    """What a user with so many bars has at that moment."""
    stamp = pl.col("close_time").to_physical()
    oldest = moment - contest.bars * contest.setting.bar_us
    return contest.candles.filter((stamp <= moment) & (stamp > oldest))


# What the raw forecasts of every model depend on, and of each one beside it.
SHARED_CODE: Final = ("features", "folds.py", "models/base.py", "models/recent_window.py", "models/quantile_shape.py")
OWN_CODE: Final = {
    "baseline": ("models/baseline.py",),
    "har": tuple(f"models/{name}.py" for name in ("har", "labels", "baseline")),
    "lightgbm": tuple(
        f"models/{name}.py"
        for name in ("boosting", "trees", "variances", "scale_model", "drift_ridge", "labels", "baseline", "selective")
    ),
    "lstm": (
        "models/lstm",
        *(
            f"models/{name}.py"
            for name in ("scale_model", "drift_ridge", "student_mixture", "labels", "windows", "baseline")
        ),
    ),
}


@cache  # an edit while a run goes on must not split its files
def _code(settings: str, name: str) -> str:
    """The hash of a model's sources and settings: other code, other forecasts."""
    root = Path(cryptocast.__file__).parent
    places = [root / place for place in (*SHARED_CODE, *OWN_CODE[name])]
    files = [path for place in places for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return hashlib.sha256(b"\0".join([settings.encode(), *(path.read_bytes() for path in files)])).hexdigest()


def _settings(config: Config, name: str) -> str:
    return repr((config.features, config.train, getattr(config, name, None)))


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


# --- the other libraries


def forecast_peers(contest: Contest, names: Sequence[str], python: Path, results: Results) -> None:
    """Forecasts of the peers, one process for each, from the cache where that has them."""
    if not names:
        return
    contest.cache.mkdir(parents=True, exist_ok=True)
    closes = contest.cache / f"closes-{contest.digest[:32]}.parquet"
    _closes(contest).write_parquet(closes)
    script = Path(__file__).with_name("peers.py")
    for name in names:
        folder = contest.cache / _key(contest.digest, hashlib.sha256(script.read_bytes()).hexdigest())
        folder.mkdir(exist_ok=True)
        found = folder / f"{name}.parquet"
        if not found.is_file():
            began = time.perf_counter()
            if subprocess.run(_command(contest, python, script, closes, folder, name), check=False).returncode:
                print(f"{name} is left out: {python} cannot run it. See --peers-python.", file=sys.stderr)
                continue
            results.seconds[name] = time.perf_counter() - began
        results.quantiles[name] = _read_peer(contest, pl.read_parquet(found))


def _command(contest: Contest, python: Path, script: Path, closes: Path, folder: Path, name: str) -> list[str]:
    window, setting = contest.window, contest.setting
    numbers = {
        "--last": window.last // setting.bar_us,
        "--windows": len(window.origins),
        "--step": setting.step,
        "--refit": contest.refit,
        "--bars": contest.bars,
        "--jobs": contest.threads,
    }
    command = [str(python), str(script), str(closes), str(folder), "--peers", name]
    command += [word for option, number in numbers.items() for word in (option, str(number))]
    command += ["--horizons", *(str(h) for h in setting.horizons)]
    return [*command, "--hourly"] if setting.granularity == "hourly" else command


def _closes(contest: Contest) -> pl.DataFrame:
    """Log closes on complete grids: these libraries know no gaps, so a missing bar repeats the last price."""
    bar = contest.setting.bar_us
    known = contest.candles.select("coin", bar=pl.col("close_time").to_physical() // bar, y=pl.col("close").log())
    grid = known.group_by("coin").agg(bar=pl.int_ranges(pl.col("bar").min(), pl.col("bar").max() + 1).first())
    whole = grid.explode("bar").join(known, on=["coin", "bar"], how="left").sort("coin", "bar")
    return whole.with_columns(pl.col("y").forward_fill().over("coin"))


def _read_peer(contest: Contest, table: pl.DataFrame) -> Quantiles:
    """The peer's table as arrays; its rows sorted, so that quantiles do not cross."""
    horizons = contest.setting.horizons
    ordered = table.sort("coin", "bar", "horizon")
    count = len(horizons)
    values = np.sort(ordered.select(f"q{i}" for i in range(len(LEVELS))).to_numpy(), axis=1)
    values = values.reshape(-1, count, len(LEVELS))
    spread = (values[:, :, -1] - values[:, :, 0]) / (2 * OUTER)
    return Quantiles(
        coin=ordered["coin"].to_numpy().astype(np.str_)[::count],
        issued_at=ordered["bar"].to_numpy()[::count] * contest.setting.bar_us,
        values=values,
        volatility=spread,
        p_up=np.full(spread.shape, 0.5),
    )


# --- scores


def judged_of(contest: Contest, results: Results) -> tuple[ScoreSheet, int]:
    """All contenders on the rows that each of them has a finite forecast for, and how many rows one of them lacks."""
    places = [
        {key: i for i, key in enumerate(found.keys) if np.isfinite(found.values[i]).all()}
        for found in results.quantiles.values()
    ]
    matrix = contest.matrix
    keys = list(zip(matrix.coin_names.tolist(), matrix.issued_at.tolist(), strict=True))
    asked = [i for i, key in enumerate(keys) if any(key in place for place in places)]
    common = [i for i in asked if all(keys[i] in place for place in places)]
    common.sort(key=lambda i: keys[i][1])
    rows = matrix.rows(np.array(common, dtype=np.int64))
    forecasts = {}
    for (name, found), place in zip(results.quantiles.items(), places, strict=True):
        at = np.array([place[keys[i]] for i in common], dtype=np.int64)
        forecasts[name] = _forecast(rows, found.values[at], found.volatility[at], found.p_up[at])
    return judge(rows, forecasts, step=contest.setting.step), len(asked) - len(common)


def pooled_losses(judged: ScoreSheet) -> dict[str, FloatArray]:
    """(n, 1) the mean over the horizons of the loss as a share of rw_empirical's, NaN where a horizon is not known."""
    whole = judged.scored.all(axis=1)
    unit = judged.losses["rw_empirical"][whole].mean(axis=0)
    return {name: np.where(whole, (loss / unit).mean(axis=1), np.nan)[:, None] for name, loss in judged.losses.items()}


def compare(judged: ScoreSheet, one: str, other: str) -> list[tuple[float, DieboldMariano]]:
    """For each horizon, and pooled at the end: how much lower the loss of one is than the other's, and the test."""
    pooled = pooled_losses(judged)
    horizons = judged.rows.horizons.tolist()
    pairs = [(judged.losses[one][:, c], judged.losses[other][:, c], h) for c, h in enumerate(horizons)]
    pairs.append((pooled[one][:, 0], pooled[other][:, 0], max(horizons)))
    found = []
    for a, b, horizon in pairs:
        test = diebold_mariano(a, b, judged.rows.issued_at, horizon=horizon, step=judged.step)
        found.append((1.0 - float(np.nanmean(a) / np.nanmean(b)), test))
    return found


# --- tables


def print_report(contest: Contest, judged: ScoreSheet, results: Results, left_out: int, *, holdout: bool) -> None:
    """Markdown: skill, tests, coverage, what the median costs."""
    window, coins = contest.window, len(np.unique(judged.rows.coin_names))
    seen = f"only the {contest.bars} bars before each origin" if contest.bars else "all bars before each origin"
    print(
        f"{coins} coins, {len(window.origins)} origins {_day(window.first)} to {_day(window.last)}"
        f"{' (the hold-out)' if holdout else ''}, every {contest.setting.step} {contest.setting.unit}, refitted every "
        f"{contest.refit} bars, {seen}; {int(judged.scored[:, 0].sum())} forecasts a horizon"
        f"{f', {left_out} left out because a contender has none' if left_out else ''}.\n"
    )
    scores = {name: score_row(TableRow(judged, name)) for name in (*results.quantiles, *REFERENCES)}
    print_skill(contest.setting, scores)
    headline = next((name for name in HEADLINES if name in results.quantiles), None)
    for name in dict.fromkeys((headline, "lightgbm")):
        if name is not None and name in results.quantiles:
            print_tests(contest.setting, judged, name, list(scores))
    print_coverage(contest.setting, {name: rows for name, rows in scores.items() if name not in REFERENCES})
    print_medians(contest.setting, scores)
    print_volatility(contest.setting, judged, list(results.quantiles))
    if headline is not None:
        print_resolution(contest.setting, judged, headline)
    if results.seconds:
        print("Seconds: " + ", ".join(f"{name} {spent:.0f}" for name, spent in results.seconds.items()))


def print_skill(setting: Setting, scores: Mapping[str, Sequence[HorizonScore]]) -> None:
    """CRPS against rw_empirical, the best first."""
    table = {
        name: [100 * (1 - row.crps[name] / row.crps["rw_empirical"]) for row in rows] for name, rows in scores.items()
    }
    _head("skill, %", setting, "pooled")
    for name in sorted(table, key=lambda name: -float(np.mean(table[name]))):
        print(f"| {name} | " + " | ".join(f"{s:.2f}" for s in table[name]) + f" | {np.mean(table[name]):.2f} |")
    print()


def print_tests(setting: Setting, judged: ScoreSheet, name: str, contenders: Sequence[str]) -> None:
    """Skill of one contender over each other, with the one-sided p of being better."""
    _head(f"{name} over, % (p better)", setting, "pooled")
    for other in contenders:
        if other == name:
            continue
        cells = []
        for lower, test in compare(judged, name, other):
            p = "too few" if test.p_better is None else f"{test.p_better:.3f}"
            worse = " **worse**" if test.p_worse is not None and test.p_worse < 0.05 else ""
            cells.append(f"{100 * lower:+.2f} ({p}){worse}")
        print(f"| {other} | " + " | ".join(cells) + " |")
    print()


def print_coverage(setting: Setting, scores: Mapping[str, Sequence[HorizonScore]]) -> None:
    """Coverage with standard errors, and the distance from nominal in them; then how many are far off."""
    _head("coverage, % (se; distance in se)", setting, "mean")
    for name, rows in scores.items():
        distances = []
        for percent in INTERVALS:
            found = [next(c for c in row.coverage if c.percent == percent) for row in rows]
            distances += [(cell.share - percent / 100) / cell.se for cell in found]
            cells = [
                f"{100 * cell.share:.1f} ({100 * cell.se:.1f}; {distance:+.1f})"
                for cell, distance in zip(found, distances[-len(found) :], strict=True)
            ]
            print(f"| {name} {percent} | " + " | ".join(cells) + f" | {100 * np.mean([c.share for c in found]):.1f} |")
        two, three = (int(np.sum(np.abs(distances) > limit)) for limit in (2.0, 3.0))
        print(f"| {name}: of {len(distances)} cells beyond 2 se | {two}, beyond 3 se {three} |" + " |" * len(rows))
    print()


def print_medians(setting: Setting, scores: Mapping[str, Sequence[HorizonScore]]) -> None:
    """MAPE of the median, and how much of it is lost against the last price."""
    _head("MAPE of the median, % (above the last price's, %)", setting)
    for name, rows in scores.items():
        cells = []
        for row in rows:
            own, still = row.mape or float("nan"), row.mape_random_walk or float("nan")
            cells.append(f"{100 * own:.2f} ({100 * (own / still - 1):+.2f})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def print_volatility(setting: Setting, judged: ScoreSheet, contenders: Sequence[str]) -> None:
    """How much lower than har's the loss of each predicted volatility is, in hundredths of QLIKE, with the p of it.

    Realised is the sum of the variances of the horizon's bars, from their ranges where those are known.
    """
    if "har" not in contenders:
        return
    rows = judged.rows
    losses = {name: _volatility_loss(judged, name) for name in contenders}
    _head("volatility: QLIKE below har's, hundredths (p better)", setting)
    for name, loss in losses.items():
        if name == "har":
            continue
        cells = []
        for column, horizon in enumerate(setting.horizons):
            ours, hars = loss[:, column], losses["har"][:, column]
            test = diebold_mariano(ours, hars, rows.issued_at, horizon=horizon, step=judged.step)
            p = "too few" if test.p_better is None else f"{test.p_better:.3f}"
            cells.append(f"{100 * float(np.nanmean(hars - ours)):+.1f} ({p})")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def _volatility_loss(judged: ScoreSheet, name: str) -> FloatArray:
    """(n, H) QLIKE, NaN where the realised variance is not known or is 0."""
    rows, predicted = judged.rows, judged.forecasts[name].volatility
    realised = rows.variance * rows.horizons
    loss = np.full(realised.shape, np.nan)
    known = judged.scored & np.isfinite(realised) & (realised > 0)
    loss[known] = qlike(realised[known], predicted[known])
    return loss


def qlike(realised: FloatArray, volatility: FloatArray) -> FloatArray:
    """log(v^2) + realised / v^2, lower is better: ranks volatilities (n,) as the true variance would, however noisy the
    realised variances (n,) are. Source: Patton, Journal of Econometrics 160 (2011)."""
    loss: FloatArray = np.log(volatility**2) + realised / volatility**2
    return loss


def print_resolution(setting: Setting, judged: ScoreSheet, name: str) -> None:
    """The smallest true advantage that this many origins show in four cases of five, one test at 5 %."""
    pooled = pooled_losses(judged)
    _head(f"{name}: skill that could have been shown, %", setting, "pooled")
    for other in REFERENCES:
        pairs = [(judged.losses[name][:, c], judged.losses[other][:, c], h) for c, h in enumerate(setting.horizons)]
        pairs.append((pooled[name][:, 0], pooled[other][:, 0], max(setting.horizons)))
        cells = []
        for a, b, horizon in pairs:
            least = smallest_effect(a, b, judged.rows.issued_at, horizon=horizon, step=judged.step).skill
            cells.append("too few" if least is None else f"{100 * least:.2f}")
        print(f"| {other} | " + " | ".join(cells) + " |")
    print()


def _head(title: str, setting: Setting, *more: str) -> None:
    columns = [*(f"{h} {setting.unit}" for h in setting.horizons), *more]
    print(f"| {title} | " + " | ".join(columns) + " |\n| --- |" + " --- |" * len(columns))


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _day(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds / 1e6, tz=UTC):%Y-%m-%d}"


if __name__ == "__main__":
    main()
