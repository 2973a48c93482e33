"""The app: what is asked comes in as a query string, goes to `Answers`, and comes back as JSON."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cryptocast.config import Config
from cryptocast.data.coins import shown
from cryptocast.serving.access import BearerGuard
from cryptocast.serving.answers import Answered, Answers, Failed, MakeForecast
from cryptocast.serving.problems import (
    INTERNAL,
    INTERNAL_ERROR,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    ProblemError,
    no_forecast,
    problem_response,
)
from cryptocast.serving.query import coin_requests, parse_forecast_query
from cryptocast.serving.responses import respond
from cryptocast.serving.stamps import Stamp, registry_stamp
from cryptocast.workflows.context import Context
from cryptocast.workflows.documents import CoinError, ForecastDocument
from cryptocast.workflows.forecast import Forecaster

__all__ = ["create_app"]

# Requests of the greatest size that may wait for the one thread that computes.
FULL_REQUESTS_WAITING: Final = 4
ALIVE: Final = b'{"status":"pass"}'


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A ForecastDocument whose forecasts are JSON already."""

    schema: str = ForecastDocument(forecasts=()).schema
    forecasts: tuple[msgspec.Raw, ...]
    errors: tuple[CoinError, ...]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The handlers: decode, call, encode."""

    config: Config
    answers: Answers

    async def forecasts(self, request: Request) -> Response:
        """`GET /forecasts`: a ForecastDocument, if there is at least one coin to answer for."""
        serve = self.config.serve
        query = parse_forecast_query(request.scope["query_string"], max_ids=serve.max_ids)
        asked = coin_requests(query, self.config)
        outcomes = await self.answers.of(asked, timeout_s=serve.request_timeout_s)
        made = tuple(outcome.body for outcome in outcomes if isinstance(outcome, Answered))
        failures = [
            (one.selection.coins[0], outcome.error)
            for one, outcome in zip(asked, outcomes, strict=True)
            if isinstance(outcome, Failed)
        ]
        if not made:
            return problem_response(no_forecast(failures))
        errors = tuple(CoinError(coin=coin, error=str(error)) for coin, error in failures)
        # A promotion may change the answer at any moment: it may be stored, but not used without asking.
        return respond(msgspec.json.encode(Finished(forecasts=made, errors=errors)), cache="no-cache")

    async def health(self, _: Request) -> Response:
        """`GET /health`: the process is alive. Looks at nothing else."""
        return respond(ALIVE, media_type="application/health+json")


def create_app(
    context: Context,
    *,
    forecast: MakeForecast | None = None,
    token: str | None = None,
    stamp: Stamp | None = None,
) -> Starlette:
    """The ASGI app. Nothing runs until its lifespan has begun.

    forecast: makes the document of one coin, in one thread; by default the workflows' Forecaster, which keeps what it
    has loaded. token: asked for by everything but /health. stamp: changes when the registry does, as it is asked for
    with every request; by default read off the registry's file.
    """
    config = context.config
    answers = Answers(
        forecast or Forecaster(context).forecast,
        stamp=stamp or registry_stamp(config.store.path),
        wall_clock=context.wall_clock,
        max_waiting=FULL_REQUESTS_WAITING * config.serve.max_ids,
    )
    endpoints = Endpoints(config, answers)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with answers.opened():
            yield

    app = Starlette(
        routes=[Route("/forecasts", endpoints.forecasts), Route("/health", endpoints.health)],
        middleware=[Middleware(BearerGuard, token=token)] if token is not None else [],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # it would build an address out of the client's Host header
    return app


async def _problem(_: Request, error: Exception) -> Response:
    if not isinstance(error, ProblemError):
        raise error
    return problem_response(error.problem)


async def _routing(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        detail = f"{shown(request.url.path)} answers GET and HEAD, not {shown(request.method)}."
        return problem_response(ProblemError(METHOD_NOT_ALLOWED, detail).problem, error.headers)
    detail = f"There is nothing at {shown(request.url.path)}. Served: /forecasts, /health."
    return problem_response(ProblemError(NOT_FOUND, detail).problem, error.headers)


async def _internal(_request: Request, _error: Exception) -> Response:
    return problem_response(ProblemError(INTERNAL_ERROR, INTERNAL).problem)


HANDLERS: Final[Mapping[Any, Any]] = {ProblemError: _problem, HTTPException: _routing, Exception: _internal}
