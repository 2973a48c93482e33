"""The page in a real browser: silent, alone, drawn, and as wide as the screen."""

import re
from pathlib import Path

import pytest

from cryptocast.evaluation.report import render
from tests.evaluation.report.browser import BROWSER, Tab
from tests.evaluation.report.demo import demo_page, hostile_page

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: install Debian's package chromium")

# Of every chart that is on show: how many shapes it has, and how many of those have a size.
SHAPES = """
[...document.querySelectorAll('svg[role=img]')].filter(svg => svg.checkVisibility()).map(svg => {
  const boxes = [...svg.querySelectorAll('path,line,rect')].map(shape => shape.getBoundingClientRect());
  const own = svg.getBoundingClientRect();
  return [boxes.length, boxes.filter(box => box.width + box.height > 1).length, own.width, own.height];
})
"""
CONTRAST = """
(() => {
  const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126*r + 0.7152*g + 0.0722*b; };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const ratio = colour => { const l = light(colour); return (Math.max(l, paper) + .05) / (Math.min(l, paper) + .05); };
  const texts = [...document.querySelectorAll('p,li,td,th,dd,dt,a,summary,h1,h2,h3,.word')]
    .map(e => ratio(getComputedStyle(e).color));
  const labels = [...document.querySelectorAll('svg[role=img] text')].map(e => ratio(getComputedStyle(e).fill));
  return [Math.min(...texts), Math.min(...labels)];
})()
"""


OPEN = "document.querySelectorAll('details').forEach(one => { one.open = true; })"
# The tables that do not fit their box: how wide they are, and how wide the box is.
CUT = """
[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)
.map(box => [box.ariaLabel, box.scrollWidth, box.clientWidth])
"""
PLACES = """
[...document.querySelectorAll('svg[role=img]')].filter(svg => svg.checkVisibility()).map(svg => {
  const { left, top, width, height } = svg.getBoundingClientRect(); return [left, top, width, height]; })
"""
TIP = "document.querySelector('.tip:not([hidden])')?.textContent ?? ''"
VIEW = "document.querySelector('.only-wide svg svg').getAttribute('viewBox').split(' ').map(Number)"
MOST_PIXELS = 6_000
FOLD = 900


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("page") / "report.html"
    written.write_text(render(demo_page(coins=1, origins=20)), encoding="utf-8")
    return written


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_every_chart_is_drawn_and_the_page_is_silent_and_alone(
    browser: Tab, path: Path, width: int, scheme: str
) -> None:
    browser.events.clear()
    browser.open(path, width=width, scheme=scheme)
    browser.value(OPEN)
    drawn = browser.value(SHAPES)
    assert len(drawn) > 25
    assert all(shapes > 3 and sized > 3 and wide > 200 and high > 100 for shapes, sized, wide, high in drawn), drawn
    assert browser.complaints() == []
    assert set(browser.requests()) == {path.as_uri()}
    assert browser.value("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_labels_can_be_read_in_both_schemes(browser: Tab, path: Path, scheme: str) -> None:
    browser.open(path, width=1400, scheme=scheme)
    texts, labels = browser.value(CONTRAST)
    assert texts >= 4.5
    assert labels >= 4.5


def test_the_schemes_differ_and_the_letters_of_charts_are_not_shrunk(browser: Tab, path: Path) -> None:
    grounds, sizes = set(), []
    for scheme in ("light", "dark"):
        browser.open(path, width=390, scheme=scheme)
        grounds.add(browser.value("getComputedStyle(document.body).backgroundColor"))
        sizes.append(
            browser.value(
                "Math.min(...[...document.querySelectorAll('svg[role=img]')].filter(s => s.checkVisibility())"
                ".map(s => 14 * s.getBoundingClientRect().width / s.viewBox.baseVal.width))"
            )
        )
    assert len(grounds) == 2
    assert min(sizes) >= 13.9


def test_hostile_names_run_nothing(browser: Tab, tmp_path: Path) -> None:
    written = tmp_path / "hostile.html"
    written.write_text(render(hostile_page()), encoding="utf-8")
    browser.events.clear()
    browser.open(written, width=1400)
    assert browser.complaints() == []
    assert browser.value("document.scripts.length") == 1
    assert browser.value("document.querySelectorAll('section').length") > 5


def test_the_conclusion_the_fan_and_the_equity_stand_above_the_fold_and_the_page_is_short(
    browser: Tab, path: Path
) -> None:
    browser.open(path, width=1400, height=FOLD)
    assert browser.value("document.querySelector('.conclusion').getBoundingClientRect().bottom") < FOLD / 3
    fan, equity = browser.value(PLACES)[:2]
    assert fan[1] + fan[3] < FOLD
    assert equity[1] + equity[3] < FOLD
    assert equity[0] > fan[0] + fan[2], "side by side"
    assert browser.value("document.documentElement.scrollHeight") <= MOST_PIXELS


def test_no_table_is_cut_off(browser: Tab, path: Path) -> None:
    browser.open(path, width=1400)
    browser.value(OPEN)
    assert browser.value(CUT) == []
    browser.open(path, width=390)
    browser.value(OPEN)
    assert all(box <= 358 for _, _, box in browser.value(CUT)), "it scrolls inside a box as wide as the text"
    assert browser.value("document.documentElement.scrollWidth") <= 390


def test_the_pointer_reads_values_and_a_span_that_is_dragged_fills_the_chart(browser: Tab, path: Path) -> None:
    browser.open(path, width=1400)
    (left, top, width, height), equity = browser.value(PLACES)[:2]
    y = top + height / 2
    browser.mouse("mouseMoved", left + 0.55 * width, y)
    assert re.match(r"20\d\d-\d\d-\d\d\nclose: [\d,]+\n95% interval: [\d,]+ to [\d,]+\n80%", browser.value(TIP))
    whole = browser.value(VIEW)
    browser.mouse("mousePressed", left + 0.4 * width, y, button="left", clickCount=1)
    browser.mouse("mouseMoved", left + 0.6 * width, y, button="left", buttons=1)
    browser.mouse("mouseReleased", left + 0.6 * width, y, button="left", clickCount=1)
    near = browser.value(VIEW)
    assert near[2] == pytest.approx(0.2 * width, rel=0.05)
    assert whole[2] > 0.8 * width
    labels = browser.value("[...document.querySelectorAll('.only-wide .ticks text')].map(t => t.textContent)")
    assert any(re.fullmatch(r"20\d\d-\d\d-\d\d", label) for label in labels)
    browser.value("document.querySelector('[aria-label=\"Show all\"]').click()")
    assert browser.value(VIEW) == whole
    browser.mouse("mouseMoved", equity[0] + 0.5 * equity[2], equity[1] + 0.5 * equity[3])
    assert "buy and hold: " in browser.value(TIP)


def test_a_chart_is_read_and_zoomed_with_the_keyboard(browser: Tab, path: Path) -> None:
    browser.open(path, width=1400)
    browser.value("document.querySelector('.only-wide svg').focus()")
    browser.key("ArrowRight")
    first = browser.value(TIP)
    browser.key("ArrowRight")
    assert first[:10] < browser.value(TIP)[:10]
    whole = browser.value(VIEW)[2]
    browser.key("+")
    assert browser.value(VIEW)[2] == pytest.approx(whole / 2, rel=0.01)
    browser.key("Escape")
    assert browser.value(VIEW)[2] == pytest.approx(whole)


def test_the_mark_next_to_the_pointer_says_what_it_shows(browser: Tab, path: Path) -> None:
    browser.open(path, width=1400, height=2400)
    x, y = browser.value(
        "(() => { const { x, y } = document.querySelector('#skill svg[role=img] path[transform]')"
        ".getBoundingClientRect(); return [x + 3, y + 3]; })()"
    )
    browser.mouse("mouseMoved", x, y)
    assert re.fullmatch(r"baseline, 1 day: [+−]\d+\.\d% \([+−\d.]+% to [+−\d.]+%\)", browser.value(TIP))


def test_without_a_script_the_pictures_stand_and_their_marks_have_titles(browser: Tab, path: Path) -> None:
    browser.events.clear()
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(path, width=1400)
        assert len(browser.value(SHAPES)) > 10
        assert browser.value("document.querySelectorAll('svg path > title').length") > 20
        assert browser.value("document.querySelectorAll('.tip, .zoom, svg svg').length") == 0
        assert browser.complaints() == []
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
