import re

from cryptocast.serving.docs_page import docs_page
from cryptocast.serving.endpoints import PATHS
from cryptocast.serving.paths import Paths
from tests.serving.serving_app import FakeForecast, app_on, get
from tests.serving.test_landing_page import Tags
from tests.serving.test_openapi import DOCUMENT

TEXT = docs_page(Paths(PATHS), max_ids=50, has_token=True).decode()


def test_every_operation_and_type_of_the_description_is_there() -> None:
    names = {attrs.get("id") for _, attrs in Tags(TEXT).seen}
    operations = {one["operationId"] for methods in DOCUMENT["paths"].values() for one in methods.values()}
    assert operations | set(DOCUMENT["components"]["schemas"]) <= names
    assert "Half of the outcomes are meant to lie below." in TEXT


def test_every_link_leads_somewhere_on_this_server() -> None:
    tags = Tags(TEXT)
    names = {attrs.get("id") for _, attrs in tags.seen}
    assert [one for one in tags.addresses() if one.startswith("#") and one[1:] not in names] == []
    assert all(re.match(r"/(?!/)|#|data:image/svg", one) for one in tags.addresses())
    assert not [tag for tag, attrs in tags.seen if tag == "script" or "src" in attrs]


def test_how_to_ask_is_told_with_the_token_where_there_is_one() -> None:
    assert "curl -H &#x27;Authorization: Bearer TOKEN&#x27; &#x27;http://localhost:8000/models&#x27;" in TEXT
    assert "curl -X POST" in TEXT
    open_ = docs_page(Paths(PATHS), max_ids=50, has_token=False).decode()
    assert "curl &#x27;http://localhost:8000/forecasts?ids=bitcoin,ethereum&amp;horizons=1,7&#x27;" in open_
    assert "asks for no token" in open_


def test_it_is_served_to_browsers_and_asked_for_by_no_program() -> None:
    answer = get(app_on(FakeForecast()), "/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "/docs" not in DOCUMENT["paths"]
    assert get(app_on(FakeForecast(), token="x"), "/docs").status_code == 401  # noqa: S106 - made up
