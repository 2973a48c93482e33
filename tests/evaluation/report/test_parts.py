"""The pieces of a page: tables name their rows, what is folded can be opened, and text stays text."""

from cryptocast.evaluation.report import parts


def test_the_first_cell_of_a_row_names_it_and_groups_have_a_heading() -> None:
    text = parts.grouped(
        "Losses", ["Model", "CRPS"], [("1 day", [["har", "0.1"]]), ("", [["<mix>", "0.2"]])], about="Low."
    )
    assert '<th scope="row">har</th><td>0.1</td>' in text
    assert text.count('scope="rowgroup"') == 1
    assert '<p class="about">Losses. Low.</p>' in text
    assert "&lt;mix&gt;" in text


def test_so_many_cells_as_are_texts_stand_left() -> None:
    text = parts.table("T", ["a", "b", "c"], [["x", "y", "1"]], left=2)
    assert text.count('class="left"') == 3
    assert '<td class="left">y</td><td>1</td>' in text


def test_what_is_folded_is_closed() -> None:
    assert parts.folded("a", "", "<b>") == "<details><summary><bdi>a</bdi></summary>&lt;b&gt;</details>"


def test_legends_show_the_marks_of_the_charts() -> None:
    text = parts.point_legend(["one", "two"])
    assert "var(--series-0)" in text
    assert "var(--series-1)" in text
    bands = parts.band_legend([95, 80], ("band-wide", "band-middle"), outcomes=True)
    assert "outside the 95% interval" in bands
    assert "outside" not in parts.band_legend([95], ("band-wide",), outcomes=False)
    assert "stroke-dasharray" in parts.line_legend(["a"])


def test_four_charts_stand_beside_each_other_and_no_row_has_one_alone() -> None:
    assert parts.tile(4) == parts.tile(8) == parts.QUARTER
    assert parts.tile(3) == parts.TILE
