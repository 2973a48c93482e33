from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from cryptocast.rehearsal import FakeUpstream, Rule
from cryptocast.rehearsal.faults import Fault
from cryptocast.rehearsal.messages import Shape

CHART = "/coins/bitcoin/market_chart?vs_currency=usd&days=91"


@pytest.mark.parametrize(
    ("shape", "path"),
    [
        ("error", ("error",)),
        ("status", ("status", "error_message")),
        ("nested", ("error", "status", "error_message")),
        ("flat", ("status", "error_message")),
    ],
)
def test_errors_come_in_four_shapes(
    fake: FakeUpstream, client: httpx.Client, shape: Shape, path: tuple[str, ...]
) -> None:
    fake.script([Rule(fault="error", status=418, shape=shape, message="no", code=10005)])
    answer = client.get("/ping")
    found = answer.json()
    assert shape == "error" or "10005" in answer.text
    for name in path:
        found = found[name]
    assert (answer.status_code, found) == (418, "no")


def test_errors_come_as_a_page_and_empty_too_and_with_statuses_of_the_network(
    fake: FakeUpstream, client: httpx.Client
) -> None:
    fake.script(
        [Rule(fault="error", status=524, shape="html", times=1), Rule(fault="error", status=503, shape="empty")]
    )
    page, empty = client.get("/ping"), client.get("/ping")
    assert (page.status_code, page.headers["content-type"]) == (524, "text/html; charset=UTF-8")
    assert "<html" in page.text
    assert (empty.status_code, empty.content) == (503, b"")


def test_too_many_says_when_to_come_back_in_seconds_as_a_date_or_not(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.script([Rule(fault="too_many", seconds=119, times=1)])
    answer = client.get("/ping")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "119")
    assert answer.json()["status"]["error_code"] == 429
    fake.script([Rule(fault="too_many", seconds=100, retry_after="date")])
    wait = parsedate_to_datetime(client.get("/ping").headers["retry-after"]) - datetime.now(UTC)
    assert 95 < wait.total_seconds() <= 101
    fake.script([Rule(fault="too_many", retry_after="none", shape="html")])
    answer = client.get("/ping")
    assert "retry-after" not in answer.headers
    assert "<html" in answer.text


@pytest.mark.parametrize(
    ("fault", "body"),
    [("empty", ""), ("not_json", "<!DOCTYPE"), ("wrong_shape", '{"prices":"soon"'), ("cut_json", '{"pri')],
)
def test_200_may_hold_something_else(fake: FakeUpstream, client: httpx.Client, fault: Fault, body: str) -> None:
    fake.script([fault])
    answer = client.get(CHART)
    assert answer.status_code == 200
    assert answer.text[: len(body)] == body
    assert fault != "empty" or answer.text == ""


def test_half_of_the_json_is_whole_by_http(fake: FakeUpstream, client: httpx.Client) -> None:
    good = client.get(CHART).text
    fake.script(["cut_json"])
    assert client.get(CHART).text == good[: len(good) // 2]


def test_a_huge_answer_has_the_size_that_was_asked_for(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.script([Rule(fault="huge", size=3_000_000)])
    answer = client.get("/ping")
    assert len(answer.content) == 3_000_000
    assert "gecko_says" in answer.json()
