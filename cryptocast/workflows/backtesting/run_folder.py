"""Backtests on disk: a folder `runs/<id>` for each, with what was asked, the raw forecasts as they end, and the result.

The id is the hash of everything that decides the numbers, so the same question finds its own unfinished work, and a
question that differs in anything starts anew.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import polars as pl

from cryptocast.arrays import Int64Array
from cryptocast.choices import Granularity
from cryptocast.config import Config
from cryptocast.data.parquet import write_atomically
from cryptocast.data.tables import read_noted, write_noted
from cryptocast.errors import DataError, ModelError
from cryptocast.evaluation.plan import Block
from cryptocast.evaluation.stored import read_stored
from cryptocast.evaluation.walk_forward import RawForecasts
from cryptocast.features.matrix import Matrix
from cryptocast.kinds import KINDS
from cryptocast.models.base import Forecast, Rounds
from cryptocast.number_format import count
from cryptocast.registry import CoinData, SeriesData
from cryptocast.registry.references import nearest
from cryptocast.scoring.quantiles import LEVELS
from cryptocast.workflows.reports import BacktestReport

log = logging.getLogger(__name__)

RUNS: Final = "runs"
MANIFEST: Final = "manifest.json"
RESULT: Final = "result.json"
BLOCKS: Final = "blocks"
ID_DIGITS: Final = 16
OF_KINDS: Final = tuple(name for name in Config.__struct_fields__ if name in KINDS)
SECTIONS: Final = ("features", "split", "train", *OF_KINDS, "backtest")
# The feature file is in the manifest by the hash of what it gives.
SPEED_ONLY: Final = (
    ("features", "file"),
    ("train", "threads"),
    ("train", "audit"),
    ("train", "models"),
    ("backtest", "models"),
)
Q: Final = tuple(f"q{level:.3f}" for level in LEVELS.tolist())


# What a file may be that a disk has damaged: no table, or one that says impossible things.
DAMAGE: Final = (
    *(DataError, ModelError, ValueError, LookupError, TypeError, AttributeError),
    *(msgspec.MsgspecError, pl.exceptions.PolarsError),
)


class RunManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to repeat a backtest. Everything above `created_at` is in the id."""

    schema: Literal["cryptocast.run/1"] = "cryptocast.run/1"
    mode: str
    source: str
    vs: str
    granularity: Granularity
    named: tuple[str, ...]
    coins: tuple[CoinData, ...]  # the pool, named coins first
    series: Mapping[str, SeriesData] = {}
    models: tuple[str, ...]
    horizons: tuple[int, ...]
    plan: Mapping[str, int]  # of WalkPlan, microseconds and bars; empty for a hold-out
    settings: Mapping[str, Any]  # the sections that decide the numbers
    feature_hash: str
    model_code: str | msgspec.UnsetType = msgspec.UNSET  # of models of the user's own: the hash of their file
    seed: int
    code_version: str
    libraries: Mapping[str, str]
    python: str
    platform: str
    created_at: datetime

    @property
    def run_id(self) -> str:
        """The same for the same question on the same data by the same code."""
        question = {name: value for name, value in msgspec.to_builtins(self).items() if name != "created_at"}
        return hashlib.sha256(msgspec.json.encode(question, order="sorted")).hexdigest()[:ID_DIGITS]


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of a run. digests: of the forecasts of each model, see `digest_of`."""

    schema: Literal["cryptocast.run-result/1"] = "cryptocast.run-result/1"
    report: BacktestReport
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run. What it keeps is written whole or not at all, so that a kill costs a block at most.

    manifest: of a run that may have kept nothing yet; it is written before the first that is kept.
    """

    path: Path
    manifest: RunManifest | None = None

    @classmethod
    def of(cls, store: Path, manifest: RunManifest) -> "RunFolder":
        """The folder of this question below the store; it is made once there is something to keep."""
        return cls(store / RUNS / manifest.run_id, manifest)

    @property
    def run_id(self) -> str:
        """Its name."""
        return self.path.name

    def load(self, block: Block, matrix: Matrix) -> RawForecasts | None:
        """The raw forecasts of a block as they were kept; None if there are none, or none that can be read."""
        path = self._block(block)
        try:
            table = read_noted(path)
            raw = None if table is None else _raw(*table, matrix)
        except DAMAGE as error:
            log.warning("block %s of the run %s is made anew: %s", path.stem, self.run_id, error)
            return None
        if raw is not None and not np.array_equal(raw.row, _rows_of(block, matrix)):
            log.warning("block %s of the run %s is made anew: it holds other rows", path.stem, self.run_id)
            return None
        return raw

    def save(self, block: Block, raw: RawForecasts) -> None:
        """Keep them."""
        note = msgspec.json.encode({"rounds": dict(raw.rounds), "rows": raw.row.tolist()})
        self.keep_manifest()
        write_noted(_table(raw), self._block(block), note)

    def keep_manifest(self) -> None:
        """Write the manifest, unless one is there that can be read. DataError when the disk refuses."""
        if self.manifest is not None and not self._has_manifest():
            write_atomically(self.path / MANIFEST, msgspec.json.format(msgspec.json.encode(self.manifest)))

    def kept_folds(self) -> int:
        """How many refits are there already, and whole."""
        return sum(_is_whole(path) for path in (self.path / BLOCKS).glob("fold-*.parquet"))

    def stored_blocks(self) -> frozenset[int]:
        """The indices of the blocks whose forecasts are there, whole or not; below 0 those before the first fold."""
        names = [path.stem.split("-") for path in (self.path / BLOCKS).glob("*-*.parquet")]
        return frozenset(int(number) if part == "fold" else -int(number) for part, number in names)

    def forget_blocks(self) -> None:
        """Delete the raw forecasts, so that all are made anew. DataError when the disk refuses."""
        try:
            for path in (self.path / BLOCKS).glob("*.parquet"):
                path.unlink()
        except OSError as error:
            raise DataError(
                f"The old forecasts below {self.path} cannot be deleted: {error}. Check its rights."
            ) from error

    def keep_result(self, result: "RunResult") -> None:
        """What came out."""
        self.keep_manifest()
        write_atomically(self.path / RESULT, msgspec.json.format(msgspec.json.encode(result)))

    def result(self) -> "RunResult | None":
        """What came out; None while the run has not ended."""
        path = self.path / RESULT
        try:
            return read_stored(path.read_bytes(), RunResult) if path.is_file() else None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read: {error}. Delete it and run the backtest again.") from error

    @property
    def is_finished(self) -> bool:
        """Whether it has a result."""
        return (self.path / RESULT).is_file()

    def finished(self) -> "RunResult":
        """What came out. DataError while the run has not ended, and if it cannot be read."""
        result = self.result()
        if result is None:
            raise DataError(
                f"The run {self.run_id} has not ended: {count(self.kept_folds(), 'refit')} of it are there. To go on"
                " with it, give the same command again."
            )
        return result

    def _has_manifest(self) -> bool:
        """Whether one is there that can be read: a damaged one is written again."""
        try:
            read_manifest(self.path, self.path.parent)
        except DataError:
            return False
        return True

    def _block(self, block: Block) -> Path:
        return self.path / BLOCKS / f"{'before' if block.index < 0 else 'fold'}-{abs(block.index):04d}.parquet"


def deciding_settings(config: Config) -> dict[str, Any]:
    """The sections of the settings that decide the numbers of a backtest, without what only decides its speed."""
    sections = {name: msgspec.to_builtins(getattr(config, name)) for name in SECTIONS}
    for section, key in SPEED_ONLY:
        sections[section].pop(key)
    return sections


def read_manifest(path: Path, store: Path) -> tuple[RunManifest, RunFolder]:
    """The manifest of a run, given as its file, its folder, or its id below the store.

    DataError if there is none or it cannot be read.
    """
    if not path.exists() and path.name == str(path):
        path = store / RUNS / path
    file = path / MANIFEST if path.is_dir() else path
    try:
        return msgspec.json.decode(file.read_bytes(), type=RunManifest), RunFolder(file.parent)
    except FileNotFoundError:
        raise DataError(f"There is no run at {path}. {_known(path.name, store)}") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no manifest of a run: {error}.") from error


def newest_runs(store: Path) -> list[Path]:
    """The folders that have a manifest, the one that was begun last first."""
    files = sorted((store / RUNS).glob(f"[!.]*/{MANIFEST}"), key=lambda file: file.stat().st_mtime, reverse=True)
    return [file.parent for file in files]


def _known(name: str, store: Path) -> str:
    """The runs that there are, the nearest by name first."""
    names = [path.name for path in newest_runs(store)]
    close = nearest(name, names)
    there = f"There are, newest first: {', '.join(names[:5])}." if names else "Record one: cryptocast backtest."
    return f"Did you mean {close}? {there}" if close else there


def digest_of(forecasts: Mapping[str, Forecast]) -> dict[str, str]:
    """sha256 over the bytes of each model's quantiles: equal only if the forecasts are, bit for bit."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(forecast.values).tobytes()).hexdigest()
        for name, forecast in forecasts.items()
    }


def _table(raw: RawForecasts) -> pl.DataFrame:
    parts = []
    for name, forecast in raw.forecasts.items():
        h = len(forecast.horizons)
        quantiles = forecast.values.reshape(-1, len(forecast.levels))
        columns: dict[str, Any] = {
            "model": [name] * (len(raw.row) * h),
            "volatility": forecast.volatility.reshape(-1),
            "p_up": forecast.p_up.reshape(-1),
        }
        parts.append(pl.DataFrame({**columns, **{q: quantiles[:, i] for i, q in enumerate(Q)}}))
    return pl.concat(parts) if parts else pl.DataFrame(schema={"model": pl.String})


def _is_whole(path: Path) -> bool:
    try:
        return read_noted(path) is not None
    except DAMAGE:
        return False


def _rows_of(block: Block, matrix: Matrix) -> Int64Array:
    """The rows of the matrix that a block forecasts."""
    return np.flatnonzero((matrix.issued_at >= block.begin) & (matrix.issued_at < block.end)).astype(np.int64)


def _raw(frame: pl.DataFrame, note: bytes, matrix: Matrix) -> RawForecasts:
    facts = msgspec.json.decode(note)
    row = np.array(facts["rows"], dtype=np.int64)
    rows = matrix.rows(row)  # an index that is out of bounds is refused here
    shape = (len(row), len(matrix.horizons))
    forecasts = {}
    for (name,), part in frame.partition_by("model", as_dict=True, maintain_order=True).items():
        forecasts[str(name)] = Forecast(
            coin=rows.coin_names,
            issued_at=rows.issued_at,
            price=rows.price,
            horizons=rows.horizons,
            levels=LEVELS,
            values=part.select(Q).to_numpy().reshape(*shape, len(LEVELS)),
            volatility=part["volatility"].to_numpy().reshape(shape),
            p_up=part["p_up"].to_numpy().reshape(shape),
        )
    return RawForecasts(row, forecasts, msgspec.convert(facts["rounds"], dict[str, Rounds]))
