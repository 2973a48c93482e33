from pathlib import Path

import pytest

from cryptocast.config import Config, DataConfig, StoreConfig
from cryptocast.errors import DataError
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.market_data.candle_history import CandleHistory, candle_histories
from tests.workflows.lifecycle.live_bars import BARS, CANDLES, live_bars


def test_the_last_bars_are_those_of_the_store(tmp_path: Path) -> None:
    context = live_bars(tmp_path, live=0)
    history = candle_histories(context, Selection(("bitcoin",)).resolved(context.config), 5)["bitcoin"]
    assert isinstance(history, CandleHistory)
    assert [row.close_time for row in history.candles] == CANDLES["close_time"][BARS - 5 :].to_list()
    assert [row.high for row in history.candles] == CANDLES["high"][BARS - 5 :].to_list()
    assert not history.stale


def test_without_a_store_the_sample_stands_in_and_nothing_is_fetched(tmp_path: Path) -> None:
    context = Context(Config(store=StoreConfig(path=tmp_path), data=DataConfig(exchanges=())))
    histories = candle_histories(context, Selection(("bitcoin", "dogecoin")).resolved(context.config), 1)
    sample = histories["bitcoin"]
    assert isinstance(sample, CandleHistory)
    assert (sample.source, sample.stale, len(sample.candles)) == ("sample", True, 1)
    missing = histories["dogecoin"]
    assert isinstance(missing, DataError)
    with pytest.raises(DataError, match="no daily candles of dogecoin in usd"):
        raise missing
