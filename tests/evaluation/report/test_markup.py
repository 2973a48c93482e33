"""Whatever is not HTML already is escaped, and no document holds what it cannot."""

from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.evaluation.report.markup import Html, clean, join, tag, text


class Read(HTMLParser):
    def __init__(self, written: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.said = ""
        self.feed(written)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.said += data


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=40))
def test_any_text_reads_back_as_itself_and_as_nothing_else(value: str) -> None:
    read = Read(tag("p", value, title="x" + value))
    assert [name for name, _ in read.found] == ["p"]
    assert read.said == clean(value)
    assert read.found[0][1] == [("title", "x" + clean(value))]


def test_html_is_left_as_it_is_and_text_is_not() -> None:
    assert join([Html("<b>"), "<b>"]) == "<b>&lt;b&gt;"
    assert tag("td", tag("b", "a & b"), class_="x", aria_label="y", id=None) == (
        '<td class="x" aria-label="y"><b>a &amp; b</b></td>'
    )
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert tag("details", open="") == "<details open></details>"


def test_controls_surrogates_and_turned_text_are_replaced() -> None:
    assert text("a\x00b\x1b\ud800\u202ec\n") == "a\ufffdb\ufffd\ufffd\ufffdc\n"
