"""What a tuning tries lies inside its ranges, which reach what is configured and stand on the page."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import RANGES, Config, LightGBMConfig
from cryptocast.errors import UsageError
from cryptocast.models.kinds import learner
from cryptocast.workflows.tuning.search_space import as_tried, defaults, ranges_for, spread_over

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("kind", RANGES)
def test_what_is_tried_is_inside_its_range_and_a_learner_can_be_made_of_it(kind: str) -> None:
    ranges = ranges_for(kind, Config())
    points = spread_over(ranges, 7, 3)
    for point in (defaults(kind, Config(), ranges), *points):
        assert all(r.low <= point[r.name] <= r.high for r in ranges)
        assert learner(kind, as_tried(Config(), kind, point)).kind == kind
    for known in ranges:
        if not known.whole:
            assert len({point[known.name] for point in points}) == 7


@settings(max_examples=30)
@given(st.floats(0.001, 1.0), st.integers(2, 1000), st.floats(0.0, 1e4))
def test_ranges_reach_what_is_configured(rate: float, leaves: int, shrinks: float) -> None:
    config = Config(lightgbm=LightGBMConfig(learning_rate=rate, num_leaves=leaves, lambda_l2=shrinks))
    ranges = {r.name: r for r in ranges_for("lightgbm", config, labels=300)}
    assert ranges["learning_rate"].low <= rate <= ranges["learning_rate"].high
    assert ranges["num_leaves"].low <= leaves <= ranges["num_leaves"].high
    assert ("lambda_l2" in ranges) == (shrinks > 0)
    assert ranges["min_data_in_leaf"].high <= 100


def test_the_page_on_tuning_states_what_is_searched() -> None:
    text = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
    for kind, ranges in RANGES.items():
        rows = [
            f"| `{kind}` | `{r.name}` | {r.low:g} | {r.high:g} | {'factors' if r.log else 'even'} |" for r in ranges
        ]
        assert [row for row in text.splitlines() if row.startswith(f"| `{kind}`")] == rows


def test_a_kind_without_settings_is_refused() -> None:
    with pytest.raises(UsageError, match="baseline has no settings to tune"):
        ranges_for("baseline", Config())
