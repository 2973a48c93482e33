"""HTTP over the workflows' forecast: a Starlette app, and the server that runs it.

In: a `Context` and, from the environment by way of the caller, a token. Out: `/forecasts`, `/prices`, `/models`,
health, metrics and a page, errors as problem documents (RFC 9457). The way of a request: `server` (uvicorn, slow
clients, the end) > `front` (limits, token, finished answers) > `app` > `answers` > `ladder` > the workflows' forecast.
Beside it run the `refresher` (bars at their close, promotions) and `bars` (the only place that fetches candles).

It never computes on the event loop, never computes the same forecast twice at a time, never waits for the upstream
where the store can answer, never listens beyond this machine without a token unless told to, and never shows a stack
trace.
"""

from cryptocast.serving.app import create_app
from cryptocast.serving.server import run

__all__ = ["create_app", "run"]
