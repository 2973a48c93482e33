"""The OpenAPI 3.1 description, made from the types that the answers are made of."""

from typing import Any, Final

import msgspec

import cryptocast
from cryptocast.serving.health import COMPONENTS
from cryptocast.serving.paths import Endpoint, Paths
from cryptocast.serving.problems import Problem, ProblemKind
from cryptocast.serving.query import parameters

SCHEMAS: Final = "#/components/schemas/"
COMPONENT: Final = {"name": "name", "in": "path", "required": True}


def openapi(paths: Paths, *, max_ids: int, has_token: bool) -> bytes:
    """The description as JSON."""
    types = [one.answer for one in paths.endpoints.values() if one.answer is not None]
    _, schemas = msgspec.json.schema_components([*types, Problem], ref_template=SCHEMAS + "{name}")
    limits = f"At most {max_ids} coins in a request."
    document = {
        "openapi": "3.1.0",
        "info": {"title": "cryptocast", "version": cryptocast.__version__, "description": limits},
        "paths": {
            path: {method.lower(): _operation(path, one, has_token=has_token) for method in one.methods}
            for path, one in paths.endpoints.items()
            if not one.is_page
        },
        # Switching needs an admin's token in any case.
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }
    return msgspec.json.encode(document)


def _operation(path: str, endpoint: Endpoint, *, has_token: bool) -> dict[str, Any]:
    schema = {} if endpoint.answer is None else _reference(endpoint.answer)
    content = {endpoint.media_type.partition(";")[0]: {"schema": schema}}
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
        "operationId": path.strip("/").replace("/", "_").replace("{name}", "one"),
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
            "description": f"Allowed: {one.allowed}.",
            "schema": one.schema,
            **({"style": "form", "explode": False} if one.is_list else {}),
        }
        for name, one in described.items()
    ]
    if not path.endswith("{name}"):
        return queries
    return [*queries, {**COMPONENT, "schema": {"type": "string", "enum": list(COMPONENTS)}}]


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": SCHEMAS + kind.__name__}
