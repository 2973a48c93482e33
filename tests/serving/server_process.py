"""A server in a process of its own, as a user has it: `python server_process.py forecast STORE` or `... fake SECONDS`.

`forecast` serves the workflows' forecast with no upstream to be reached; `fake` a made-up one that takes its time.
"""

import logging
import sys
from pathlib import Path

from cryptocast.config import CoinGeckoConfig, Config, StoreConfig
from cryptocast.serving import create_app, run
from cryptocast.serving.server import listen, serve
from cryptocast.workflows.context import Context
from tests.serving.serving_app import FakeForecast, context

# A port of this machine that nobody listens on: refused at once, as on a machine without a network.
NOWHERE = "http://127.0.0.1:9/api/v3"


def announce(address: str) -> None:
    """The first line of the output."""
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()


def main(kind: str, value: str) -> None:
    logging.basicConfig(level=logging.INFO)
    if kind == "forecast":
        config = Config(store=StoreConfig(path=Path(value)), coingecko=CoinGeckoConfig(base_url=NOWHERE))
        run(Context(config), port=0, announce=announce)
    else:
        app = create_app(context(), forecast=FakeForecast(takes_s=float(value)), stamp=lambda: 0)
        serve(app, listen("127.0.0.1", 0), announce=announce)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
