"""Which calls a script spoils: rules, scripts from files, and the cycle."""

from pathlib import Path

import msgspec
import pytest

from cryptocast.errors import ConfigError
from cryptocast.rehearsal import CYCLE, FAULTS, Cycle, Rule, Script, read_script, script_of
from cryptocast.rehearsal.faults import Playbook, as_script, parse_script
from cryptocast.rehearsal.messages import Endpoint


def spoiled(rule: Rule, calls: int, endpoint: Endpoint = "ping", ids: tuple[str, ...] = ()) -> list[int]:
    """The numbers, from 1, of the calls that the rule spoils."""
    book = Playbook(Script(rules=(rule,)))
    return [i for i in range(1, calls + 1) if book.pick(endpoint, ids) is rule]


def test_a_rule_without_conditions_spoils_every_call() -> None:
    assert spoiled(Rule(fault="close"), 3) == [1, 2, 3]


def test_calls_are_picked_by_number_after_some_and_at_most_so_often() -> None:
    assert spoiled(Rule(fault="close", calls=(2, 4)), 5) == [2, 4]
    assert spoiled(Rule(fault="close", after=3), 5) == [4, 5]
    assert spoiled(Rule(fault="close", after=1, times=2), 5) == [2, 3]


def test_calls_are_picked_by_endpoint_and_coin_and_only_those_are_counted() -> None:
    book = Playbook(Script(rules=(Rule(fault="reset", endpoints=("price",), ids=("bitcoin",), calls=(2,)),)))
    assert book.pick("ping", ()) is None
    assert book.pick("price", ("ethereum",)) is None
    assert book.pick("price", ("ethereum", "bitcoin")) is None
    assert book.pick("range", ("bitcoin",)) is None
    assert book.pick("price", ("bitcoin",)) is not None


def test_chance_is_seeded_and_about_right() -> None:
    rule = Rule(fault="close", probability=0.3)
    first = spoiled(rule, 1000)
    assert first == spoiled(rule, 1000)
    assert 240 < len(first) < 360


def test_the_first_rule_that_fires_counts_and_the_others_stay_untouched() -> None:
    one, two = Rule(fault="close", times=1), Rule(fault="reset", times=1)
    book = Playbook(Script(rules=(one, two)))
    assert [book.pick("ping", ()) for _ in range(3)] == [one, two, None]


def test_the_cycle_begins_calm_and_goes_through_its_rules_again_and_again() -> None:
    now = 100.0
    one, two = Rule(fault="close"), Rule(fault="reset")
    book = Playbook(Script(cycle=Cycle(each_s=20, calm_s=10, rules=(one, two))), monotonic=lambda: now)
    seen = []
    for now in (100.0, 109.9, 110.0, 129.9, 130.0, 140.0, 159.9, 160.0, 170.0):  # noqa: B007 - read by the clock
        seen.append(book.pick("ping", ()))
    assert seen == [None, None, one, one, None, two, two, None, one]


def test_the_cycle_holds_every_fault() -> None:
    assert {rule.fault for rule in CYCLE.rules} == set(FAULTS)


def test_short_forms_become_scripts() -> None:
    rule = Rule(fault="slow")
    assert as_script(()) == Script()
    assert as_script("none") == Script()
    assert as_script("cycle") == Script(cycle=CYCLE)
    assert as_script("slow") == as_script(["slow"]) == as_script([rule]) == Script(rules=(rule,))
    assert as_script(Script(rules=(rule,))) == Script(rules=(rule,))
    assert script_of("hang").rules[0].fault == "hang"


def test_a_script_is_read_from_toml_and_from_json(tmp_path: Path) -> None:
    expected = Script(rules=(Rule(fault="error", status=503, shape="html", endpoints=("market_chart",), calls=(1, 2)),))
    toml = tmp_path / "faults.toml"
    toml.write_text(
        '[[rules]]\nfault = "error"\nstatus = 503\nshape = "html"\nendpoints = ["market_chart"]\ncalls = [1, 2]\n',
        encoding="utf-8",
    )
    json = tmp_path / "faults.json"
    json.write_bytes(msgspec.json.encode(expected))
    assert read_script(toml) == read_script(json) == script_of(str(toml)) == expected


def test_a_cycle_without_rules_goes_through_everything() -> None:
    assert parse_script({"cycle": {"each_s": 1, "calm_s": 0}}) == Script(
        cycle=Cycle(each_s=1, calm_s=0, rules=CYCLE.rules)
    )


@pytest.mark.parametrize(
    "text",
    [
        '[[rules]]\nfault = "bogus"',
        '[[rules]]\nfault = "hang"\nsecond = 1',
        "rules = 3",
        "[[rules",
        '[[rules]]\nfault = "slow"\ntimes = 0',
    ],
)
def test_a_script_that_makes_no_sense_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"faults\.toml"):
        read_script(path)


def test_neither_a_fault_nor_a_file_is_refused_with_the_list() -> None:
    with pytest.raises(ConfigError, match="truncated"):
        script_of("bogus")
