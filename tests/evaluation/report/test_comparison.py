"""Two versions side by side: what was compared stands on the page, and no name becomes a tag."""

from cryptocast.evaluation.report.comparison import ComparedHorizon, comparison_page

HORIZONS = (ComparedHorizon("1 bar", 410, 0.021, 0.004, 0.037), ComparedHorizon("7 bars", 58, None, None, None))


def test_skill_and_differences_are_tables_and_the_skill_a_chart() -> None:
    text = comparison_page("b:1", "b:2", "b:1 is better", ("better at 1 bar",), HORIZONS, (("seed", "1", "2"),))
    assert '<p class="lead">b:1 is better</p>' in text
    assert "<td>+2.1</td>" in text
    assert "better at 1 bar" in text
    assert text.count("<table") == 2
    assert "<svg" in text


def test_without_horizons_and_differences_it_says_so() -> None:
    text = comparison_page("b:1", "b:2", "b:1 and b:2 were not compared: they are of different coins", (), (), ())
    assert '<p class="lead">b:1 and b:2 were not compared: they are of different coins</p>' in text
    assert "Nothing that affects the fit differs." in text
    assert "Result" not in text
    assert "<table" not in text
    assert "<svg" not in text


def test_a_name_stays_text() -> None:
    text = comparison_page("<b>", "b:2", "a verdict", (), (), (("<i>", "1", "2"),))
    assert "<b>" not in text.replace("<body>", "")
    assert "&lt;i&gt;" in text
