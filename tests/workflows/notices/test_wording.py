"""Each notice as a sentence."""

from typing import Any

import pytest

from cryptocast.registry import NoticeCode
from cryptocast.registry.notices import new_notice
from cryptocast.workflows.notices.wording import SENTENCES, notice_sentence
from tests.registry.registry_fits import NOW

KEY = {"coin": "bitcoin", "source": "bitstamp", "vs": "usd", "granularity": "daily", "kind": "lightgbm"}
OFF = {"code": "coverage_off_live", "facts": {"horizon": 1, "percent": 80, "share": 0.61, "bars": 90}}
WIDE = {**KEY, "level": 80, "horizon": 1, "bars": 365, "low": 0.02, "high": 0.07}
FALLBACK = {"model_requested": "auto", "model_used": "baseline", "minutes": 61.5}


@pytest.mark.parametrize(
    ("code", "facts", "sentence"),
    [
        (
            NoticeCode.PROMOTED,
            {**KEY, "number": 3, "previous": 2, "action": "promote", "who": "ann", "why": "it passed"},
            "bitcoin/lightgbm:3 is in production now, in place of version 2 (promoted by ann): it passed.",
        ),
        (
            NoticeCode.PROMOTED,
            {**KEY, "number": 1, "previous": None, "action": "force", "who": "ann", "why": "forced: new fees."},
            "bitcoin/lightgbm:1 is in production now (promoted by ann): forced: new fees.",
        ),
        (
            NoticeCode.REFUSED,
            {**KEY, "number": 4, "reasons": [OFF, {"code": "no_horizon", "facts": {}}]},
            "The gate refused bitcoin/lightgbm:4: 1 bar ahead the 80 % interval held 61.0 % of 90 outcomes; its"
            " hold-out scored no horizon.",
        ),
        (
            NoticeCode.DEGRADED,
            {**KEY, "version": "bitcoin/lightgbm:3", "reasons": [OFF]},
            "bitcoin/lightgbm:3 in production is degraded: 1 bar ahead the 80 % interval held 61.0 % of 90 outcomes.",
        ),
        (
            NoticeCode.STALE,
            {**KEY, "last": "2026-01-31T00:00:00+00:00"},
            "The candles of bitcoin (bitstamp) are stale: they end 2026-01-31 00:00 UTC.",
        ),
        (
            NoticeCode.UNUSUAL_WIDTH,
            {**WIDE, "width": 0.091},
            "The 80 % interval of bitcoin 1 bar ahead is wider than usual: 9.1 %, among the widest 1 % of the last 365"
            " bars (usually 2.0 to 7.0 %).",
        ),
        (
            NoticeCode.UNUSUAL_WIDTH,
            {**WIDE, "width": 0.01},
            "The 80 % interval of bitcoin 1 bar ahead is narrower than usual: 1.0 %, among the narrowest 1 % of the"
            " last 365 bars (usually 2.0 to 7.0 %).",
        ),
        (
            NoticeCode.FALLBACK,
            {**KEY, **FALLBACK, "fallback": {"code": "artefact", "version": "bitcoin/lightgbm:3", "detail": None}},
            "baseline has answered for bitcoin in place of auto for 62 minutes: bitcoin/lightgbm:3 cannot answer: its"
            " files cannot be loaded.",
        ),
        (NoticeCode.TEST, {"host": "here"}, "This is a test of cryptocast on here. Nothing has happened."),
    ],
)
def test_what_has_happened_is_said_in_a_sentence(code: NoticeCode, facts: dict[str, Any], sentence: str) -> None:
    assert notice_sentence(new_notice(code, "", facts, NOW)) == sentence


def test_every_code_has_its_sentence() -> None:
    assert set(SENTENCES) == set(NoticeCode)
