"""The bars that a report uses: a column for staleness only where something is stale, a notice once."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from rich.console import Console

from cryptocast.cli.screens.data_used import data_sheet, left_out_lines
from cryptocast.workflows.reports import CoinError, DataUsed

TIME = datetime(2020, 1, 17, tzinfo=UTC)
BITCOIN = DataUsed(
    coin="bitcoin", source="sample", rows=1000, first=TIME, last=TIME, content_hash="0", stale=False, notice="a sample"
)


@pytest.mark.parametrize("stale", [True, False])
def test_a_notice_stands_once_and_stale_bars_are_marked(*, stale: bool) -> None:
    console = Console(width=100, record=True)
    rows: Any = [BITCOIN, msgspec.structs.replace(BITCOIN, coin="ethereum", stale=stale)]
    console.print(*data_sheet(rows, "daily", "usd"), *left_out_lines([CoinError(coin="doge", error="too short")]))
    text = console.export_text()
    assert "Data: daily bars in USD" in text
    assert text.count("Note: a sample") == 1
    assert ("stale" in text) is stale
    assert "Left out: doge: too short" in text
