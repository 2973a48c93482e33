"""The page in a real browser: silent, alone, drawn, and as wide as the screen."""

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
    drawn = browser.value(SHAPES)
    assert len(drawn) > 15
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
    assert browser.value("document.scripts.length") == 0
    assert browser.value("document.querySelectorAll('section').length") > 5
