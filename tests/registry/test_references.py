import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.errors import UsageError
from cryptocast.market import Market
from cryptocast.registry import VersionKey
from cryptocast.registry.references import VersionReference, nearest, parse_reference
from tests.registry.registry_fits import BITCOIN


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("bitcoin/lightgbm@production", VersionReference("bitcoin", "lightgbm", alias="production")),
        ("bitcoin/lightgbm@challenger", VersionReference("bitcoin", "lightgbm", alias="challenger")),
        ("bitcoin/lightgbm:3", VersionReference("bitcoin", "lightgbm", number=3)),
        ("bitcoin/ml_ensemble", VersionReference("bitcoin", "ml_ensemble")),
        ("bitcoin@best", VersionReference("bitcoin", alias="best")),
        ("usd-coin/lightgbm:12#hourly", VersionReference("usd-coin", "lightgbm", number=12, granularity="hourly")),
        ("bitcoin@best#daily", VersionReference("bitcoin", alias="best", granularity="daily")),
        ("bitcoin", VersionReference("bitcoin")),
        ("bitcoin@production", VersionReference("bitcoin", alias="production")),
        ("bitcoin:3", VersionReference("bitcoin", number=3)),
        (
            "bitcoin/lightgbm (sample, usd, hourly)",
            VersionReference("bitcoin", "lightgbm", None, None, "hourly", "sample", "usd"),
        ),
    ],
)
def test_each_way_to_name_a_version(text: str, meant: VersionReference) -> None:
    assert parse_reference(text) == meant


@pytest.mark.parametrize("key", [BITCOIN, VersionKey("usd-coin", Market("coingecko", "eur", "hourly"), "ml_ensemble")])
def test_a_key_reads_back_as_it_is_printed(key: VersionKey) -> None:
    meant = parse_reference(str(key))
    there = Market(meant.source or "", meant.vs or "", meant.granularity or "daily")
    assert VersionKey(meant.coin, there, meant.kind or "") == key


def test_the_nearest_name_is_one_that_there_is_or_none() -> None:
    assert nearest("bitcon", ["ethereum", "bitcoin"]) == "bitcoin"
    assert nearest("btc", ["ethereum", "bitcoin"]) == "bitcoin"
    assert nearest("zzz", ["ethereum", "bitcoin"]) is None


references = st.builds(
    VersionReference,
    coin=st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
    kind=st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    granularity=st.sampled_from([None, "daily", "hourly"]),
)


@given(references, st.sampled_from([None, "production", "challenger"]), st.integers(0, 10**9 - 1))
def test_a_reference_reads_back_from_its_text(made: VersionReference, alias: str | None, number: int) -> None:
    which = VersionReference(
        made.coin, made.kind, alias, number if alias is None and number else None, made.granularity
    )
    assert parse_reference(str(which)) == which


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a CoinGecko id"),
        ("bitcoin@prod", "not an alias"),
        ("bitcoin:0", "count from 1"),
        ("bitcoin/lightgbm (sample, usd)", "not the source"),
        ("bitcoin/lightgbm (sample, usd, weekly)", "not the source"),
        ("bitcoin/lightgbm (sample, usd, daily, x)", "not the source"),
        ("bitcoin/lightgbm#hourly (sample, usd, daily)", "of hourly and of daily"),
        ("bitcoin/lightgbm@best", "without a kind"),
        ("bitcoin/lightgbm@prod", "not an alias"),
        ("bitcoin/lightgbm@", "not an alias"),
        ("bitcoin/", "not a kind"),
        ("bitcoin/lightgbm:", "not a version number"),
        ("bitcoin/lightgbm:0", "count from 1"),
        ("bitcoin/lightgbm:-1", "not a version number"),
        ("bitcoin/lightgbm:1.5", "not a version number"),
        ("bitcoin/lightgbm:٣", "not a version number"),
        ("bitcoin/lightgbm:" + "9" * 5000, "not a version number"),
        ("bitcoin/lightgbm:3@production", "alias and a number"),
        ("bitcoin/lightgbm#weekly", "neither #daily nor #hourly"),
        ("Bitcoin/lightgbm", "not a CoinGecko id"),
        ("../../etc/passwd", "not a CoinGecko id"),
        ("bitcoin\n/lightgbm", "not a CoinGecko id"),
        ("bitcoin/light\x1b[31mgbm", "not a kind"),
        ("₿/lightgbm", "not a CoinGecko id"),
        ("a" * 101 + "/lightgbm", "not a CoinGecko id"),
        ("bitcoin/lightgbm/3", "not a kind"),
        ("'; drop table fits; --/x", "not a CoinGecko id"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        parse_reference(text)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 600


@given(st.text(max_size=30))
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    try:
        meant = parse_reference(text)
    except UsageError:
        return
    assert parse_reference(str(meant)) == meant
