"""A verdict is values; its sentence is made once."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.evaluation.verdicts import (
    Verdict,
    VerdictReason,
    ab_sentence,
    comparison_sentence,
    p_number,
    p_value,
)


@given(st.floats(0.0, 1.0))
def test_a_p_is_never_shown_as_zero_nor_further_off_than_its_digits(p: float) -> None:
    shown = p_number(p)
    if p < 0.001:
        assert shown == "<0.001"
    else:
        assert float(shown) > 0.0
        assert abs(float(shown) - p) <= (0.0005 if p < 0.1 else 0.005) + 1e-12


def test_where_nothing_was_tested_no_p_is_shown() -> None:
    assert (p_number(None), p_number(float("nan")), p_value(None)) == ("", "", "")


def test_a_p_value_is_never_zero() -> None:
    assert [p_value(p) for p in (0.0, 0.021, 0.22)] == ["p < 0.001", "p = 0.021", "p = 0.22"]


def test_a_comparison_and_a_test_beside_production_say_who_is_better() -> None:
    better = Verdict(word="better", against="b:2", p=0.01, dates=300)
    said = [
        comparison_sentence("b:1", msgspec.structs.replace(better, word=word))
        for word in ("better", "worse", "cannot tell", None)
    ]
    assert said == [
        "b:1 is better than b:2",
        "b:1 is worse than b:2 at some horizon",
        "b:1 is not shown to be better than b:2",
        "b:1 and b:2 were not compared",
    ]
    nothing = Verdict(reason=VerdictReason.NOT_COMPARED, against="b:2")
    assert comparison_sentence("b:1", nothing, "they share a recipe") == (
        "b:1 and b:2 were not compared: they share a recipe"
    )
    assert ab_sentence(better, over=False) == "the challenger is better (p = 0.010)"
    assert ab_sentence(msgspec.structs.replace(better, word="worse"), over=False) == "the challenger is worse"
    unsure = msgspec.structs.replace(better, word="cannot tell")
    assert ab_sentence(unsure, over=True) == "undecided (300 bars, p = 0.010)"
    nothing = msgspec.structs.replace(nothing, against=None)
    assert [ab_sentence(nothing, over=over) for over in (True, False)] == [
        "no bar has an outcome for both",
        "no bar has an outcome for both yet",
    ]
