"""The hold-out of a fit that was made elsewhere, made again here: on the bars of this store after its last one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

import numpy as np

from cryptocast.errors import CryptocastError
from cryptocast.evaluation.records import HoldOut, HorizonScore
from cryptocast.evaluation.scores import ModelColumn, TableRow, judge, score_row
from cryptocast.features.market import BITCOIN
from cryptocast.features.matrix import Matrix
from cryptocast.models.baseline import BaselineLearner
from cryptocast.models.calibrated import CalibratedForecaster
from cryptocast.registry import Version
from cryptocast.workflows.coin_pool import CoinPool, choice_of, gather, pool_rows, widen
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.feature_sets import feature_set_of

Scores: TypeAlias = tuple[HorizonScore, ...]


def local_hold_outs(
    context: Context, model: CalibratedForecaster, versions: Sequence[Version]
) -> tuple[dict[str, HoldOut], dict[str, str]]:
    """The hold-outs of versions of one fit by coin, and by coin why there is none.

    Scored as a training scores: every bar after the last one that the fit saw, against a baseline that knows no more
    than it. There must be `gate.min_live` of them whose outcome is known. The candles are fetched if the store lacks
    them. Raises ModelError if the features are not those of the fit.
    """
    fit = versions[0].manifest
    features = feature_set_of(versions[0], context.config)
    coins = tuple(version.key.coin for version in versions)
    request = Selection(coins, choice_of(fit.source), fit.vs, fit.granularity).resolved(context.config)
    try:
        (pool,) = gather(context, request, pool=())
    except CryptocastError as error:
        return {}, {coin: str(error) for coin in coins}
    near = {*coins, BITCOIN} if fit.learned_in_parts else {data.coin for data in fit.coins}
    own = [data.coin for data in fit.coins if data.coin in near]
    whole = widen(context, request, pool, own)
    members = [coin for coin in own if coin in whole.bars]
    whole = replace(whole, bars={coin: whole.bars[coin] for coin in members})
    matrix = pool_rows(whole, features, fit.horizons).matrix
    last_bar = max(data.last for data in fit.coins)
    scored: dict[str, HoldOut] = {}
    why_not = {error.coin: error.error for error in pool.left_out}
    for version in versions:
        if version.key.coin not in whole.bars:
            continue
        row = _scored(matrix, model, version, last_bar)
        dates = 0 if row is None else _own_dates(row)
        if dates < context.config.gate.min_live:
            why_not[version.key.coin] = (
                f"{dates} bars after {last_bar:%Y-%m-%d %H:%M}, the last that its fit saw, have a known outcome, and "
                f"{context.config.gate.min_live} are needed (gate.min_live)"
            )
        elif row is not None:
            scored[version.key.coin] = _hold_out(whole, version.key.coin, last_bar, score_row(row))
    return scored, why_not


def _scored(matrix: Matrix, model: CalibratedForecaster, version: Version, last_bar: datetime) -> TableRow | None:
    """The version beside the baseline on the bars after the last one that its fit saw; None: no outcome is known."""
    until = round(last_bar.timestamp() * 1_000_000)
    rows = matrix.rows((matrix.coin_names == version.key.coin) & (matrix.issued_at > until))
    fallbacks: Mapping[str, str] = version.calibration.state.get("baseline_at", {})
    reasons = {int(horizon): reason for horizon, reason in fallbacks.items()}
    if len(rows) == 0 or not np.isfinite(rows.outcomes).any():
        return None
    baseline = BaselineLearner().fit(matrix.known_at(until)).predict(rows)
    forecast = model.predict(rows, baseline_at=tuple(reasons))
    return TableRow(judge(rows, {"baseline": baseline, model.kind: forecast}, step=1), model.kind, reasons)


def _own_dates(row: TableRow) -> int:
    """The most dates that it has at any horizon that it answers itself."""
    cells = [ModelColumn(row.sheet, row.name, column) for column in range(len(row.sheet.rows.horizons))]
    return max((len(np.unique(cell.dates)) for cell in cells if cell.horizon not in row.fallbacks), default=0)


def _hold_out(pool: CoinPool, coin: str, last_bar: datetime, scores: Scores) -> HoldOut:
    closes = pool.bars[coin].candles.frame["close_time"]
    return HoldOut(
        start=closes.filter(closes > last_bar).to_list()[0],
        end=pool.bars[coin].candles.provenance.last,
        coins=(coin,),
        horizons=scores,
    )
