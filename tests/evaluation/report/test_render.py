"""One HTML text: complete, self-contained, the same each time, and nothing in it is what a name pretends to be."""

import base64
import math
import re
import struct
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from cryptocast.evaluation.answer_words import answer_numbers
from cryptocast.evaluation.records import BacktestRow
from cryptocast.evaluation.report import ReportPage, picture, render
from cryptocast.evaluation.report.words import lead
from tests.evaluation.report.demo import demo_page, hostile_page

VOID = {"meta", "link", "br", "hr", "col"}
MOST_BYTES = 1_000_000  # of six coins; every one more adds a tenth of it


class Document(HTMLParser):
    """Collects what a page is made of, and whether its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture(scope="module")
def small() -> ReportPage:
    return replace(demo_page(coins=1, origins=12), importance=())


@pytest.fixture(scope="module")
def small_text(small: ReportPage) -> str:
    return render(small)


@pytest.fixture(scope="module")
def hostile_text() -> str:
    return render(hostile_page())


def charts(document: Document) -> list[dict[str, str | None]]:
    return [attributes for name, attributes in document.elements if name == "svg" and attributes.get("role") == "img"]


def test_a_page_of_several_coins_stays_small() -> None:
    text = render(demo_page(coins=6, origins=40))
    assert len(text.encode()) < MOST_BYTES
    # Fans and four horizons for each coin, and all the others.
    assert len(charts(Document(text))) > 5 * 6


def test_the_same_page_gives_the_same_text(small: ReportPage, small_text: str) -> None:
    assert render(small) == small_text


def test_tags_are_balanced_and_identifiers_unique(small_text: str) -> None:
    document = Document(small_text)
    assert document.wrong == []
    assert document.open == []
    identifiers = [attributes["id"] for _, attributes in document.elements if attributes.get("id")]
    assert len(identifiers) == len(set(identifiers))
    wanted = re.findall(r"url\(#([^)]+)\)", small_text)
    assert set(wanted) <= set(identifiers)


def test_nothing_is_fetched_and_only_its_own_script_runs(small_text: str) -> None:
    document = Document(small_text)
    assert document.count("iframe") == document.count("object") == 0
    (script,) = re.findall("<script>(.*?)</script>", small_text, re.DOTALL)
    assert f"script-src 'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'" in small_text.replace(
        "&#x27;", "'"
    )
    assert not re.search(r"fetch|import|XMLHttp|innerHTML|eval", script)
    addresses = {
        value for _, attributes in document.elements for key, value in attributes.items() if key in {"src", "href"}
    }
    assert all(value is not None and (value.startswith("#") or value == "data:,") for value in addresses)
    assert "@import" not in small_text
    assert "http" not in small_text.replace('http-equiv="Content-Security-Policy"', "")
    assert "default-src 'none'" in "".join(str(a.get("content")) for _, a in document.elements).replace("&#x27;", "'")


def test_the_colours_of_charts_are_those_of_the_scheme(small_text: str) -> None:
    document = Document(small_text)
    drawn = [attributes for name, attributes in document.elements if name in {"path", "line", "text", "rect"}]
    painted = {str(a.get(key)) for a in drawn for key in ("fill", "stroke")} - {"None", "none", "transparent"}
    style = small_text[small_text.index("<style>") : small_text.index("</style>")]
    variables = {f"var({name})" for name in re.findall(r"(--[a-z0-9-]+):", style)}
    assert painted
    assert painted <= variables
    assert "#010f" not in small_text
    assert "prefers-color-scheme:dark" in style


def test_every_chart_has_a_title_and_a_description_and_scales(small_text: str) -> None:
    document = Document(small_text)
    identifiers = {attributes.get("id") for name, attributes in document.elements if name == "desc"}
    assert charts(document)
    for chart in charts(document):
        assert chart["aria-label"]
        assert chart["aria-describedby"] in identifiers
        assert str(chart["viewbox"]).startswith("0 0 ")
        assert "width" not in chart


def test_every_table_names_its_rows_and_columns(small_text: str) -> None:
    document = Document(small_text)
    headers = [attributes.get("scope") for name, attributes in document.elements if name == "th"]
    assert set(headers) == {"col", "row", "rowgroup"}
    assert all(a.get("aria-label") for name, a in document.elements if name == "table")


def test_letters_are_never_smaller_than_fourteen_pixels(small_text: str) -> None:
    sizes = re.findall(r"font(?:-size)?:\s*(?:\d+ )?(\d+(?:\.\d+)?)px", small_text)
    sizes += re.findall(r'font-size="(\d+(?:\.\d+)?)px"', small_text)
    assert sizes
    assert min(float(size) for size in sizes) >= 14


def test_hostile_names_and_errors_stay_text(hostile_text: str) -> None:
    document = Document(hostile_text)
    assert document.count("script") == 1
    assert document.wrong == document.open == []
    assert '<script>alert("1")</script>' in "".join(document.texts)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e]", hostile_text)
    assert hostile_text.encode("utf-8")
    assert not any(key.startswith("on") for _, attributes in document.elements for key in attributes)


def test_what_is_not_given_is_left_out() -> None:
    full = demo_page(coins=1, origins=6)
    bare = ReportPage(
        title="Bare",
        coins=full.coins,
        chosen="mix",
        horizons=full.horizons,
        bar="day",
        start=full.start,
        end=full.end,
        rows=tuple(
            BacktestRow(
                model=row.model,
                coin=None,
                scores=tuple(msgspec.structs.replace(score, coverage=()) for score in row.scores),
            )
            for row in full.pooled
        ),
    )
    text = render(bare)
    anchors = [attributes.get("id") for name, attributes in Document(text).elements if name == "section"]
    assert anchors == ["answers"]
    assert "Strategies" not in text


def test_the_lead_says_what_the_chosen_model_answers_and_that_there_is_nothing() -> None:
    one = replace(demo_page(coins=1, origins=6), fans=(), honesty=(), trading=None)
    assert lead(one).startswith("mix: Are the intervals right? Yes. Is the width better than naive? Yes at 1 day; ")
    assert "<dt>Is there a view on direction?</dt><dd>No</dd>" in render(one)
    assert "There are no scores." in render(replace(one, rows=()))


def test_the_page_says_of_each_answer_what_its_record_says(small: ReportPage, small_text: str) -> None:
    said = " ".join("".join(Document(small_text).texts).split())
    for row in small.rows:
        for score in row.scores:
            for one in score.answers:
                assert answer_numbers(one) in said
    assert "not enough data" in said
    assert "n = 41, about 300 dates would do" in said
    assert "Each trade costs 15 bps of its value (10 fee, 5 slippage)." in said


def test_unknown_numbers_do_not_stop_the_page(small: ReportPage) -> None:
    import numpy as np

    fan = small.fans[0]
    blind = replace(fan, outcome=np.full_like(fan.outcome, np.nan), close=np.full_like(fan.close, np.nan))
    nothing = replace(
        fan,
        issued_at=fan.issued_at[:0],
        due_at=fan.due_at[:0],
        prices=fan.prices[:0],
        outcome=fan.outcome[:0],
    )
    lost = tuple(
        msgspec.structs.replace(
            record,
            levels=tuple(msgspec.structs.replace(one, share=math.nan, se=math.nan) for one in record.levels),
            skills=tuple(msgspec.structs.replace(one, value=None, lower=None, upper=None) for one in record.skills),
        )
        for record in small.honesty
    )
    text = render(replace(small, fans=(blind, nothing), honesty=lost, trading=None))
    assert "No outcomes yet." in text
    assert "nan" not in re.sub(r"<title.*?</title>", "", text.lower()).replace("finance", "")


def test_the_picture_is_a_png_and_the_same_each_time(small: ReportPage) -> None:
    drawn = picture(small).png()
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", drawn[16:24])
    assert width > 1_500
    assert height > 1_200
    assert picture(small).png() == drawn
    with pytest.raises(ValueError, match="nothing to draw"):
        picture(replace(small, fans=(), honesty=()))


def test_the_drawing_libraries_wait_until_a_page_is_rendered() -> None:
    code = (
        "import sys, cryptocast.evaluation.report\n"
        "print([name for name in ('altair', 'vl_convert', 'jsonschema') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert told.stdout.strip() == "[]"
