from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from cryptocast.rehearsal import DEMO_KEY, PRO_KEY, FakeUpstream, Limits
from cryptocast.rehearsal.plans import Plan
from tests.rehearsal.conftest import NOW


@pytest.fixture
def limited() -> Iterator[tuple[FakeUpstream, httpx.Client]]:
    """A stand-in that takes three calls a minute, by its own clock."""
    with (
        FakeUpstream(now=NOW, coins=0, limits=3, limit_clock="virtual") as fake,
        httpx.Client(base_url=fake.url) as client,
    ):
        yield fake, client


def test_more_calls_than_the_limit_are_429_until_the_minute_is_over(limited: tuple[FakeUpstream, httpx.Client]) -> None:
    fake, client = limited
    assert [client.get("/ping").status_code for _ in range(4)] == [200, 200, 200, 429]
    fake.advance(20)
    answer = client.get("/ping")
    assert answer.status_code == 429
    wait = int(answer.headers["retry-after"])
    assert 40 <= wait <= 60
    fake.advance(wait)
    assert client.get("/ping").status_code == 200
    assert fake.calls.count(status=429) == 2


def test_retry_after_is_enough_however_many_calls_were_refused(limited: tuple[FakeUpstream, httpx.Client]) -> None:
    fake, client = limited
    for _ in range(8):
        answer = client.get("/ping")
        fake.advance(1)
    fake.advance(int(answer.headers["retry-after"]) - 1)
    assert client.get("/ping").status_code == 200


def test_errors_count_toward_the_limit() -> None:
    with FakeUpstream(now=NOW, coins=0, limits=2) as fake, httpx.Client(base_url=fake.url) as client:
        assert [client.get("/coins/nope/market_chart").status_code for _ in range(3)] == [404, 404, 429]


def test_retry_after_may_be_a_date_or_missing() -> None:
    limits = Limits(per_minute=1, retry_after="date")
    with FakeUpstream(now=NOW, coins=0, limits=limits) as fake, httpx.Client(base_url=fake.url) as client:
        client.get("/ping")
        wait = parsedate_to_datetime(client.get("/ping").headers["retry-after"]) - datetime.now(UTC)
        assert 50 < wait.total_seconds() <= 62
        fake.set_limits(Limits(per_minute=1, retry_after="none"))
        answer = client.get("/ping")
        assert answer.status_code == 429
        assert "retry-after" not in answer.headers


def test_credits_of_the_month_run_out(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.set_limits(Limits(monthly_credits=2))
    answers = [client.get("/ping") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "monthly" in answers[2].json()["status"]["error_message"]


def refused(answer: httpx.Response) -> tuple[int, int | None]:
    """Status and error_code of an answer."""
    content = answer.json()
    while isinstance(content, dict) and "error_code" not in content:
        content = content.get("error", content.get("status"))
    return answer.status_code, content["error_code"] if isinstance(content, dict) else None


@pytest.mark.parametrize(
    ("plan", "headers", "expected"),
    [
        ("keyless", {}, (200, None)),
        ("keyless", {"x-cg-demo-api-key": DEMO_KEY}, (200, None)),
        ("keyless", {"x-cg-demo-api-key": "wrong"}, (401, 10002)),
        ("keyless", {"x-cg-pro-api-key": PRO_KEY}, (401, 10010)),
        ("demo", {}, (401, 10002)),
        ("demo", {"x-cg-demo-api-key": DEMO_KEY}, (200, None)),
        ("demo", {"x-cg-pro-api-key": PRO_KEY}, (401, 10010)),
        ("pro", {}, (401, 10002)),
        ("pro", {"x-cg-demo-api-key": DEMO_KEY}, (401, 10011)),
        ("pro", {"x-cg-pro-api-key": "wrong"}, (401, 10002)),
        ("pro", {"x-cg-pro-api-key": PRO_KEY}, (200, None)),
    ],
)
def test_keys_open_their_own_host_only(plan: Plan, headers: dict[str, str], expected: tuple[int, int | None]) -> None:
    with FakeUpstream(now=NOW, plan=plan, coins=0) as fake:
        answer = httpx.get(f"{fake.url}/ping", headers=headers)
    assert (refused(answer) if answer.is_error else (200, None)) == expected


def test_a_key_may_stand_in_the_query() -> None:
    with FakeUpstream(now=NOW, plan="demo", coins=0) as fake:
        assert httpx.get(f"{fake.url}/ping", params={"x_cg_demo_api_key": DEMO_KEY}).status_code == 200
