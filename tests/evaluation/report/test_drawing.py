"""A drawing as an element of the page: its colours are variables, its identifiers its own."""

import re

from cryptocast.evaluation.report.charts import importance
from cryptocast.evaluation.report.drawing import png, svg
from cryptocast.evaluation.report.report_data import FeatureShares

PLOT = importance(FeatureShares("trees", (("ret_1", 0.6), ("vol_24", 0.4))), 5)


def test_colours_are_variables_of_the_style_sheet_and_the_size_is_that_of_its_place() -> None:
    text = svg(PLOT, title="Features", description="ret_1 60%", width=358, height=200)
    assert "var(--accent)" in text
    assert "#010f" not in text
    assert 'viewBox="0 0 358 200"' in text
    assert not re.search(r"<svg[^>]* width=", text)


def test_marks_say_what_they_show_and_the_frame_of_the_axes_is_told() -> None:
    text = svg(PLOT, title="Features", description=PLOT.labels, width=358, height=200)
    assert re.findall(r"<title>(.*?)</title>", text) == ["ret_1: 60.0%", "vol_24: 40.0%"]
    assert "ret_1: 60.0%; vol_24: 40.0%</desc>" in text
    (frame,) = re.findall(r'data-frame="([^"]+)"', text)
    x, y, width, height = map(float, frame.split())
    assert 0 < x < 358 - width
    assert 0 < y < 200 - height


def test_a_drawing_is_named_by_what_it_shows() -> None:
    one, again, other = (
        svg(PLOT, title=title, description="", width=358, height=200) for title in ("Features", "Features", "<Others>")
    )
    assert one == again
    names = [re.findall(r' id="([^"]+)"', text) for text in (one, other)]
    assert names[0]
    assert not set(names[0]) & set(names[1])
    assert "&lt;Others&gt;" in other


def test_a_picture_holds_all_its_plots() -> None:
    properties = {"width": 300, "height": 120, "title": "one"}
    single, double = (png([(PLOT, properties)] * count, title="t", subtitle=["s"]) for count in (1, 2))
    assert single[:8] == double[:8] == b"\x89PNG\r\n\x1a\n"
    heights = [int.from_bytes(picture[20:24], "big") for picture in (single, double)]
    assert heights[1] > heights[0] + 200
