"""Records of earlier releases, whose verdicts and fallbacks were sentences, are read as what they said."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.evaluation.records import HoldOut, HonestyRecord
from cryptocast.evaluation.stored import read_stored
from cryptocast.evaluation.verdicts import Verdict, VerdictReason

SCORE: dict[str, Any] = {
    "horizon": 7,
    "n": 900,
    "dates": 300,
    "crps": {"lightgbm": 0.0198, "baseline": 0.02, "rw_gaussian": 0.0199},
    "skill": {"baseline": 0.01, "rw_gaussian": 0.005},
    "p_better": {"baseline": 0.02, "rw_gaussian": 0.08},
    "p_worse_than_baseline": 0.98,
    "coverage": [{"percent": 80, "share": 0.79, "se": 0.02, "n": 900}],
    "mape": 4.1,
    "mape_random_walk": 4.0,
    "verdict": "cannot tell (n = 300 dates, p = 0.09)",
    "fallback": None,
}


def old_hold_out(**changes: Any) -> bytes:
    return msgspec.json.encode(
        {
            "schema": "cryptocast.holdout/1",
            "start": "2024-01-01T00:00:00Z",
            "end": "2024-12-01T00:00:00Z",
            "coins": ["bitcoin"],
            "horizons": [{**SCORE, **changes}],
            "foreign": False,
        }
    )


def verdict_of(**changes: Any) -> Verdict:
    return read_stored(old_hold_out(**changes), HoldOut).horizons[0].verdict


@pytest.mark.parametrize(
    ("text", "word", "p", "reason"),
    [
        ("better (n = 300 dates, p = 0.003)", "better", 0.003, None),
        ("worse (n = 300 dates, p = 0.021)", "worse", 0.021, None),
        ("cannot tell (n = 300 dates, p = 0.09)", "cannot tell", 0.09, None),
        ("cannot tell (n = 300 dates, too few for 7 bars ahead)", "cannot tell", None, "too_few_dates"),
    ],
)
def test_a_verdict_that_was_a_sentence_is_the_values_in_it(
    text: str, word: str, p: float | None, reason: str | None
) -> None:
    verdict = verdict_of(verdict=text)
    assert (verdict.word, verdict.p, verdict.reason, verdict.dates) == (word, p, reason, 300)
    assert (verdict.against, verdict.skill) == ("rw_gaussian", 0.005)
    assert (verdict.lower, verdict.upper, verdict.smallest_skill) == (None, None, None)


def test_a_fallback_that_was_a_sentence_is_a_code_with_its_cause() -> None:
    verdict = verdict_of(verdict="baseline answers (too little history)", fallback="420 bars hold too few returns")
    assert verdict == Verdict(reason=VerdictReason.BASELINE_ANSWERS, detail="420 bars hold too few returns", dates=300)
    assert read_stored(old_hold_out(fallback="too few"), HoldOut).horizons[0].by_baseline


def test_what_came_with_an_archive_stays_foreign() -> None:
    assert verdict_of(verdict="foreign, came with an archive") == Verdict(reason=VerdictReason.FOREIGN, dates=300)


def test_what_was_read_is_written_in_the_present_form_and_reads_back_the_same() -> None:
    record = read_stored(old_hold_out(), HoldOut)
    assert record.schema == "cryptocast.holdout/2"
    assert read_stored(msgspec.json.encode(record), HoldOut) == record


def test_an_old_record_of_what_a_backtest_showed_has_its_numbers_in_the_verdict() -> None:
    old = {
        "model": "mix",
        "horizon": 7,
        "n": 900,
        "dates": 300,
        "strongest": "rw_gaussian",
        "skills": [
            {"reference": "baseline", "value": 0.01, "lower": -0.01, "upper": 0.03},
            {"reference": "rw_gaussian", "value": 0.005, "lower": -0.02, "upper": 0.03},
        ],
        "smallest_effect": 0.021,
        "width": 0.004,
        "direction": 0.001,
        "lies_in": "width and direction",
        "confidence_p": 0.4,
        "pit": {
            "shares": [1.0],
            "bias": 0.0,
            "spread": 0.0,
            "p_uniform": None,
            "p_level_memory": None,
            "p_spread_memory": None,
        },
        "levels": [],
        "coverage": [],
        "stated": [],
        "brier": None,
        "intervals": [],
        "points": {
            "mae": None,
            "rmse": None,
            "mape": None,
            "smape": None,
            "mase": None,
            "r2": None,
            "views": 0,
            "direction": None,
            "direction_lower": 0.0,
            "direction_upper": 1.0,
        },
    }
    record = read_stored(msgspec.json.encode(old), HonestyRecord)
    assert record.lies_in == ("width", "direction")
    assert (record.verdict.against, record.verdict.skill, record.verdict.lower) == ("rw_gaussian", 0.005, -0.02)
    assert (record.verdict.smallest_skill, record.verdict.dates) == (0.021, 300)


@given(st.sampled_from(sorted(SCORE)), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()))
def test_what_is_in_no_form_that_ever_was_is_refused_or_read_never_another_error(name: str, value: object) -> None:
    try:
        record = read_stored(old_hold_out(**{name: value}), HoldOut)
    except msgspec.DecodeError:
        return
    assert isinstance(record.horizons[0].verdict, Verdict)
