"""A newcomer's task: another source of prices is one module, one struct of settings with its name, and one line.

The package is copied, changed in these three files, and asked to fetch, to train and to serve from the new source.
"""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

SINCE = datetime.now(UTC).date() - timedelta(days=900)
PACKAGE = Path(__file__).resolve().parents[1] / "cryptocast"

MODULE = '''
"""An exchange that pays nobody and trades by a formula."""

import math
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import polars as pl

from cryptocast.config import Config
from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.base import Access, Source
from cryptocast.data.sources.errors import UnknownCoin
from cryptocast.data.sources.upstream import History, Page, Upstream
from cryptocast.net import Priority

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PAIRS = {"bitcoin": "BTC/USD", "ethereum": "ETH/USD"}


class ToySource(Source):
    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy Exchange"
    is_fetched: ClassVar[bool] = True

    def coin_name(self, key: SeriesKey) -> str:
        if key.coin not in PAIRS:
            raise UnknownCoin(f"Toy Exchange trades no {key.coin}.", is_certain=True)
        return PAIRS[key.coin]

    def explain_missing(self, config: Config, key: SeriesKey) -> str:
        return f"Toy Exchange was never asked for {key.coin}."

    def connect(self, access: Access) -> "Toy":
        return Toy(access.config.toy.level)


class Toy(Upstream):
    def __init__(self, level: float) -> None:
        self.level = level

    async def page(
        self, page: Page, now: datetime, *, priority: Priority = Priority.USER, patient: bool = False
    ) -> History:
        pair = TOY.coin_name(page.key)
        self.calls += 1
        bar = timedelta(microseconds=BAR_US[page.key.granularity])
        first, last = (page.start - EPOCH) // bar + 1, (min(page.end, now) - EPOCH) // bar
        rows = []
        for index in range(first, last + 1):
            before, close = self.price(pair, index - 1), self.price(pair, index)
            high, low = max(before, close) * 1.01, min(before, close) * 0.99
            rows.append((page.key.coin, EPOCH + index * bar, before, high, low, close, 1e6, None, True))
        return History(pl.DataFrame(rows, schema=CANDLE_SCHEMA, orient="row"))

    def price(self, pair: str, index: int) -> float:
        phase = len(pair) + ord(pair[0])
        waves = sum(math.sin(index * step + phase) / step for step in (0.011, 0.173, 1.9, 2.71))
        return self.level * math.exp(waves / 100)


TOY = ToySource()
'''

SETTINGS = '''
class ToyConfig(Section, frozen=True, kw_only=True):
    """The toy exchange."""

    level: Annotated[float, Meta(gt=0.0)] = 100.0

    comments: ClassVar[Comments] = {"level": "of its prices"}


class Config('''

DRIVER = """
import asyncio, json, sys
from contextlib import redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path

import httpx

import cryptocast
from cryptocast.cli import main
from cryptocast.config import load_config
from cryptocast.config_text import config_text
from cryptocast.serving import create_app
from cryptocast.workflows.context import Context


def run(*words):
    out = TextIOWrapper(BytesIO(), encoding="utf-8")
    try:
        with redirect_stdout(out):
            main([*words, "--json"])
    except SystemExit as ended:
        assert ended.code == 0, (words, ended.code)
    out.flush()
    return json.loads(out.buffer.getvalue())


async def served():
    app = create_app(Context(load_config(Path("config.toml"))))
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://s") as client:
        answers = [await client.get("/forecasts", params={"ids": coin}) for coin in ("bitcoin", "ethereum", "dogecoin")]
    return [answer.json() for answer in answers]


known = {
    "package": cryptocast.__file__,
    "text": config_text(),
    "fetched": run("fetch", "bitcoin"),
    "again": run("fetch", "bitcoin", "--source", "toy"),
    "listed": run("data", "ls"),
    "trained": run("train", "bitcoin", "--model", "lightgbm"),
    "promoted": run("registry", "promote", "bitcoin", "lightgbm", "1", "--force", "--reason", "waves"),
    "served": asyncio.run(served()),
}
Path("known.json").write_text(json.dumps(known))
"""


def changed(package: Path) -> None:
    """What a newcomer does."""
    (package / "data" / "sources" / "toy.py").write_text(MODULE)
    for path, old, new in (
        ("config.py", 'SourceName: TypeAlias = Literal["', 'SourceName: TypeAlias = Literal["toy", "'),
        ("config.py", "\nclass Config(", SETTINGS),
        (
            "config.py",
            "    coingecko: CoinGeckoConfig = ",
            "    toy: ToyConfig = ToyConfig()\n    coingecko: CoinGeckoConfig = ",
        ),
        ("data/sources/table.py", "        COINGECKO,\n", "        COINGECKO,\n        TOY,\n"),
        ("data/sources/table.py", "\nSOURCES: ", "from cryptocast.data.sources.toy import TOY\n\nSOURCES: "),
    ):
        text = (package / path).read_text()
        assert text.count(old) == 1, old
        (package / path).write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("new-source")
    shutil.copytree(PACKAGE, root / "cryptocast", ignore=shutil.ignore_patterns("__pycache__"))
    changed(root / "cryptocast")
    (root / "driver.py").write_text(DRIVER)
    (root / "config.toml").write_text(
        f'[data]\nsource = "toy"\ncoins = ["bitcoin", "dogecoin"]\nsince = {SINCE}\n[toy]\nlevel = 250.0\n'
        "[train]\naudit = false\n[lightgbm]\nrounds = 20\n[forecast]\ndaily_horizons = [1, 7]\n"
    )
    subprocess.run(
        [sys.executable, "driver.py"], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=True, timeout=300
    )
    found: dict[str, Any] = json.loads((root / "known.json").read_text())
    assert Path(found["package"]).is_relative_to(root)
    return found


def test_a_new_source_is_fetched_from_once(known: dict[str, Any]) -> None:
    (fetched,), (again,) = known["fetched"]["coins"], known["again"]["coins"]
    assert (fetched["source"], fetched["added"], fetched["stale"], fetched["hours"]) == ("toy", 900, False, 0)
    assert known["fetched"]["summary"]["calls"] == 1
    assert (again["added"], again["rows"], known["again"]["summary"]["calls"]) == (0, 900, 0)
    assert [row["source"] for row in known["listed"]["series"]] == ["toy"]


def test_a_model_learns_from_a_new_source(known: dict[str, Any]) -> None:
    assert '"toy"' in json.dumps(known["trained"])


def test_a_new_source_is_served_and_brought_where_it_is_asked_for(known: dict[str, Any]) -> None:
    here, brought, missing = known["served"]
    for coin, answer in (("bitcoin", here), ("ethereum", brought)):
        (forecast,) = answer["forecasts"]
        assert (forecast["coin"], forecast["source"], forecast["stale"]) == (coin, "toy", False)
    assert here["forecasts"][0]["model_used"] == "lightgbm"
    assert "Toy Exchange trades no dogecoin" in json.dumps(missing)


def test_the_settings_of_a_new_source_stand_in_the_text(known: dict[str, Any]) -> None:
    assert "[toy]\nlevel = 100.0  # of its prices\n" in known["text"]
