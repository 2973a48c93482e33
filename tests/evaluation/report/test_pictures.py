"""Charts that stand by themselves."""

import xml.etree.ElementTree as ET  # of what we draw ourselves

from cryptocast.evaluation.report.colours import COLOURS
from cryptocast.evaluation.report.pictures import Chart, Picture
from tests.evaluation.report.test_drawing import PLOT

HOSTILE = '</svg><script>alert("x")</script>'
PICTURE = Picture(f"Title {HOSTILE}", [f"about {HOSTILE}"], [Chart(PLOT, f"first {HOSTILE}", f"words {HOSTILE}", 200)])


def test_svg_is_whole_in_light_colours_and_nothing_in_it_becomes_a_tag() -> None:
    root = ET.fromstring(PICTURE.svg())  # noqa: S314
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert float(root.attrib["width"]) > 860
    assert not [element.tag for element in root.iter() if element.tag.endswith("script")]
    assert f"words {HOSTILE}" in (root[0].text or "")
    assert "var(--" not in PICTURE.svg()
    assert not any(colour.stand_in in PICTURE.svg() for colour in COLOURS.values())


def test_a_notebook_shows_several_pictures_without_two_elements_of_one_name() -> None:
    other = Picture("Other", [], PICTURE.charts)
    ids = [
        element.attrib["id"]
        for picture in (PICTURE, other)
        for element in ET.fromstring(picture._repr_html_()).iter()  # noqa: S314
        if "id" in element.attrib
    ]
    assert ids
    assert len(set(ids)) == len(ids)


def test_the_page_has_one_script_and_needs_no_other_file() -> None:
    page = PICTURE.html()
    assert page == PICTURE.html()
    assert page.count("<script>") == 1
    assert "default-src &#x27;none&#x27;" in page
    assert page.count("<svg") == 2  # a wide and a narrow drawing of the chart


def test_png_is_the_same_each_time() -> None:
    assert PICTURE.png().startswith(b"\x89PNG")
    assert PICTURE.png() == PICTURE.png()
