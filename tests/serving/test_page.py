import html
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from cryptocast.serving.health import Readiness
from cryptocast.serving.page import page
from tests.serving.serving_app import FakeForecast, app_on, config, get
from tests.serving.test_ladder import request

CHROMIUM = shutil.which("chromium")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_has_a_chart_and_the_numbers_of_each_configured_coin() -> None:
    answer = get(app_on(FakeForecast(), settings=config()), "/")
    tags = Tags()
    tags.feed(answer.text)
    names = [tag for tag, _ in tags.seen]

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert names.count("svg") == 3
    assert names.count("polygon") == 6
    assert "65,123.46" in answer.text
    assert "not backtested" in answer.text
    assert "script" not in names
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_nothing_is_loaded_from_anywhere() -> None:
    tags = Tags()
    tags.feed(get(app_on(FakeForecast()), "/").text)
    assert not [attrs for _, attrs in tags.seen if {"src", "href", "srcset", "data"} & set(attrs)]


def test_what_others_wrote_is_text() -> None:
    hostile = "<script>alert(1)</script>"
    made = msgspec.structs.replace(
        FakeForecast().made("bitcoin", request()), notices=(hostile,), fallback_reason=hostile
    )
    text = page([made], Readiness(status="warn", output=hostile)).decode()

    assert hostile not in text
    assert text.count(html.escape(hostile)) == 3


def test_before_the_first_forecast_the_page_says_so() -> None:
    assert "No forecast has been made yet" in page([], Readiness(status="fail")).decode()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_the_style_and_the_charts(tmp_path: Path) -> None:
    made = FakeForecast().made("bitcoin", request())
    path = tmp_path / "page.html"
    path.write_bytes(page([made], Readiness(status="pass")))
    command = [CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    assert '<section id="bitcoin">' in shown.stdout
    assert "<polygon" in shown.stdout
