import gzip
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli  # type: ignore[import-untyped]
import pytest

from cryptocast.serving.error_reporting import Reports, scrubbed
from tests.serving.serving_app import FakeForecast, context, get

TOKEN = "planted-token-of-the-server"  # noqa: S105 - made up
KEY = "CG-planted-key"


# The library packs as well as what is installed lets it.
UNPACK: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.decompress, "br": brotli.decompress}


class Intake(BaseHTTPRequestHandler):
    received: list[str] = []  # noqa: RUF012 - of the class, as the server makes a handler for each request

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        unpacked = UNPACK[self.headers.get("Content-Encoding", "identity")](body)
        Intake.received.append(unpacked.decode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the library calls it
        """Silent."""


@pytest.fixture
def intake() -> Iterator[str]:
    Intake.received.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Intake)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://public@127.0.0.1:{server.server_address[1]}/1"
    server.shutdown()
    server.server_close()


def test_an_error_arrives_with_its_breadcrumbs_and_without_secrets(intake: str) -> None:
    from cryptocast.serving import create_app

    reports = Reports(intake, environment="test", release="cryptocast@0", secrets=[TOKEN, KEY])

    def broken() -> int:
        logging.getLogger("cryptocast.serving.anything").warning("asked with key=%s at /x?api_key=%s", KEY, KEY)
        raise RuntimeError(f"it broke: Authorization: Bearer {TOKEN} for /forecasts?ids=secret-coin")

    app = create_app(context(), forecast=FakeForecast(), stamp=broken, token=TOKEN, reports=reports)
    answer = get(app, "/forecasts?ids=secret-coin", headers={"Authorization": f"Bearer {TOKEN}"})
    text = "\n".join(Intake.received)

    assert answer.status_code == 500
    assert '"RuntimeError"' in text
    assert "asked with key=" in text
    assert "cryptocast@0" in text
    for secret in (TOKEN, KEY, "secret-coin"):
        assert secret not in text
    events = [line for line in text.splitlines() if line.startswith("{") and '"exception"' in line]
    assert len(events) == 1
    assert json.loads(events[0])["environment"] == "test"


def test_requests_are_traced_at_the_rate_that_is_set_without_their_query_strings(intake: str) -> None:
    from cryptocast.serving import create_app

    reports = Reports(intake, environment="test", release="cryptocast@0", secrets=[TOKEN], traces_rate=1.0)
    app = create_app(context(), forecast=FakeForecast(), stamp=lambda: 0, token=TOKEN, reports=reports)
    answer = get(app, "/forecasts?ids=secret-coin", headers={"Authorization": f"Bearer {TOKEN}"})
    text = "\n".join(Intake.received)

    assert answer.status_code == 200
    (traced,) = [line for line in text.splitlines() if '"type":"transaction"' in line and '"transaction":' in line]
    assert json.loads(traced)["transaction"] == "/forecasts"
    assert json.loads(traced)["contexts"]["trace"]["op"] == "http.server"
    for secret in (TOKEN, "secret-coin"):
        assert secret not in text


def test_without_an_address_nothing_is_sent_and_nothing_loaded() -> None:
    handlers = list(logging.getLogger("cryptocast").handlers)
    reports = Reports(None, traces_rate=1.0)
    reports.error(RuntimeError("nobody hears"))
    assert isinstance(reports.trace("/forecasts"), nullcontext)
    reports.close()
    assert logging.getLogger("cryptocast").handlers == handlers


@pytest.mark.parametrize(
    "value",
    [
        {"Authorization": "planted"},
        {"nested": [{"api_key": "planted"}]},
        "GET /prices?ids=planted HTTP/1.1",
        "token=planted&x=1",
        "Bearer planted",
        ("a", "planted-secret"),
    ],
)
def test_secrets_are_scrubbed_wherever_they_stand(value: object) -> None:
    assert "planted" not in json.dumps(scrubbed(value, ["planted-secret"]))


def test_what_is_no_secret_stays() -> None:
    assert scrubbed({"coin": "bitcoin", "n": 3, "x": None}) == {"coin": "bitcoin", "n": 3, "x": None}


def test_no_login_of_an_address_is_reported() -> None:
    event = {"message": "no answer from https://ann:hunter2@host/api", "extra": ["postgresql://ann:p@ss/w@db/x"]}
    assert scrubbed(event) == {"message": "no answer from https://***@host/api", "extra": ["postgresql://***@db/x"]}
