"""HTTP over the workflows: a Starlette app, and the server that runs it.

In: a `Context` and, from the environment by way of the caller, a token. Out: `/forecasts`, `/paths`, `/prices`,
`/models`, health, metrics and a page, errors as problem documents (RFC 9457). The way of a request: `server` (uvicorn,
slow clients, the end) > `front` (limits, token, finished answers) > `app` (routes, errors) > `endpoints` (what each
path does, and the one table of them) > `forecast_cache` > the workflows' ladder. `wiring` makes every part and opens
what runs beside the requests, all of it in workflows: the refresher (bars at their close, promotions), the watch over
the store, and the fetching of candles and prices. What ends what is kept in memory stands in
`workflows.market_data.store_watch`.

It never computes on the event loop, never computes the same forecast twice at a time, never waits for the upstream
where the store can answer, never listens beyond this machine without a token unless told to, and never shows a stack
trace.
"""

from cryptocast.serving.app import create_app
from cryptocast.serving.server import run

__all__ = ["create_app", "run"]
