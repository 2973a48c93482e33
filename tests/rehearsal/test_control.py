from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from cryptocast.rehearsal import FakeUpstream, Rule

MIDNIGHT = datetime(2026, 1, 3, tzinfo=UTC)
MIDNIGHT_MS = int(MIDNIGHT.timestamp() * 1000)


def daily(client: httpx.Client) -> list[int]:
    answer = client.get("/coins/bitcoin/market_chart", params={"vs_currency": "usd", "days": "91"})
    return [int(at) for at, _ in answer.json()["prices"]]


def control(fake: FakeUpstream, name: str, body: object = None) -> httpx.Response:
    return httpx.post(f"{fake.origin}/__control/{name}", json=body)


def state(fake: FakeUpstream) -> Any:
    return httpx.get(f"{fake.origin}/__control/calls").json()


def test_faults_clock_limits_and_quirks_are_set_over_http_too(fake: FakeUpstream, client: httpx.Client) -> None:
    assert control(fake, "faults", {"rules": [{"fault": "error", "status": 503, "times": 1}]}).status_code == 200
    assert [client.get("/ping").status_code for _ in range(2)] == [503, 200]
    assert control(fake, "clock", {"now": "2026-01-03T00:10:00Z", "speed": 0}).status_code == 200
    assert daily(client)[-2] == MIDNIGHT_MS
    control(fake, "clock", {"advance_s": 60})
    assert daily(client)[-1] == MIDNIGHT_MS + 11 * 60_000
    control(fake, "quirks", "clean")
    control(fake, "quirks", {"jitter_s": 5})
    control(fake, "latency", 0.01)
    control(fake, "revise", {"coin": "bitcoin", "at": "2026-01-02T00:00:00Z", "factor": 1.1})
    control(fake, "move", {"old": "litecoin", "new": "lightcoin"})
    assert client.get("/coins/litecoin/market_chart").status_code == 404
    control(fake, "limits", {"per_minute": 1})
    assert client.get("/ping").status_code == 429
    assert control(fake, "close_idle").status_code == 200


def test_counts_are_read_over_http_and_controls_are_not_counted(fake: FakeUpstream, client: httpx.Client) -> None:
    client.get("/simple/price?ids=bitcoin,nope&vs_currencies=usd")
    fake.script([Rule(fault="close", times=1)])
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/ping")
    found = state(fake)
    assert (found["total"], found["endpoints"]) == (2, {"price": 1, "ping": 1})
    assert found["ids"] == {"bitcoin": 1, "nope": 1}
    assert found["statuses"] == {"200": 1, "0": 1}
    assert found["faults"] == {"close": 1}
    assert found["connections"]["accepted"] == 2
    log = httpx.get(f"{fake.origin}/__control/log").json()
    assert [call["endpoint"] for call in log] == ["price", "ping"]
    control(fake, "reset")
    assert state(fake)["total"] == 0


def test_the_cycle_says_what_it_is_at(fake: FakeUpstream) -> None:
    control(fake, "faults", {"cycle": {"each_s": 100, "calm_s": 0, "rules": [{"fault": "hang"}]}})
    assert state(fake)["phase"] == "hang"
    control(fake, "faults", "none")
    assert state(fake)["phase"] is None


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("bogus", None, 404),
        ("faults", "bogus", 400),
        ("faults", {"rules": [{"fault": "bogus"}]}, 400),
        ("clock", {"now": "yesterday"}, 400),
        ("clock", {"now": "1999-01-01T00:00:00Z"}, 400),
        ("limits", {"per_minute": -1}, 400),
        ("quirks", "bogus", 400),
        ("revise", None, 400),
        ("move", {"old": "nope", "new": "x"}, 400),
    ],
)
def test_a_control_that_makes_no_sense_is_refused(fake: FakeUpstream, name: str, body: object, status: int) -> None:
    answer = control(fake, name, body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
