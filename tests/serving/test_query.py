import contextlib
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import Config, DataConfig, ForecastConfig
from cryptocast.data.coins import check_coin
from cryptocast.kinds import ASKABLE
from cryptocast.models.tails import EVERY_INTERVAL
from cryptocast.serving.problems import ProblemError
from cryptocast.serving.query import ForecastQuery, by_ids, coin_requests, parameters, preferred_wait_s, read_query
from cryptocast.workflows.context import Selection
from cryptocast.workflows.forecast import Request, check_request
from cryptocast.workflows.market_data.coin_lookup import find_coin

MAX_IDS = 5
coin_ids = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
offered = st.sampled_from((20, 40, 60, 80, 90, 95, 98, 99))


def parse(text: str) -> ForecastQuery:
    return read_query(text.encode(), ForecastQuery, max_ids=MAX_IDS)


def refused(text: str) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        parse(text)
    return caught.value


def choices(name: str) -> tuple[object, ...]:
    """What a field of the query lists as its literal values."""
    schema = parameters(ForecastQuery)[name].schema
    return tuple(schema.get("items", schema)["enum"])


@given(
    ids=st.lists(coin_ids, min_size=1, max_size=MAX_IDS),
    horizons=st.lists(st.integers(1, 1000), min_size=1, max_size=20),
    levels=st.lists(offered, min_size=1, max_size=12),
    hourly=st.booleans(),
)
@settings(max_examples=50)
def test_what_is_asked_for_is_understood(ids: list[str], horizons: list[int], levels: list[int], hourly: bool) -> None:
    asked = {
        "ids": ",".join(ids),
        "horizons": ",".join(map(str, horizons)),
        "levels": ",".join(map(str, levels)),
        "granularity": "hourly" if hourly else "daily",
        "vs": "eur",
        "model": "baseline",
    }
    query = parse(urlencode(asked))

    assert query.ids == tuple(dict.fromkeys(ids))
    assert query.horizons == tuple(sorted(set(horizons)))
    assert query.levels == tuple(sorted(set(levels)))
    assert (query.granularity, query.vs, query.model) == ("hourly" if hourly else "daily", "eur", "baseline")


def test_what_is_left_out_takes_the_setting() -> None:
    config = Config(
        data=DataConfig(coins=("solana", "bitcoin"), vs="eur", source="sample", granularity="hourly"),
        forecast=ForecastConfig(hourly_horizons=(2, 9), intervals=(95, 80), model="baseline"),
    )

    assert coin_requests(parse(""), config) == [
        Request(Selection((coin,), "sample", "eur", "hourly"), "baseline", (2, 9), (80, 95))
        for coin in ("solana", "bitcoin")
    ]


def test_a_list_may_be_given_in_pieces_as_generated_clients_do() -> None:
    assert parse("ids=bitcoin&horizons=7&ids=ethereum,solana&horizons=1") == parse(
        "ids=bitcoin,ethereum,solana&horizons=7,1"
    )


def test_two_queries_that_mean_the_same_give_equal_requests() -> None:
    config = Config()
    plain = coin_requests(parse("ids=bitcoin"), config)
    spelled = "ids=bitcoin,bitcoin&levels=95,80,95&horizons=30,14,7,1,1&model=auto&vs=usd&granularity=daily"

    assert coin_requests(parse(spelled), config) == plain
    assert hash(coin_requests(parse(spelled), config)[0]) == hash(plain[0])


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("ids=", "ids"),
        ("ids", "ids"),
        ("ids=bit.coin", "ids"),
        ("ids=BTC/USDT", "ids"),  # a pair is written btc-usdt, or BTCUSDT
        ("ids=bitcoin,", "ids"),
        ("ids=bitcoin,,ethereum", "ids"),
        ("ids=-bitcoin", "ids"),
        ("ids=../../etc/passwd", "ids"),
        ("ids=bitcoin%0a", "ids"),
        ("ids=bitcoin%00", "ids"),
        ("ids=%F0%9F%92%A9", "ids"),
        ("ids=" + "a" * 101, "ids"),
        ("ids=bitcoin&ids=", "ids"),
        ("ids=a&ids=b&ids=c,d&ids=e&ids=f", "ids"),
        ("model=auto&model=baseline", "model"),
        ("vs=usd&vs=usd", "vs"),
        ("&".join(["horizons=1"] * 21), "horizons"),
        ("ids=a,b,c,d,e,f", "ids"),
        ("model=gpt", "model"),
        ("model=", "model"),
        ("model=auto,baseline", "model"),
        ("horizons=0", "horizons"),
        ("horizons=-1", "horizons"),
        ("horizons=" + ",".join(["1"] * 21), "horizons"),
        ("horizons=1001", "horizons"),
        ("horizons=1.0", "horizons"),
        ("horizons=1e3", "horizons"),
        ("horizons=+7", "horizons"),
        ("horizons=%207", "horizons"),
        ("horizons=1_0", "horizons"),
        ("horizons=%D9%A7", "horizons"),  # an Arabic seven, which int() would take
        ("horizons=" + "9" * 4000, "horizons"),
        ("horizons=" + ",".join(map(str, range(1, 22))), "horizons"),
        ("horizons=", "horizons"),
        ("levels=85", "levels"),
        ("levels=80;95", "levels"),
        ("levels=true", "levels"),
        ("vs=u", "vs"),
        ("vs=USD", "vs"),
        ("vs=usd%0a", "vs"),
        ("granularity=weekly", "granularity"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_the_name_of_its_parameter(text: str, parameter: str) -> None:
    problem = refused(text).problem

    assert (problem.status, problem.parameter, problem.allowed) == (
        400,
        parameter,
        parameters(ForecastQuery)[parameter].allowed,
    )
    assert problem.type.endswith(":invalid-parameter")
    assert problem.detail.isascii()
    assert len(problem.detail) < 300


def test_an_unknown_parameter_is_refused_with_those_that_there_are() -> None:
    problem = refused("ids=bitcoin&horizon=7").problem

    assert (problem.status, problem.parameter) == (400, "'horizon'")
    assert problem.allowed == "ids, model, horizons, levels, vs, granularity, touch, touch_on"


def test_a_query_that_is_no_text_is_refused() -> None:
    for raw in (b"ids=\xff", b"ids=%ff", "ids=ä".encode()):
        with pytest.raises(ProblemError) as caught:
            read_query(raw, ForecastQuery, max_ids=MAX_IDS)
        assert caught.value.problem.status == 400


def test_a_query_without_end_is_refused_unread() -> None:
    assert refused("ids=" + "a," * 5000).problem.status == 414


def test_the_most_ids_of_the_greatest_length_fit_in() -> None:
    ids = [f"{i:03}".ljust(100, "x") for i in range(MAX_IDS)]

    assert parse("ids=" + "%2C".join(ids)).ids == tuple(ids)


@given(st.text(max_size=60))
@settings(max_examples=100)
def test_no_text_ends_in_anything_but_a_query_or_a_problem(text: str) -> None:
    for raw in (quote(text), f"ids={quote(text)}", f"levels={quote(text)}", f"{quote(text)}=1"):
        with contextlib.suppress(ProblemError):
            assert all(coin.isascii() for coin in parse(raw).ids or ())


def test_the_choices_are_those_of_the_models_and_the_quantiles() -> None:
    assert set(choices("model")) == {"auto", *ASKABLE}
    assert choices("levels") == EVERY_INTERVAL
    for level in choices("levels"):
        assert str(level) in parameters(ForecastQuery)["levels"].allowed


def test_tickers_and_pairs_are_their_coins_once_each() -> None:
    query, names = by_ids(parse("ids=BTC,bitcoin,eth-eur,xbt&horizons=1"), lambda text: find_coin(Config(), text))
    assert (query.ids, query.vs, query.horizons) == (("bitcoin", "ethereum"), "eur", (1,))
    assert names == {"BTC": "bitcoin", "eth-eur": "ethereum", "xbt": "bitcoin"}


@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}|[A-Za-z0-9]{1,20}", fullmatch=True))
def test_whatever_is_taken_becomes_one_well_formed_id(text: str) -> None:
    query, _ = by_ids(parse(f"ids={text}"), lambda text: find_coin(Config(), text))
    (coin,) = query.ids or ()
    assert check_coin(coin) == coin


def test_what_passes_here_passes_the_workflow_too() -> None:
    for request in coin_requests(parse("horizons=1000,1&levels=20,95&granularity=hourly"), Config()):
        check_request(request, "hourly", Config())
        assert request.horizons == (1, 1000)


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=5", 5.0),
        ('respond-async, Wait = "7" ; x=1', 7.0),
        ("wait=0", None),
        ("wait=-1", None),
        ("wait=1e3", None),
        ("wait=12345", None),
        ("await=5", None),
        ("wait=٣", None),
        ("x" * 5000 + ",wait=5", None),
        ("", None),
    ],
)
def test_a_preference_to_wait_is_whole_seconds_or_none(prefer: str, seconds: float | None) -> None:
    assert preferred_wait_s(prefer) == seconds


@given(st.floats(1e-12, 1e15))
def test_a_price_reads_back_as_programs_write_it(price: float) -> None:
    assert parse(f"touch={quote(repr(price))}").touch == price
