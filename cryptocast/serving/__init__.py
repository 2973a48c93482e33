"""HTTP over the workflows' forecast: a Starlette app, and the server that runs it.

In: a `Context` and, from the environment by way of the caller, a token. Out: `/forecasts` and `/health` as JSON, errors
as problem documents (RFC 9457). It never computes on the event loop, never computes the same forecast twice at a time,
never listens beyond this machine without a token unless told to, and never shows a stack trace.
"""

from cryptocast.serving.app import create_app
from cryptocast.serving.server import run

__all__ = ["create_app", "run"]
