"""Tables that fit."""

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from cryptocast.cli.tables import Column, Sheet, facts, note, title

words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)


def shown(*parts: object, width: int) -> list[str]:
    console = Console(width=width, color_system=None, markup=False, highlight=False)
    with console.capture() as said:
        for part in parts:
            console.print(part)
    return said.get().splitlines()


@given(st.data(), st.integers(20, 120))
def test_no_line_is_longer_than_the_terminal_is_wide(data: st.DataObject, width: int) -> None:
    heads = data.draw(st.lists(words, min_size=1, max_size=8))
    columns = [Column(head, leaves=place, wraps=place == 0) for place, head in enumerate(heads)]
    rows = data.draw(st.lists(st.lists(words, min_size=len(heads), max_size=len(heads)), max_size=4))
    assert max(map(len, shown(Sheet(columns, rows, "name"), width=width))) <= width


@given(st.integers(30, 100))
def test_columns_leave_in_the_order_of_their_importance_and_are_named(width: int) -> None:
    columns = [Column("first"), *(Column(f"column-{n}", leaves=n) for n in (1, 2, 3, 4))]
    lines = shown(Sheet(columns, [["x" * 10] * 5]), width=width)
    kept = [f"column-{n}" for n in (1, 2, 3, 4) if f"column-{n}" in lines[0]]
    assert kept == [f"column-{n}" for n in range(1, len(kept) + 1)]
    said = " ".join(lines[3:])
    assert all((f"column-{n}" in said) == (n > len(kept)) for n in (1, 2, 3, 4))


def test_a_cell_is_never_cut_and_never_read_as_markup() -> None:
    long, styled = "word " * 20, "[red]x[/red] :smile:"
    columns = (Column("a"), Column("b", wraps=True))
    said = "".join(shown(Sheet(columns, [(styled, long)]), width=60))
    assert styled in said
    assert said.count("word") == 20
    assert "…" not in said


@given(st.integers(10, 40))
def test_what_cannot_fit_is_folded_and_nothing_of_it_is_lost(width: int) -> None:
    said = "".join(shown(Sheet([Column("name")], [["x" * 60]]), width=width)[2:])
    assert said.count("x") == 60


def test_facts_have_no_head() -> None:
    assert shown(facts([("name", "value"), ("other", Text("text"))]), width=40) == ["name   value", "other  text "]


def test_titles_and_notes_stay_on_one_line() -> None:
    assert title("a\x1b[2Jb\nc").plain == "\na\\x1b[2Jb c"
    assert note("a\r\nb").plain == "a b"
