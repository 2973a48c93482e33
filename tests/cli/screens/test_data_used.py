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


def test_of_many_series_and_many_that_are_left_out_the_first_are_named_and_the_others_counted() -> None:
    console = Console(width=100, record=True)
    rows = [msgspec.structs.replace(BITCOIN, coin=f"coin{number}") for number in range(27)]
    errors = [CoinError(coin=f"other{number}", error="too short") for number in range(1234)]
    for line in (*data_sheet(rows, "daily", "usd", coins=1027), *left_out_lines(errors)):
        console.print(line)
    text = console.export_text()
    assert ("coin19" in text, "coin20" in text) == (True, False)
    assert "and 1,007 more coins" in text
    assert text.count("Left out: other") == 10
    assert "Left out: 1,224 more; --json names all of them" in text
