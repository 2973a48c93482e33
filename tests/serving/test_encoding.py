import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.errors import ModelError
from cryptocast.serving.encoding import encode


class Page(msgspec.Struct):
    numbers: tuple[float, ...]
    count: int = 123_456_789_012
    inner: tuple["Page", ...] = ()


def decoded(*numbers: float) -> list[float]:
    found: list[float] = msgspec.json.decode(encode(Page(numbers=numbers)))["numbers"]
    return found


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200)
def test_a_number_moves_by_half_a_unit_of_its_eighth_digit_at_most(value: float) -> None:
    (found,) = decoded(value)

    # 5e-8 of the leading digit's unit; the smallest doubles have fewer digits than that.
    assert math.isclose(found, value, rel_tol=5.0000001e-8, abs_tol=5e-324)


@given(st.lists(st.floats(-1e9, 1e9), min_size=2))
@settings(max_examples=50)
def test_what_was_in_order_stays_in_order(values: list[float]) -> None:
    found = decoded(*sorted(values))

    assert found == sorted(found)


def test_numbers_are_written_short_and_whole_ones_left_alone() -> None:
    page = Page(numbers=(1 / 3, 65_123.456789, 1.0), inner=(Page(numbers=(2 / 3,)),))

    assert encode(page) == (
        b'{"numbers":[0.33333333,65123.457,1.0],"count":123456789012,'
        b'"inner":[{"numbers":[0.66666667],"count":123456789012,"inner":[]}]}'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ModelError, match="Train the model anew"):
        encode(Page(numbers=(value,)))
