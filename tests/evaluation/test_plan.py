"""What a walk forward visits."""

import pytest

from cryptocast.errors import DataError
from tests.evaluation.conftest import weekly_plan
from tests.models.conftest import MakeMatrix


def test_too_short_a_history_is_refused_with_the_numbers(make_matrix: MakeMatrix) -> None:
    with pytest.raises(DataError, match="too few to walk over: 250 to train on"):
        weekly_plan(make_matrix(("bitcoin",), 270), min_train_bars=250)


def test_a_start_between_two_bars_is_moved_to_the_next_close(make_matrix: MakeMatrix) -> None:
    matrix = make_matrix(("bitcoin",), 640)
    wanted = int(matrix.issued_at[400]) + matrix.bar_us // 2
    plan = weekly_plan(matrix, start=wanted)
    assert plan.start == matrix.issued_at[401]
    with pytest.raises(DataError, match="ends before it starts"):
        weekly_plan(matrix, start=wanted, end=wanted - 30 * matrix.bar_us)
