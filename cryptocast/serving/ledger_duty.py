"""The leader's duty with every bar: outcomes and forecasts into the ledger, in the thread that forecasts."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial

import msgspec

from cryptocast.config import Config, Granularity
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.table import SOURCES
from cryptocast.errors import CryptocastError, DataError
from cryptocast.market import Market
from cryptocast.serving.forecast_cache import Answers
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import ForecastMaker
from cryptocast.workflows.lifecycle.live_scoring import judge, record

__all__ = ["judge_versions", "record_bars", "served_series"]

log = logging.getLogger(__name__)


async def record_bars(answers: Answers, forecaster: ForecastMaker, coins: Sequence[str]) -> None:
    """One coin after the other, so that whoever asks for a forecast meanwhile waits for one at most."""
    context = forecaster.context
    data = context.config.data
    for coin in coins:
        selection = Selection((coin,), data.source, data.vs, data.granularity, stored=True)
        try:
            noted = await answers.run(partial(record, context, selection, forecaster=forecaster))
        except DataError as error:
            log.info("nothing of %s was recorded: %s", coin, error)  # as on an empty machine
            continue
        except CryptocastError as error:
            # A busy queue, a disk that refuses: the next bar brings the next try.
            log.warning("nothing of %s was recorded: %s", coin, error)
            continue
        for said in noted.errors:
            log.warning("not recorded: %s", said)
        if noted.written or noted.matured:
            log.info("%s: %d forecasts recorded, %d matured", coin, noted.written, noted.matured)


async def judge_versions(context: Context, coins: Sequence[str]) -> None:
    """How the versions of these coins do live, for their marks and the metrics; in a thread of its own, one by one."""
    data = context.config.data
    for coin in coins:
        selection = Selection((coin,), data.source, data.vs, data.granularity, stored=True)
        try:
            await asyncio.to_thread(judge, context, selection)
        except CryptocastError as error:
            log.info("no version of %s was judged: %s", coin, error)


def served_series(answers: Answers, config: Config) -> Iterable[SeriesKey]:
    """The series that the store may have for what was answered lately, and for the configured coins."""
    data = config.data
    asked: dict[tuple[str, Granularity, str], None] = dict.fromkeys((data.vs, data.granularity, c) for c in data.coins)
    for made in answers.newest():
        asked[made.vs, msgspec.convert(made.granularity, Granularity), made.coin] = None
    stored = [source.name for source in SOURCES.values() if source.kept_in_store]
    return [SeriesKey(Market(source, vs, granularity), coin) for vs, granularity, coin in asked for source in stored]
