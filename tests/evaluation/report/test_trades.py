"""The section on strategies: costs in words, and only the tables that have something in them."""

from dataclasses import replace

import msgspec
import pytest

from cryptocast.evaluation.report import trades
from cryptocast.evaluation.report.report_data import ReportPage
from tests.evaluation.report.demo import demo_page


@pytest.fixture(scope="module")
def page() -> ReportPage:
    return demo_page(coins=1, origins=4)


def test_costs_and_chances_are_told(page: ReportPage) -> None:
    section = trades.trading(page)
    assert section is not None
    assert "Each trade costs 15 bps of its value (10 fee, 5 slippage). A year has 365 bars." in section.body
    assert "PBO by CSCV over 16 configurations" in section.body
    assert "Break-even" in section.body
    assert ">DSR<" in section.body


def test_what_a_record_lacks_has_no_heading(page: ReportPage) -> None:
    assert page.trading is not None
    rows = tuple(msgspec.structs.replace(row, dsr=None) for row in page.trading.record.rows)
    record = msgspec.structs.replace(
        page.trading.record, rows=rows, costs=(), delays=(), paths=(), trials=None, pbo=None
    )
    section = trades.trading(replace(page, trading=replace(page.trading, record=record, curves=())))
    assert section is not None
    for heading in ("Break-even", "One bar late", "luck", "Other paths", ">DSR<", "<svg"):
        assert heading not in section.body
    assert trades.trading(replace(page, trading=None)) is None
