"""A server in a process of its own, as a user has it: `python server_process.py KIND VALUE [SETTINGS]`.

`forecast STORE` serves the workflows' forecast with no upstream to be reached, `upstream STORE` with the one whose
address stands in UPSTREAM, `bitcoin STORE` as `forecast` but for one coin; `fake SECONDS` a made-up one that takes its
time, at the address HOST, with made-up live prices. SETTINGS: those of [serve], as JSON. TOKEN: that of readers.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from cryptocast.config import CoinGeckoConfig, Config, DataConfig, ServeConfig, StoreConfig, TrainConfig
from cryptocast.data.sources.coingecko.simple_price import Quote
from cryptocast.net import Parts
from cryptocast.serving import create_app, run
from cryptocast.serving.server import listen, serve
from cryptocast.workflows.context import Context
from tests.serving.serving_app import FakeForecast, config, context

# A port of this machine that nobody listens on: refused at once, as on a machine without a network.
NOWHERE = "http://127.0.0.1:9/api/v3"


def announce(address: str) -> None:
    """The first line of the output."""
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


async def quotes(_vs: str, coins: Sequence[str], _timeout_s: float) -> Parts[Quote]:
    """A live price of each coin."""
    return Parts({coin: Quote(price=64_321.0, change_24h_pct=-1.25) for coin in coins}, {})


def main(kind: str, value: str, settings: str = "{}") -> None:
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO"))
    serving = msgspec.json.decode(settings, type=ServeConfig)
    if kind == "fake":
        short = msgspec.structs.replace(serving, lame_duck_s=serving.lame_duck_s if "lame" in settings else 0.3)
        made_up = msgspec.structs.replace(config(), serve=short)
        forecast, token = FakeForecast(takes_s=float(value)), os.environ.get("TOKEN")
        app = create_app(context(made_up), forecast=forecast, stamp=lambda: 0, token=token, ask_prices=quotes)
        serve(app, listen(os.environ.get("HOST", "127.0.0.1"), 0), announce=announce)
        return
    address = os.environ["UPSTREAM"] if kind == "upstream" else NOWHERE
    key = os.environ.get("API_KEY")
    plan: Literal["keyless", "demo"] = "keyless" if key is None else "demo"
    calls = CoinGeckoConfig(base_url=address, plan=plan, calls_per_minute=100_000, read_timeout_s=2.0, deadline_s=4.0)
    data = DataConfig(coins=("bitcoin",), exchanges=()) if kind == "bitcoin" else DataConfig(exchanges=())
    # A soak asks for coins without end, which no server does for those that it is not set up for.
    pool = TrainConfig(
        pool=tuple(f"coin-{number:03}" for number in range(200)) if kind == "upstream" else (),
        # Where forecasts are counted: the shipped model becomes a version with the first of them, which is a change.
        pretrained="none" if kind == "bitcoin" else "shipped",
    )
    given = Config(store=StoreConfig(path=Path(value)), coingecko=calls, serve=serving, data=data, train=pool)
    token, admin = os.environ.get("TOKEN"), os.environ.get("ADMIN_TOKEN")
    run(Context(given, api_key=key), port=0, announce=announce, token=token, admin_token=admin)


if __name__ == "__main__":
    main(*sys.argv[1:])
