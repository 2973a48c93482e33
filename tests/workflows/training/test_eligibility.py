"""Which coins are trained now, and what is said of the others."""

from datetime import timedelta
from pathlib import Path

import pytest

from cryptocast.config import Config, StoreConfig
from cryptocast.data.age import Age
from cryptocast.data.sources.sample import load_sample
from cryptocast.market import Market
from cryptocast.workflows.coin_pool import CoinPool
from cryptocast.workflows.context import Context
from cryptocast.workflows.market_data.resolve import CoinCandles
from cryptocast.workflows.training.eligibility import due, few_bars_notes
from tests.registry.registry_fits import NOW, register

WEEK = timedelta(days=7)


def pool(bars: int = 400) -> CoinPool:
    """Bitcoin and ethereum with so many bars."""
    candles = {coin: load_sample(coin) for coin in ("bitcoin", "ethereum")}
    last = candles["bitcoin"].provenance.last
    age = Age(last, last, has_ended=True, stale=False, late=0)
    short = {coin: CoinCandles(type(one)(one.frame.tail(bars), one.provenance), age) for coin, one in candles.items()}
    return CoinPool(Market("sample", "usd", "daily"), tuple(short), short, ())


@pytest.mark.parametrize(
    ("days", "named"), [(6.0, ("ethereum",)), (6.5, ("bitcoin", "ethereum")), (8.0, ("bitcoin", "ethereum"))]
)
def test_a_coin_is_due_a_tenth_before_its_version_is_so_old(
    tmp_path: Path, days: float, named: tuple[str, ...]
) -> None:
    at = NOW + timedelta(days=days)
    context = Context(Config(store=StoreConfig(path=tmp_path)), wall_clock=lambda: at)
    register(context.registry())
    left, notes = due(context, pool(), ("baseline", "lightgbm"), (1, 7), WEEK)
    assert left.named == named
    assert len(notes) == 2 - len(named)
    assert due(context, pool(), ("baseline", "lightgbm"), (1, 30), WEEK)[0].named == ("bitcoin", "ethereum")


def test_what_few_bars_cannot_show_is_said_of_each_coin_and_many_bars_need_no_word() -> None:
    notes = few_bars_notes(pool(400), (1, 30), 5)
    assert [note.split(" ", 1)[0] for note in notes if "daily bars" in note] == ["bitcoin", "ethereum"]
    assert "56.2 % right" in notes[0]
    assert few_bars_notes(pool(1500), (1, 30), 5) == []
