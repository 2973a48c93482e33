"""The OpenAPI 3.1 description, made from the types that the answers are made of."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cryptocast.serving.health import COMPONENTS, Component, Detail, Readiness, TrendReport
from cryptocast.serving.models import ModelDocument
from cryptocast.serving.prices import PriceDocument
from cryptocast.serving.problems import Problem
from cryptocast.serving.query import ALLOWED, BreakerQuery, ForecastQuery, PriceQuery
from cryptocast.workflows.reports import ForecastDocument

__all__ = ["PATHS", "openapi"]

HEALTH: Final = "application/health+json"


class Switched(msgspec.Struct, frozen=True, kw_only=True):
    """What a breaker does from now on: forced_open, forced_closed, or closed if it decides by itself again."""

    breaker: str
    state: str


PROBLEMS: Final[Mapping[str, str]] = {
    "400": "The request cannot be answered as it stands.",
    "401": "A token is needed.",
    "403": "The token may not do this.",
    "404": "There is nothing to answer with.",
    "405": "The path does not answer this method; Allow says which it does.",
    "411": "The body has no length.",
    "413": "The body is too large.",
    "414": "The address is too long.",
    "429": "The client asks too often.",
    "431": "The headers are too large.",
    "500": "The server failed.",
    "503": "Ask again after the seconds of Retry-After.",
}
# Path: what it is for, the type of its answer (None: no JSON of ours), the media type, its query.
PATHS: Final[Mapping[str, tuple[str, type | None, str, type | None]]] = {
    "/forecasts": ("Forecasts of coins", ForecastDocument, "application/json", ForecastQuery),
    "/prices": ("Live prices of coins", PriceDocument, "application/json", PriceQuery),
    "/models": ("The versions in production", ModelDocument, "application/json", None),
    "/health": ("Whether the process is alive", Readiness, HEALTH, None),
    "/ready": ("Whether to send requests here", Readiness, HEALTH, None),
    "/health/detailed": ("Every component", Detail, HEALTH, None),
    "/health/trends": ("The last hour and the last day", TrendReport, HEALTH, None),
    "/health/components/{name}": ("One component", Component, HEALTH, None),
    "/metrics": ("Metrics for Prometheus", None, "text/plain", None),
    "/openapi.json": ("This description", None, "application/json", None),
    "/admin/breakers": ("Hold a breaker open or closed", Switched, "application/json", BreakerQuery),
    "/": ("The forecasts as a page", None, "text/html", None),
}
POSTED: Final = frozenset({"/admin/breakers"})
LISTS: Final = ("ids", "horizons", "levels")


def openapi(*, version: str, max_ids: int, has_token: bool) -> bytes:
    """The description as JSON."""
    types = [kind for _, kind, _, _ in PATHS.values() if kind is not None]
    _, schemas = msgspec.json.schema_components([*types, Problem], ref_template="#/components/schemas/{name}")
    document = {
        "openapi": "3.1.0",
        "info": {"title": "cryptocast", "version": version, "description": f"At most {max_ids} coins in a request."},
        "paths": {path: _item(path, has_token=has_token) for path in PATHS},
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"}
            },  # switching needs an admin's in any case
        },
    }
    return msgspec.json.encode(document)


def _item(path: str, *, has_token: bool) -> dict[str, Any]:
    return {"post" if path in POSTED else "get": _operation(path, has_token=has_token)}


def _operation(path: str, *, has_token: bool) -> dict[str, Any]:
    summary, kind, media, query = PATHS[path]
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"} if kind is not None else {}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    refused = {status: {"description": text, "content": problem} for status, text in PROBLEMS.items()}
    if path == "/ready":
        refused["503"] = {"description": "Not ready.", "content": {media: {"schema": schema}}}
    parameters = _parameters(query) if query is not None else []
    if "{name}" in path:
        names = {"type": "string", "enum": list(COMPONENTS)}
        parameters.append({"name": "name", "in": "path", "required": True, "schema": names})
    is_open = path in ("/health", "/ready")
    return {
        "summary": summary,
        "operationId": path.strip("/").replace("/", "_").replace("{name}", "one") or "page",
        "parameters": parameters,
        "responses": {"200": {"description": summary, "content": {media: {"schema": schema}}}, **refused},
        **({"security": [{"token": []}]} if (has_token and not is_open) or path in POSTED else {}),
    }


def _parameters(query: type) -> list[dict[str, Any]]:
    (schema,), components = msgspec.json.schema_components([query], ref_template="#/components/schemas/{name}")
    described = components[schema["$ref"].rpartition("/")[2]]
    properties, required = described["properties"], described.get("required", [])
    found = []
    for name, said in properties.items():
        kind: dict[str, Any] = next((one for one in said.get("anyOf", [said]) if one.get("type") != "null"), {})
        found.append(
            {
                "name": name,
                "in": "query",
                "required": name in required,
                "description": f"Allowed: {ALLOWED[name]}.",
                "schema": {part: value for part, value in kind.items() if part != "default"},
                **({"style": "form", "explode": False} if name in LISTS else {}),
            }
        )
    return found
