"""Names that one command prints, every other takes; and a name that means nothing is never answered with nothing."""

import json
from pathlib import Path

import pytest

from cryptocast.cli.names import read_name
from cryptocast.errors import UsageError
from cryptocast.registry import Registry, SourceMove
from tests.cli.commands import Run
from tests.registry.registry_fits import NOW, register

PRINTED = (
    "bitcoin",
    "bitcoin/lightgbm",
    "bitcoin/lightgbm:1",
    "bitcoin/lightgbm:2#daily",
    "bitcoin/lightgbm@production",
    "bitcoin/lightgbm@challenger",
    "bitcoin@best",
    "bitcoin:1",
    "bitcoin/lightgbm (sample, usd, daily)",
)
COMMANDS = {
    "list": ("registry", "list"),
    "history": ("registry", "history"),
    "show": ("registry", "show"),
    "card": ("registry", "card"),
    "promote": ("registry", "promote", "--dry-run"),
    "rollback": ("registry", "rollback", "--dry-run"),
    "ab status": ("registry", "ab", "status"),
    "forecast": ("forecast", "--version"),
}
NOTHING_BEFORE = "there is nothing to go back to"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_printed_is_taken(run: Run, trained: Path, command: str) -> None:
    for name in PRINTED:
        ended = run(*COMMANDS[command], name, "--json", folder=trained)
        understood = ended.code in (0, 6) or NOTHING_BEFORE in ended.err
        assert understood, f"{name}: {ended.err}"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("bitcon", "Did you mean bitcoin?"),
        ("bitcon/lightgbm:1", "Did you mean bitcoin?"),
        ("bitcoin/lightgbn", "There are versions of bitcoin/lightgbm (sample, usd, daily)"),
        ("bitcoin/lightgbm:9", "bitcoin/lightgbm"),
        ("bitcoin/lightgbm#hourly", "There are versions of bitcoin/lightgbm (sample, usd, daily)"),
        ("bitcoin/lightgbm (file, usd, daily)", "There are versions of bitcoin/lightgbm (sample, usd, daily)"),
        ("bitcoin/lightgbm@prod", "@production"),
        ("bitcoin/lightgbm:one", "not a version number"),
        ("bit.coin", "lower-case"),
    ],
)
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "forecast"])
def test_a_name_that_means_nothing_is_refused_with_what_there_is(
    run: Run, trained: Path, command: str, name: str, nearest: str
) -> None:
    ended = run(*COMMANDS[command], name, folder=trained)
    assert ended.code in (2, 5), ended.out
    assert (nearest in ended.err, ended.err.count("\n")) == (True, 1)


def test_a_version_has_its_own_part_of_the_history(run: Run, trained: Path) -> None:
    def numbers(name: str) -> list[tuple[str, int]]:
        ended = run("registry", "history", name, "--json", folder=trained)
        return [(event["alias"], event["number"]) for event in json.loads(ended.out)["events"]]

    assert numbers("bitcoin") == [("challenger", 1), ("production", 1), ("challenger", 2)]
    assert numbers("bitcoin/lightgbm:1") == [("challenger", 1), ("production", 1), ("challenger", 2)]
    assert numbers("bitcoin/lightgbm:2") == [("challenger", 2)]
    assert numbers("bitcoin/lightgbm@production") == [("production", 1)]


def test_a_version_among_the_coins_of_a_forecast_is_the_version_that_answers(run: Run, trained: Path) -> None:
    for arguments in (("bitcoin/lightgbm:2",), ("--version", "bitcoin/lightgbm:2")):
        (made,) = json.loads(run("forecast", *arguments, "--json", folder=trained).out)["forecasts"]
        assert (made["coin"], made["version"]) == ("bitcoin", 2)
    ended = run("forecast", "bitcoin", "bitcoin/lightgbm:2", folder=trained)
    assert (ended.code, "a coin is expected here: bitcoin" in ended.err) == (2, True)


def test_of_a_version_that_is_scored_only_its_own_lines_are_shown(run: Run, own: Path) -> None:
    ended = run("registry", "score", "bitcoin/lightgbm:2", "--json", folder=own)
    assert [row["name"] for row in json.loads(ended.out)["rows"]] == ["bitcoin/lightgbm:2"]


def test_the_best_is_of_a_coin(run: Run, trained: Path) -> None:
    for name in ("bitcoin", "bitcoin@best", "bitcoin#daily"):
        assert json.loads(run("registry", "best", name, "--json", folder=trained).out)["best"] == "bitcoin/lightgbm:1"
    ended = run("registry", "best", "bitcoin/lightgbm:1", folder=trained)
    assert (ended.code, "cryptocast registry best bitcoin" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("bitcoin/lightgbm", "lstm"), {}),
        (("bitcoin/lightgbm:1", None, 2), {}),
        (("bitcoin#hourly",), {"granularity": "daily"}),
        (("bitcoin/lightgbm (sample, usd, daily)",), {"source": "coingecko"}),
        (("bitcoin/lightgbm (sample, usd, daily)",), {"vs": "eur"}),
    ],
)
def test_what_contradicts_the_name_is_refused(arguments: tuple[str, ...], options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="contradict each other"):
        read_name(*arguments, **options)  # type: ignore[arg-type]


def test_a_test_is_ended_by_the_name_of_one_of_its_sides_only(run: Run, own: Path) -> None:
    assert run("train", "bitcoin", "--horizons", "1,7", "--config", "config.toml", folder=own).code == 0
    assert run("registry", "ab", "start", "bitcoin/lightgbm:2", folder=own).code == 0
    ended = run("registry", "ab", "stop", "bitcoin/lightgbm:3", folder=own)
    assert (ended.code, "not part of the running test" in ended.err) == (5, True)
    assert run("registry", "ab", "stop", "bitcoin/lightgbm:2", folder=own).code == 0


def test_tickers_and_pairs_are_told_on_stderr_and_answered_by_their_ids(run: Run, trained: Path) -> None:
    ended = run("forecast", "BTC", "ETH-USD", "--horizons", "1", "--json", folder=trained)
    assert ended.err == "BTC means bitcoin.\nETH-USD means ethereum in usd.\n"
    assert [made["coin"] for made in json.loads(ended.out)["forecasts"]] == ["bitcoin", "ethereum"]
    assert run("forecast", "bitcoin", "--horizons", "1", "--json", folder=trained).err == ""


@pytest.mark.parametrize(
    "words",
    [
        ("fetch", "BTC"),
        ("features", "btc"),
        ("backtest", "XBT", "--model", "baseline", "--horizons", "1"),
        ("forecast", "BTC#daily", "--horizons", "1"),
        ("forecast", "--version", "BTC/lightgbm:1", "--horizons", "1"),
        ("registry", "list", "BTC"),
        ("registry", "show", "BTC/lightgbm@production"),
        ("registry", "best", "BTC/USDT"),
        ("registry", "compare", "BTC/lightgbm:1", "btc/lightgbm:2"),
        ("registry", "history", "BTC"),
        ("registry", "ab", "status", "BTC"),
        ("registry", "promote", "BTC", "--dry-run"),
        ("registry", "score", "BTC"),
    ],
    ids=" ".join,
)
def test_every_command_takes_tickers(run: Run, own: Path, words: tuple[str, ...]) -> None:
    ended = run(*words, "--json", folder=own)
    assert ended.code in (0, 6), ended.err
    assert "means bitcoin" in ended.err
    assert "BTC" not in ended.out


def test_train_takes_tickers_too(run: Run, own: Path) -> None:
    ended = run("train", "BTC", "--if-older-than", "9999d", "--json", folder=own)
    assert (ended.code, ended.err) == (0, "BTC means bitcoin.\n")


def test_the_currency_of_a_pair_is_that_of_the_command(run: Run, trained: Path) -> None:
    euro = run("forecast", "BTC/EUR", folder=trained)
    assert "no daily bitcoin in eur" in euro.err
    for words in (("BTC/EUR", "--vs", "usd"), ("BTC/EUR", "ETH/USD")):
        contradiction = run("forecast", *words, folder=trained)
        assert contradiction.code == 2
        assert "one currency at a time" in contradiction.err


def test_of_several_sources_the_one_that_a_coin_was_moved_to_is_meant(run: Run, tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "data")
    for source in ("coingecko", "bitstamp"):
        register(registry, source=source)
    assert "Set --source" in run("registry", "show", "bitcoin/lightgbm:1").err
    moved = SourceMove(coin="bitcoin", vs="usd", source="bitstamp", previous="coingecko", at=NOW, who="ada")
    registry.record_moves([moved])
    shown = json.loads(run("registry", "show", "bitcoin/lightgbm:1", "--json").out)
    assert shown["version"]["source"] == "bitstamp"
