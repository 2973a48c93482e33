from pathlib import Path

import msgspec
import pytest

from cryptocast.registry import VersionKey
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.lifecycle.track_record import track_record
from tests.workflows.lifecycle.live_bars import BARS, CANDLES, MARKET, live_bars


def test_past_forecasts_stand_beside_the_price_that_came(tmp_path: Path) -> None:
    context = live_bars(tmp_path)
    (now,) = forecast(context, Request(Selection(("bitcoin",), stored=True), model="baseline")).forecasts
    track = track_record(context, now, levels=(80, 95), horizons=(1, 7), last=5)
    closes = dict(zip(CANDLES["close_time"], CANDLES["close"], strict=True))

    assert (track.coin, track.model_used, track.version, track.versions) == ("bitcoin", "baseline", None, ())
    assert [(score.horizon, score.bars) for score in track.scores] == [(1, 12), (7, 6)]
    by_horizon = {h: [one for one in track.forecasts if one.horizon == h] for h in (1, 7)}
    assert [len(rows) for rows in by_horizon.values()] == [5, 5]
    assert [row.target_time for row in by_horizon[1]] == CANDLES["close_time"][BARS - 5 :].to_list()
    for row in track.forecasts:
        assert row.outcome == pytest.approx(closes[row.target_time])
        assert row.price == pytest.approx(closes[row.issued_at])
        assert row.version is None
        narrow, wide = row.intervals
        assert wide.lower < narrow.lower < row.median < narrow.upper < wide.upper


def test_the_shares_are_those_of_the_rows(tmp_path: Path) -> None:
    context = live_bars(tmp_path)
    (now,) = forecast(context, Request(Selection(("bitcoin",), stored=True), model="baseline")).forecasts
    track = track_record(context, now, levels=(80,), horizons=(1,), last=100)
    inside = [row.intervals[0].lower <= row.outcome <= row.intervals[0].upper for row in track.forecasts]
    assert track.scores[0].coverage[0].share == pytest.approx(sum(inside) / len(inside))


def test_of_a_version_that_has_said_nothing_live_the_record_is_empty(tmp_path: Path) -> None:
    context = live_bars(tmp_path, live=1)
    (now,) = forecast(context, Request(Selection(("bitcoin",), stored=True), model="baseline")).forecasts
    other = msgspec.structs.replace(now, model_used="lightgbm", version=3)
    track = track_record(context, other, levels=(80,), horizons=(1,), last=10)
    assert (track.scores, track.forecasts, track.versions) == ((), (), ())
    assert context.registry().matured(VersionKey("bitcoin", MARKET, "baseline"), 0)
