from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from jsonschema.validators import Draft202012Validator  # type: ignore[import-untyped]

from cryptocast.errors import DataError
from cryptocast.serving.endpoints import PATHS
from cryptocast.serving.openapi import openapi
from cryptocast.serving.paths import Paths
from tests.serving.serving_app import FakeForecast, app_on, get

DOCUMENT: dict[str, Any] = msgspec.json.decode(openapi(Paths(PATHS), max_ids=50, has_token=True))


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_every_path_is_described_and_every_reference_leads_somewhere() -> None:
    assert set(DOCUMENT["paths"]) == set(PATHS)
    assert DOCUMENT["openapi"] == "3.1.0"
    for name, schema in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert name
    text = msgspec.json.encode(DOCUMENT).decode()
    for part in text.split('"$ref":"#/components/schemas/')[1:]:
        assert part.split('"')[0] in DOCUMENT["components"]["schemas"]


@pytest.mark.parametrize(
    "path",
    ["/forecasts?ids=bitcoin", "/health", "/ready", "/health/detailed", "/health/trends", "/health/components/cache"],
)
def test_answers_are_what_the_description_says(path: str) -> None:
    answer = get(app_on(FakeForecast()), path)
    template = "/health/components/{name}" if "components" in path else path.partition("?")[0]
    said = DOCUMENT["paths"][template]["get"]["responses"][str(answer.status_code)]["content"]
    schema = said[answer.headers["content-type"]]["schema"]

    validator(schema).validate(answer.json())


def test_errors_are_what_the_description_says() -> None:
    app = app_on(FakeForecast(failing={"atlantis": DataError("Unknown.")}))
    for path in ("/forecasts?ids=atlantis", "/forecasts?nothing=1", "/nowhere"):
        answer = get(app, path)
        validator({"$ref": "#/components/schemas/Problem"}).validate(answer.json())


def test_the_parameters_are_those_of_the_query_with_their_bounds() -> None:
    parameters = {one["name"]: one["schema"] for one in DOCUMENT["paths"]["/forecasts"]["get"]["parameters"]}

    assert set(parameters) == {"ids", "model", "horizons", "levels", "vs", "granularity"}
    assert parameters["horizons"]["items"]["maximum"] == 1000
    assert set(parameters["model"]["enum"]) == {"auto", "baseline", "lightgbm", "lstm", "ml_ensemble"}
    with pytest.raises(jsonschema.ValidationError):
        validator(parameters["vs"]).validate("USD")


def test_the_token_is_asked_for_where_there_is_one() -> None:
    without = msgspec.json.decode(openapi(Paths(PATHS), max_ids=50, has_token=False))

    assert DOCUMENT["paths"]["/forecasts"]["get"]["security"] == [{"token": []}]
    assert "security" not in DOCUMENT["paths"]["/health"]["get"]
    assert "security" not in without["paths"]["/forecasts"]["get"]
