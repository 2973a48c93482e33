"""Why another model answers: each code has its words, and the version stands before them."""

import pytest

from cryptocast.workflows.fallbacks import CAUSES, PASSING, Fallback, FallbackCode, sentence


def test_every_code_has_words_and_only_troubles_pass() -> None:
    assert set(CAUSES) == set(FallbackCode)
    assert FallbackCode.FEATURES not in PASSING
    assert FallbackCode.NO_VERSION not in PASSING


@pytest.mark.parametrize("code", FallbackCode)
def test_a_detail_goes_before_the_words_of_the_code(code: FallbackCode) -> None:
    assert sentence(Fallback(code=code)) == f"{CAUSES[code]}."
    told = sentence(Fallback(code=code, version="bitcoin/lightgbm:3", detail="it broke."))
    assert told == "bitcoin/lightgbm:3 cannot answer: it broke."
