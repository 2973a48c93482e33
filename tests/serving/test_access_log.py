import io
import threading
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cryptocast.serving import create_app
from cryptocast.serving.access_log import AccessEntry, AccessLog, without_secrets
from tests.serving.running import Start
from tests.serving.serving_app import FOREVER_S, NOON, Clock, FakeForecast, context, talk

TOKEN = "a-readers-own"  # noqa: S105 - made up
ENTRY = AccessEntry(
    at=NOON,
    id="a-1",
    client="192.0.2.1",
    key=None,
    method="GET",
    path="/",
    query="",
    route="/",
    status=200,
    bytes=1,
    ms=0.5,
    agent="",
)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def test_each_request_is_a_line_of_json_with_who_asked_and_what_came() -> None:
    stream = io.StringIO()
    app = create_app(
        context(clock=Clock()),
        forecast=FakeForecast(),
        stamp=lambda: 0,
        token=TOKEN,
        access_log=AccessLog(stream),
        refresh=False,
    )

    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        key = {"Authorization": f"Bearer {TOKEN}", "User-Agent": "line\tbreaker", "X-Request-ID": "mine"}
        first = await client.get("/forecasts?ids=bitcoin", headers=key)
        cached = await client.get("/forecasts?ids=bitcoin", headers=key)
        login = await client.post("/login", data={"token": TOKEN}, headers={"Origin": "http://server"})
        client.cookies.clear()
        cookie = {"Cookie": login.headers["set-cookie"].partition(";")[0]}
        return [
            first,
            cached,
            login,
            await client.head("/models", headers=cookie),
            await client.get("/nowhere?token=oops"),
        ]

    answers = talk(app, conversation)
    first, cached, login, models, nowhere = lines(stream)

    assert first["at"] == "2026-03-01T12:00:00Z"
    assert (first["id"], first["agent"], first["client"]) == ("mine", "line\tbreaker", "127.0.0.1")
    assert (first["method"], first["path"], first["query"]) == ("GET", "/forecasts", "ids=bitcoin")
    sizes = [int(answer.headers["content-length"]) for answer in answers[:2]]
    assert [one["bytes"] for one in (first, cached, models)] == [*sizes, 0]
    assert [one["status"] for one in (first, cached, login, models, nowhere)] == [200, 200, 303, 200, 401]
    assert [one["key"] for one in (first, cached, models)] == ["token 1"] * 3
    assert (login["key"], nowhere["key"]) == (None, None)
    assert (models["route"], nowhere["route"]) == ("/models", "_OTHER")
    assert all(one["ms"] >= 0 for one in lines(stream))
    assert TOKEN not in stream.getvalue()
    assert "oops" not in stream.getvalue()


def test_a_reader_that_does_not_read_holds_up_nobody_and_costs_lines() -> None:
    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            reads.wait(FOREVER_S)
            return super().write(text)

    reads, stream, lost = threading.Event(), Stuck(), []
    log = AccessLog(stream, lambda: lost.append(1), most=5)
    log.start()
    for _ in range(20):
        log.write(ENTRY)
    assert 14 <= len(lost) <= 15  # one is being written
    reads.set()
    log.close()
    assert len(lines(stream)) == 20 - len(lost)


def test_a_reader_that_has_gone_ends_the_log_and_nothing_else() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log = AccessLog(Gone())
    log.start()
    for _ in range(3):
        log.write(ENTRY)
    log.close()


def test_no_sign_of_a_client_ends_a_log_whose_stream_knows_ascii_alone() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    log = AccessLog(stream)
    log.start()
    for path in ("/é", "/\U0001f600", "/"):
        log.write(msgspec.structs.replace(ENTRY, path=path))
    log.close()
    stream.flush()
    assert [msgspec.json.decode(line)["path"] for line in raw.getvalue().splitlines()] == ["/é", "/\U0001f600", "/"]


@pytest.mark.parametrize("query", ["token=a", "ids=a&api_key=b", "PASSWORD=c", "to%6ben=d"])
def test_a_secret_that_somebody_put_into_the_query_is_not_told(query: str) -> None:
    assert without_secrets(query) == "[scrubbed]"
    assert without_secrets("ids=bitcoin") == "ids=bitcoin"
    assert len(without_secrets("x" * 5000)) == 500


def test_a_server_writes_it_to_standard_output_where_the_settings_say_so(start: Start, tmp_path: Path) -> None:
    server = start("forecast", str(tmp_path), '{"access_log": true}')
    assert server.get("/health").status_code == 200
    assert server.process.stdout is not None
    line = msgspec.json.decode(server.process.stdout.readline())
    assert (line["path"], line["status"], line["client"]) == ("/health", 200, "127.0.0.1")
