"""Reasons are codes with numbers: they read back from JSON, and each has a sentence."""

import msgspec
import pytest

from cryptocast.registry.reasons import Reason, ReasonCode

# Facts of every name that a sentence uses.
FACTS = {
    "alpha": 0.05,
    "bars": 90,
    "cause": "nothing was walked forward",
    "coin": "bitcoin",
    "coverage": {"80": (0.79, 0.02)},
    "dates": 300,
    "days": 181,
    "ends": (0.55, 0.65),
    "end": "2025-01-31",
    "horizon": 7,
    "horizons": (7, 14),
    "interval": (-0.01, 0.03),
    "kind": "lightgbm",
    "limit": 3.0,
    "margin": 0.005,
    "new": 2,
    "new_end": "2025-01-31 00:00",
    "old": 1,
    "old_end": "2025-02-28 00:00",
    "p": 0.02,
    "percent": 80,
    "production": 0.81,
    "rests_on": "90 live bars",
    "share": 0.6,
    "sigmas": 4.2,
    "skill": 0.012,
    "version": "bitcoin/lightgbm:2",
    "why": "a test",
}


@pytest.mark.parametrize("code", ReasonCode)
def test_each_code_reads_back_and_has_a_sentence_without_gaps(code: ReasonCode) -> None:
    reason = Reason(code, FACTS)
    back = msgspec.json.decode(msgspec.json.encode(reason), type=Reason)
    assert (back.code, str(back)) == (code, str(reason))
    assert "{" not in str(reason)
    assert "unknown" not in str(reason)


def test_shares_are_shown_in_percent_with_what_is_not_known_left_out() -> None:
    compared = {"horizon": 1, "skill": 0.012, "interval": (-0.003, 0.027), "dates": 300}
    assert str(Reason(ReasonCode.COMPARED, compared)) == (
        "1 bar: skill +1.2 % [-0.3, +2.7] over production on 300 dates"
    )
    unknown = {"horizon": 7, "skill": None, "interval": (None, None), "dates": 3}
    assert str(Reason(ReasonCode.COMPARED, unknown)) == "7 bars: skill unknown over production on 3 dates"
    scored = {"horizon": 7, "skill": 0.01, "dates": 3, "p": None, "coverage": {"80": (0.79, 0.02), "95": (1.0, 0.0)}}
    assert str(Reason(ReasonCode.SCORED, scored)) == (
        "7 bars: skill +1.0 % over the baseline on 3 dates; intervals held 80 %: 79.0 ± 2.0, 95 %: 100.0 ± 0.0"
    )


def test_the_facts_of_an_earlier_release_are_told_as_far_as_they_go() -> None:
    worse = {"horizon": 7, "skill": -0.2, "p": 2e-6}
    assert str(Reason(ReasonCode.WORSE_THAN_BASELINE, worse)) == (
        "7 bars: worse than the baseline (skill -20.0 %, p of being worse 2e-06 after correction)"
    )
    off = {"horizon": 7, "percent": 80, "share": 0.6, "sigmas": 4.2, "limit": 3.0}
    assert str(Reason(ReasonCode.COVERAGE_OFF, off)) == "7 bars: the 80 % interval held 60.0 % of the outcomes"
    new = {"horizon": 7, "percent": 95, "share": 0.99, "ends": (0.97, 1.01)}
    assert str(Reason(ReasonCode.COVERAGE_OFF, new)).endswith("99.0 % of the outcomes (95 % interval 97.0 to 100.0 %)")


def test_a_reason_of_an_earlier_release_stays_the_text_that_it_is() -> None:
    texts = msgspec.json.decode(b'["the baseline is better live", {"code": "no_horizon"}]', type=list[Reason | str])
    assert [str(text) for text in texts] == ["the baseline is better live", "its hold-out scored no horizon"]
