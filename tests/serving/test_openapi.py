from dataclasses import replace
from typing import Annotated, Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from jsonschema.validators import Draft202012Validator  # type: ignore[import-untyped]
from msgspec import Meta
from starlette.requests import Request

from cryptocast.errors import DataError
from cryptocast.serving import create_app
from cryptocast.serving.endpoints import PATHS
from cryptocast.serving.openapi import openapi
from cryptocast.serving.paths import Endpoint, Paths
from cryptocast.serving.wiring import Server
from tests.serving.serving_app import FakeForecast, app_on, context, get

DOCUMENT: dict[str, Any] = msgspec.json.decode(openapi(Paths(PATHS), max_ids=50, has_token=True))


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_every_path_is_described_and_every_reference_leads_somewhere() -> None:
    assert set(DOCUMENT["paths"]) == {path for path, one in PATHS.items() if not one.is_page}
    assert DOCUMENT["openapi"] == "3.1.0"
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert name
    text = msgspec.json.encode(DOCUMENT).decode()
    for part in text.split('"$ref":"#/components/schemas/')[1:]:
        assert part.split('"')[0] in DOCUMENT["components"]["schemas"]


@pytest.mark.parametrize(
    "path",
    [
        "/forecasts?ids=bitcoin",
        "/track?ids=bitcoin",
        "/candles?ids=bitcoin",
        "/health",
        "/ready",
        "/health/detailed",
        "/health/trends",
        "/health/components/cache",
    ],
)
def test_answers_are_what_the_description_says(path: str) -> None:
    answer = get(app_on(FakeForecast()), path)
    template = "/health/components/{name}" if "components" in path else path.partition("?")[0]
    said = DOCUMENT["paths"][template]["get"]["responses"][str(answer.status_code)]["content"]
    schema = said[answer.headers["content-type"]]["schema"]

    validator(schema).validate(answer.json())


def test_every_field_and_parameter_says_what_it_is_and_times_are_times() -> None:
    for kind, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], kind
        for name, field in schema.get("properties", {}).items():
            assert field.get("description"), f"{kind}.{name}"
            if name.endswith(("_at", "_time")) or name in {"as_of", "stale_after"}:
                assert "date-time" in str(field), f"{kind}.{name}"
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            assert operation["summary"] != operation["description"], path
            assert operation["tags"][0] in [tag["name"] for tag in DOCUMENT["tags"]]
            for parameter in operation["parameters"]:
                assert parameter["description"], (path, parameter)
                validator(parameter["schema"]).validate(parameter["example"])


def test_the_examples_are_what_the_description_says() -> None:
    examples = 0
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            for content in operation["responses"]["200"]["content"].values():
                if content["schema"]:
                    validator(content["schema"]).validate(content["example"])
                    assert content["example"], path
                    examples += 1
    assert examples >= 10


def test_errors_are_what_the_description_says() -> None:
    app = app_on(FakeForecast(failing={"atlantis": DataError("Unknown.")}))
    for path in ("/forecasts?ids=atlantis", "/forecasts?nothing=1", "/nowhere"):
        answer = get(app, path)
        validator({"$ref": "#/components/schemas/Problem"}).validate(answer.json())


def test_the_parameters_are_those_of_the_query_with_their_bounds() -> None:
    parameters = {one["name"]: one["schema"] for one in DOCUMENT["paths"]["/forecasts"]["get"]["parameters"]}

    assert set(parameters) == {"ids", "model", "horizons", "levels", "vs", "granularity", "touch", "touch_on"}
    assert parameters["horizons"]["items"]["maximum"] == 1000
    assert set(parameters["model"]["enum"]) == {"auto", "baseline", "lightgbm", "lstm", "ml_ensemble", "shipped"}
    with pytest.raises(jsonschema.ValidationError):
        validator(parameters["vs"]).validate("USD")


def test_the_token_is_asked_for_where_there_is_one() -> None:
    without = msgspec.json.decode(openapi(Paths(PATHS), max_ids=50, has_token=False))

    assert DOCUMENT["paths"]["/forecasts"]["get"]["security"] == [{"token": []}]
    assert "security" not in DOCUMENT["paths"]["/health"]["get"]
    assert "security" not in without["paths"]["/forecasts"]["get"]


class ToyQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What `/toys` may be asked."""

    ids: Annotated[tuple[str, ...], Meta(min_length=1, description="names of toys, separated by commas")]


class ToyDocument(msgspec.Struct, frozen=True, kw_only=True):
    toys: tuple[str, ...]


async def toys(_server: Server, _request: Request, query: ToyQuery) -> ToyDocument:
    return ToyDocument(toys=query.ids)


TOYS = Endpoint(summary="Toys", handler=toys, answer=ToyDocument, query=ToyQuery, rests_on=("store",))


def test_an_endpoint_is_its_handler_its_query_and_one_line_of_the_table() -> None:
    app = create_app(context(), forecast=FakeForecast(), token="a-token", endpoints={**PATHS, "/toys": TOYS})  # noqa: S106
    key = {"Authorization": "Bearer a-token"}
    described = get(app, "/openapi.json", headers=key).json()

    assert get(app, "/toys?ids=bear,bear,train").status_code == 401
    answer = get(app, "/toys?ids=bear,bear,train", headers=key)
    assert answer.json() == {"toys": ["bear", "train"]}
    operation = described["paths"]["/toys"]["get"]
    assert [one["name"] for one in operation["parameters"]] == ["ids"]
    assert "names of toys" in operation["parameters"][0]["description"]
    reference = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    jsonschema.validate(answer.json(), described["components"]["schemas"][reference.rpartition("/")[2]])
    for url in ("/toys", "/toys?names=bear"):
        assert get(app, url, headers=key).status_code == 400
    assert get(app, "/toys", method="POST", headers=key).headers["allow"] == "GET, HEAD, OPTIONS"
    assert "/toys" in get(app, "/nowhere", headers=key).json()["detail"]
    assert 'route="/toys"' in get(app, "/metrics", headers=key).text
    assert "/toys" in app.state.server.paths.resting_on("store")


def test_an_endpoint_for_admins_is_for_nobody_else_and_an_open_one_for_everybody() -> None:
    endpoints = {"/switch": replace(TOYS, access="admin", methods=("POST",)), "/open": replace(TOYS, access="open")}
    app = create_app(context(), forecast=FakeForecast(), token="reader", admin_token="admin", endpoints=endpoints)  # noqa: S106
    reader, admin = ({"Authorization": f"Bearer {one}"} for one in ("reader", "admin"))

    assert get(app, "/open?ids=bear").status_code == 200
    assert get(app, "/switch?ids=bear", method="POST").status_code == 401
    assert get(app, "/switch?ids=bear", method="POST", headers=reader).status_code == 403
    assert get(app, "/switch?ids=bear", method="POST", headers=admin).status_code == 200
