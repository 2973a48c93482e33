import pytest

from cryptocast.data.coins import check_coin, check_vs, shown, suggestion
from cryptocast.errors import UsageError


@pytest.mark.parametrize("name", ["bitcoin", "0x", "a-b-c", "x" * 100])
def test_a_well_formed_id_is_handed_back(name: str) -> None:
    assert check_coin(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a.b", "a/b", "../x", "Bitcoin", "bitcoin\n", "é", "x" * 101])
def test_nothing_else_becomes_part_of_a_path(name: str) -> None:
    with pytest.raises(UsageError, match="is not a coin id"):
        check_coin(name)


def test_a_name_in_capitals_is_told_in_lower_case() -> None:
    with pytest.raises(UsageError, match=r"Did you mean bitcoin\?"):
        check_coin(" Bitcoin")


@pytest.mark.parametrize(
    ("name", "good"), [("usd", True), ("eur", True), ("u", False), ("us$", False), ("usd\n", False)]
)
def test_a_quote_currency_is_letters_and_digits(name: str, good: bool) -> None:
    if good:
        assert check_vs(name) == name
    else:
        with pytest.raises(UsageError, match="is not a quote currency"):
            check_vs(name)


@pytest.mark.parametrize(("name", "meant"), [("btc", "bitcoin"), ("bitcion", "bitcoin"), ("etherium", "ethereum")])
def test_symbols_and_near_misses_are_guessed_at(name: str, meant: str) -> None:
    assert suggestion(name) == f" Did you mean {meant}?"


def test_a_guess_is_never_the_name_itself_and_strange_names_have_none() -> None:
    assert suggestion("bitcoin") != " Did you mean bitcoin?"
    assert suggestion("qqqqqq") == ""


def test_what_is_shown_is_short_and_safe_on_a_terminal() -> None:
    assert shown("a\x1b[31m\n") == r"'a\x1b[31m\n'"
    assert len(shown("x" * 1000)) == 60
