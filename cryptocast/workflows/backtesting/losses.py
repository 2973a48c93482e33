"""What each forecast of a walk lost, kept beside the run: two recipes can be compared on it long after."""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from cryptocast.data.tables import read_noted, write_noted
from cryptocast.errors import DataError
from cryptocast.evaluation.records import Evidence
from cryptocast.evaluation.scores import ScoreSheet
from cryptocast.registry.contest import LossPairs
from cryptocast.scoring.dates import mean_by_date
from cryptocast.scoring.quantiles import covered, interval_columns
from cryptocast.workflows.backtesting.run_folder import RunFolder

FILE: Final = "losses.parquet"
INTERVALS: Final = (80, 95)
ROUNDING: Final = 1e-9  # sums in another order
SAME: Final = ["coin", "issued_at", "horizon"]


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    step: int


def keep_losses(folder: RunFolder, judgement: ScoreSheet, names: Sequence[str]) -> None:
    """A row for each (coin, origin, horizon, model): its CRPS relative to the price at issue, and which intervals held.

    Origins without an outcome are left out. DataError when the disk refuses.
    """
    parts = [_part(judgement, name, column) for name in names for column in range(len(judgement.rows.horizons))]
    write_noted(pl.concat(parts), folder.path / FILE, msgspec.json.encode(_Note(step=judgement.step)))


def _part(judgement: ScoreSheet, name: str, column: int) -> pl.DataFrame:
    keep = judgement.scored[:, column]
    forecast, returns = judgement.forecasts[name], judgement.rows.outcomes[keep, column]
    hits = {}
    for percent in INTERVALS:
        lower, upper = interval_columns(forecast.levels, percent)
        quantiles = forecast.values[keep, column]
        hits[f"in_{percent}"] = covered(returns, quantiles[:, lower], quantiles[:, upper])
    return pl.DataFrame(
        {
            "model": [name] * int(keep.sum()),
            "coin": judgement.rows.coin_names[keep],
            "issued_at": judgement.rows.issued_at[keep],
            "horizon": np.full(int(keep.sum()), int(judgement.rows.horizons[column]), dtype=np.int64),
            "crps": judgement.losses[name][keep, column],
            **hits,
        },
        schema_overrides={"model": pl.String, "coin": pl.String},
    )


def losses_of(folder: RunFolder, evidence: Evidence) -> tuple[pl.DataFrame, int]:
    """The rows of the evidence's kind, and the bars between origins.

    DataError if the run has kept none, or if they are not those that the evidence was counted from.
    """
    path = folder.path / FILE
    table = read_noted(path)
    if table is None:
        raise DataError(
            f"run {folder.run_id} has kept no losses by origin; repeat it: cryptocast rerun {folder.run_id}"
        )
    frame, note = table
    try:
        step = msgspec.json.decode(note, type=_Note).step
        own = frame.filter(pl.col("model") == evidence.kind).select(*SAME, "crps", *(f"in_{p}" for p in INTERVALS))
        _check(own, evidence)
    except (msgspec.MsgspecError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} cannot be read: {error}. Delete it, and repeat the backtest.") from error
    return own, step


def _check(own: pl.DataFrame, evidence: Evidence) -> None:
    """The mean losses are in the evidence, which is hashed: a file that was changed or swapped says other ones."""
    for score in evidence.scores:
        part = own.filter(pl.col("horizon") == score.horizon)
        losses = part["crps"].to_numpy().astype(np.float64)
        mean = float(mean_by_date(losses, part["issued_at"].to_numpy())[1].mean()) if part.height else float("nan")
        recorded = score.crps.get(evidence.kind, float("nan"))
        if part.height != score.n or not abs(mean - recorded) <= ROUNDING * abs(recorded):
            raise DataError(
                f"the losses that run {evidence.run} has kept are not those of its evidence ({part.height} forecasts "
                f"{score.horizon} bars ahead, not {score.n}): they were changed; repeat the backtest"
            )


def paired(
    challenger: pl.DataFrame, production: pl.DataFrame, horizons: Sequence[int], *, step: int
) -> list[LossPairs]:
    """Both on the origins that they share, horizon by horizon, in order of issue."""
    both = challenger.join(production, on=SAME, how="inner", suffix="_production").sort("issued_at", "coin")
    pairs = []
    for horizon in horizons:
        part = both.filter(pl.col("horizon") == horizon)
        hits = {
            percent: (part[f"in_{percent}"].to_numpy(), part[f"in_{percent}_production"].to_numpy())
            for percent in INTERVALS
        }
        pairs.append(
            LossPairs(
                horizon=horizon,
                step=step,
                dates=part["issued_at"].to_numpy().astype(np.int64),
                challenger=part["crps"].to_numpy().astype(np.float64),
                production=part["crps_production"].to_numpy().astype(np.float64),
                hits=hits,
            )
        )
    return pairs
