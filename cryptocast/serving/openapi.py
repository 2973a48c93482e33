"""The OpenAPI 3.1 description, made from the types that the answers are made of and the texts of their fields."""

import inspect
from functools import lru_cache
from typing import Any, Final

import msgspec

import cryptocast
from cryptocast.number_format import one_line
from cryptocast.serving.field_texts import PARAMETERS, text_of
from cryptocast.serving.health import COMPONENTS
from cryptocast.serving.paths import Endpoint, Paths
from cryptocast.serving.problems import Problem, ProblemKind
from cryptocast.serving.query import parameters

SCHEMAS: Final = "#/components/schemas/"
COMPONENT: Final = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "Name of the part.",
    "example": "cache",
}
TAGS: Final = {
    "forecasts": "What prices may do, and what came of it.",
    "prices": "What prices did, and are.",
    "service": "Models, health, metrics and this description.",
    "admin": "What an admin may switch.",
}
ABOUT: Final = (
    "Calibrated forecasts of crypto prices, live prices and the health of the server. Errors are problem documents"
    " (RFC 9457). A list is separated by commas, or its parameter is repeated. At most {max_ids} coins in a request."
)
Schemas = dict[str, Any]


@lru_cache(maxsize=4)
def openapi(paths: Paths, *, max_ids: int, has_token: bool) -> bytes:
    """The description as JSON."""
    return msgspec.json.encode(description(paths, max_ids=max_ids, has_token=has_token))


def description(paths: Paths, *, max_ids: int, has_token: bool) -> dict[str, Any]:
    """The description."""
    types = [one.answer for one in paths.endpoints.values() if one.answer is not None]
    _, schemas = msgspec.json.schema_components([*types, Problem], ref_template=SCHEMAS + "{name}")
    for kind, schema in schemas.items():
        for name, field in schema.get("properties", {}).items():
            if text := text_of(kind, name)[0]:
                field["description"] = text
        if "description" in schema:
            schema["description"] = one_line(schema["description"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cryptocast",
            "version": cryptocast.__version__,
            "description": ABOUT.format(max_ids=max_ids),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": {
            path: {method.lower(): _operation(path, one, schemas, has_token=has_token) for method in one.methods}
            for path, one in paths.endpoints.items()
            if not one.is_page
        },
        # Switching needs an admin's token in any case.
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def example_of(schemas: Schemas, schema: dict[str, Any], kind: str = "", name: str = "") -> Any:
    """An example of what a schema describes; of a field by its text, where that has one."""
    if "$ref" in schema:
        kind = schema["$ref"].removeprefix(SCHEMAS)
        return _example_of_kind(schemas, kind)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema and name == "schema":
        return schema["enum"][0]
    own = text_of(kind, name)[1] if name else None
    if own is not None or schema.get("type") != "array":
        return own
    return [example_of(schemas, schema["items"])]


def _example_of_kind(schemas: Schemas, kind: str) -> Any:
    schema = schemas[kind]
    if "enum" in schema:
        return schema["enum"][0]
    needed = schema.get("required", ())
    fields = {
        name: example_of(schemas, field, kind, name)
        for name, field in schema["properties"].items()
        if name in needed or name == "schema" or text_of(kind, name)[1] is not None
    }
    return {name: value for name, value in fields.items() if name != "names"}


def _operation(path: str, endpoint: Endpoint, schemas: Schemas, *, has_token: bool) -> dict[str, Any]:
    schema = {} if endpoint.answer is None else _reference(endpoint.answer)
    content: dict[str, Any] = {endpoint.media_type.partition(";")[0]: {"schema": schema}}
    if endpoint.answer is not None:
        next(iter(content.values()))["example"] = _example_of_kind(schemas, endpoint.answer.__name__)
    problem = {"application/problem+json": {"schema": _reference(Problem)}}
    titles: dict[str, list[str]] = {}
    for kind in ProblemKind:
        titles.setdefault(str(kind.status), []).append(kind.title)
    responses = {
        status: {"description": "; ".join(parts) + ".", "content": problem} for status, parts in sorted(titles.items())
    }
    if endpoint.not_ready:
        responses["503"] = {"description": "Not ready.", "content": content}
    needs_token = endpoint.access == "admin" or (has_token and endpoint.access == "read")
    return {
        "summary": endpoint.summary,
        "description": one_line(inspect.getdoc(endpoint.handler) or endpoint.summary),
        "operationId": path.strip("/").replace("/", "_").replace("{name}", "one").replace(".", "_"),
        "tags": [endpoint.tag],
        "parameters": _parameters(path, endpoint),
        "responses": {"200": {"description": endpoint.summary, "content": content}, **responses},
        **({"security": [{"token": []}]} if needs_token else {}),
    }


def _parameters(path: str, endpoint: Endpoint) -> list[dict[str, Any]]:
    described = parameters(endpoint.query) if endpoint.query is not None else {}
    queries = [
        {
            "name": name,
            "in": "query",
            "required": one.is_required,
            "description": one.allowed,
            "schema": one.schema,
            "example": PARAMETERS.get(name),
            **({"style": "form", "explode": False} if one.is_list else {}),
        }
        for name, one in described.items()
    ]
    if not path.endswith("{name}"):
        return queries
    return [*queries, {**COMPONENT, "schema": {"type": "string", "enum": list(COMPONENTS)}}]


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": SCHEMAS + kind.__name__}
