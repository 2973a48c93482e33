"""The app: Starlette with our endpoints and our errors, behind the Front."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cryptocast.data.coins import shown
from cryptocast.errors import CryptocastError
from cryptocast.serving.access import Keys
from cryptocast.serving.access_log import AccessLog
from cryptocast.serving.endpoints import PATHS
from cryptocast.serving.error_reporting import Reports
from cryptocast.serving.front import Front
from cryptocast.serving.paths import Endpoint, Paths
from cryptocast.serving.problems import ProblemError, ProblemKind, problem_of, problem_response
from cryptocast.serving.query import ForecastQuery, forecast_query, read_query
from cryptocast.serving.responses import respond
from cryptocast.serving.wiring import Options, Server
from cryptocast.workflows.context import Context
from cryptocast.workflows.ladder import MakeForecast
from cryptocast.workflows.lifecycle.bar_duties import Duty
from cryptocast.workflows.market_data.live_prices import Ask
from cryptocast.workflows.market_data.store_watch import Stamp
from cryptocast.workflows.own_models import names_of_own

WITHOUT_REPORTS: Final = Reports(None)


class FrontedApp(Starlette):
    """Starlette behind the Front, which answers most requests before Starlette's own layers cost them anything."""

    front: Front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI app."""
        if scope["type"] == "http":
            await self.front(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    context: Context,
    *,
    forecast: MakeForecast | None = None,
    token: str | None = None,
    admin_token: str | None = None,
    stamp: Stamp | None = None,
    ask_prices: Ask | None = None,
    refresh: bool | None = None,
    duties: Sequence[Duty] = (),
    reports: Reports = WITHOUT_REPORTS,
    access_log: AccessLog | None = None,
    endpoints: Mapping[str, Endpoint] = PATHS,
) -> Starlette:
    """The ASGI app; `app.state.server` is what its endpoints work with. Nothing runs until its lifespan has begun.

    forecast: makes the document of one coin, in one thread; by default a ForecastMaker, which keeps what it has loaded,
    on the ladder. token: asked for by everything but /health and /ready; several are separated by commas.
    admin_token: the same for those who may switch breakers. stamp: changes when the registry does, asked with every
    request; by default what the store's watch saw last. ask_prices: quotes by coin; by default the upstream's.
    refresh: run the refresher; by default where `forecast` is not given. duties: work of the leader after each refresh.
    access_log: where each request is told; None: nowhere.
    """
    options = Options(
        forecast=forecast,
        stamp=stamp,
        ask_prices=ask_prices,
        refresh=forecast is None if refresh is None else refresh,
        duties=duties,
        access_log=access_log,
    )
    endpoints = _with_own_models(endpoints, names_of_own(context.config))
    server = Server(context, Paths(endpoints), Keys(token, admin_token), reports, options)
    routes = [_route(server, path, endpoint) for path, endpoint in endpoints.items()]
    handlers: dict[Any, Any] = dict.fromkeys((ProblemError, CryptocastError, Exception), _problem)
    handlers[HTTPException] = partial(_nothing_here, server.paths)
    app = FrontedApp(routes=routes, exception_handlers=handlers, lifespan=lambda _: server.opened())
    app.front, app.state.server = Front(partial(Starlette.__call__, app), server), server
    app.router.redirect_slashes = False  # it would build an address out of the client's Host header
    return app


def _with_own_models(endpoints: Mapping[str, Endpoint], own: tuple[str, ...]) -> Mapping[str, Endpoint]:
    """The endpoints, where forecasts by these kinds may be asked for, too."""
    query = forecast_query(own)
    return {path: replace(one, query=query) if one.query is ForecastQuery else one for path, one in endpoints.items()}


def _route(server: Server, path: str, endpoint: Endpoint) -> Route:
    async def respond_to(request: Request) -> Response:
        query = None
        if endpoint.query is not None:
            raw = request.scope["query_string"]
            query = read_query(raw, endpoint.query, max_ids=server.config.serve.max_ids)
        answer = await endpoint.handler(server, request, query)
        if isinstance(answer, Response):
            return answer
        body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        return respond(body, media_type=endpoint.media_type, request=request)

    return Route(path, respond_to, methods=list(endpoint.methods))


async def _problem(_: Request, error: Exception) -> Response:
    return problem_response(problem_of(error))


async def _nothing_here(paths: Paths, request: Request, error: HTTPException) -> Response:
    path = request.scope["path"]
    _, endpoint = paths.find(path)
    if endpoint is not None and error.status_code == 405:
        detail = f"{shown(path)} answers {endpoint.allowed}, not {shown(request.method)}."
        headers = {"Allow": endpoint.allowed}
        return problem_response(ProblemError(ProblemKind.METHOD_NOT_ALLOWED, detail, headers=headers))
    names = ", ".join(path for path, one in paths.endpoints.items() if not one.is_page)
    detail = f"There is nothing at {shown(path)}. Served: {names}."
    return problem_response(ProblemError(ProblemKind.NOT_FOUND, detail, headers=error.headers))
