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
        "7 bars: skill +1.0 % against the baseline on 3 dates, too few dates to test; intervals held 80 %: 79.0 ± 2.0, "
        "95 %: 100.0 ± 0.0"
    )


def test_a_reason_of_an_earlier_release_stays_the_text_that_it_is() -> None:
    texts = msgspec.json.decode(b'["the baseline is better live", {"code": "no_horizon"}]', type=list[Reason | str])
    assert [str(text) for text in texts] == ["the baseline is better live", "its hold-out scored no horizon"]
