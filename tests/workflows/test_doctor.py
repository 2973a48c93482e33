"""The doctor finds what is wrong, says what to do, and never fails for want of a network."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from cryptocast.config import CoinGeckoConfig, Config, load_config
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.base import Source
from cryptocast.data.sources.coingecko.source import COINGECKO, credits_of
from cryptocast.data.sources.sample import load_sample
from cryptocast.data.store import CandleStore
from cryptocast.errors import UpstreamError
from cryptocast.market import Market
from cryptocast.net import Priority, Unreachable
from cryptocast.registry import Registry, recipe_hash
from cryptocast.rehearsal import DEMO_KEY, PRO_KEY, FakeUpstream, Limits, Rule
from cryptocast.rehearsal.plans import Plan
from cryptocast.workflows.context import Context
from cryptocast.workflows.doctor import DoctorCheck, DoctorReport, Probe, ask_source, examine
from cryptocast.workflows.feature_sets import catalogue_set
from tests.registry.registry_fits import BITCOIN, NOW, manifest, register

KEY = "CG-a-secret-key"


class Usage(NamedTuple):
    """What the disk says of itself, in bytes."""

    total: int
    used: int
    free: int


def looked(folder: Path, *, probe: Probe | None = None, **environ: str) -> DoctorReport:
    return examine(None, environ=environ, folder=folder, probe=probe)


def finding(report: DoctorReport, name: str) -> DoctorCheck:
    (found,) = [check for check in report.checks if check.name == name]
    return found


def store_candles(folder: Path) -> Path:
    store = CandleStore(folder / "data", lock_timeout_s=1.0)
    key = SeriesKey(Market("sample", "usd", "daily"), "bitcoin")
    store.write(key, load_sample("bitcoin").frame, fetched_at=datetime(2026, 1, 1, tzinfo=UTC))
    return store.path(key)


def test_an_empty_folder_is_in_order_and_stays_empty(tmp_path: Path) -> None:
    report = looked(tmp_path)
    assert (report.status, report.exit_code) == ("ok", 0), report
    assert "built-in defaults" in finding(report, "settings").found
    assert "will be made" in finding(report, "store").found
    assert finding(report, "registry").next == "cryptocast train bitcoin"
    assert list(tmp_path.iterdir()) == []


def test_the_settings_file_and_its_overrides_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[data]\nstale_after_bars = 30\n", encoding="utf-8")
    found = finding(looked(tmp_path, CRYPTOCAST_DATA__STALE_AFTER_BARS="60"), "settings").found
    assert str(tmp_path / "config.toml") in found
    assert "CRYPTOCAST_DATA__STALE_AFTER_BARS" in found


def test_broken_settings_fail_with_2_and_the_machine_is_still_looked_at(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[data]\ncions = 30\n", encoding="utf-8")
    report = looked(tmp_path)
    assert (report.status, report.exit_code) == ("fail", 2)
    assert "Did you mean coins?" in finding(report, "settings").found
    assert finding(report, "libraries").status == "ok"


def test_whole_candles_are_counted_and_damaged_ones_fail_with_3(tmp_path: Path) -> None:
    path = store_candles(tmp_path)
    assert (
        "1 series, every hash right; the newest bar is bitcoin's of 2020-01-17"
        in finding(looked(tmp_path), "candles").found
    )
    path.write_bytes(path.read_bytes()[:-30])
    report = looked(tmp_path)
    assert report.exit_code == 3
    assert "bitcoin.parquet" in finding(report, "candles").found
    assert finding(report, "candles").next == "Do as it says, then look again: cryptocast data verify"


def test_a_store_that_is_no_folder_fails_with_3(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder", encoding="utf-8")
    report = looked(tmp_path)
    assert report.exit_code == 3
    assert "cannot be written" in finding(report, "store").found


def test_versions_that_cannot_be_asked_any_more_are_named_with_the_command_that_brings_them_back(
    tmp_path: Path,
) -> None:
    registry = Registry.open(tmp_path / "data")
    register(registry)
    report = looked(tmp_path)
    check = finding(report, "versions")
    assert (report.exit_code, check.status, check.next) == (0, "warn", "cryptocast train --outdated")
    assert "bitcoin/lightgbm:1 (sample)" in check.found
    recipe = recipe_hash("lightgbm", manifest().settings, catalogue_set().digest)
    register(registry, "2", feature_hash=catalogue_set().digest, recipe=recipe)
    assert finding(looked(tmp_path), "versions").status == "warn", "production is still the old one"
    registry.promote(BITCOIN, 2, now=NOW, who="ada", why="it can be asked")
    assert [check.name for check in looked(tmp_path).checks if check.name == "versions"] == []


def test_a_whole_registry_is_counted_and_a_damaged_one_fails_with_5(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "data")
    register(registry, "first")
    assert finding(looked(tmp_path), "registry").found.startswith("versions: 1, in production: 1;")
    for path in (tmp_path / "data" / "registry" / "objects").iterdir():
        path.chmod(0o600)
        path.write_bytes(b"other bytes")
    report = looked(tmp_path)
    assert report.exit_code == 5
    assert finding(report, "registry").next == "See cryptocast registry verify."
    shutil.rmtree(tmp_path / "data" / "registry")
    (tmp_path / "data" / "registry").mkdir()
    (tmp_path / "data" / "registry" / "registry.db").write_bytes(b"not a database" * 100)
    assert looked(tmp_path).exit_code == 5


@pytest.mark.parametrize(
    ("plan", "key", "status"),
    [("keyless", "", "ok"), ("keyless", KEY, "warn"), ("demo", "", "warn"), ("demo", KEY, "ok")],
)
def test_the_key_is_held_against_the_plan_and_never_shown(tmp_path: Path, plan: str, key: str, status: str) -> None:
    report = looked(tmp_path, CRYPTOCAST_COINGECKO__PLAN=plan, CRYPTOCAST_COINGECKO_API_KEY=key)
    assert finding(report, "key").status == status
    assert KEY not in msgspec.json.encode(report).decode()
    assert report.exit_code == 0


def test_serving_to_others_without_a_token_is_a_warning(tmp_path: Path) -> None:
    open_to_all = looked(tmp_path, CRYPTOCAST_SERVE__HOST="0.0.0.0")  # noqa: S104
    assert finding(open_to_all, "token").status == "warn"
    guarded = looked(tmp_path, CRYPTOCAST_SERVE__HOST="0.0.0.0", CRYPTOCAST_SERVE_TOKEN="t0ken")  # noqa: S104, S106
    assert finding(guarded, "token").status == "ok"
    assert "t0ken" not in msgspec.json.encode(guarded).decode()


def test_no_network_is_a_warning_that_says_what_is_used_instead(tmp_path: Path) -> None:
    def nobody(source: Source, config: Config, api_key: str | None) -> str:
        raise Unreachable("CoinGecko could not be reached.")

    report = looked(tmp_path, probe=nobody)
    assert (report.status, report.exit_code) == ("warn", 0)
    assert "the sample" in (finding(report, "network").next or "")
    assert "network" not in [check.name for check in looked(tmp_path).checks]


def test_the_upstream_is_asked_once_and_without_patience() -> None:
    config = Config(coingecko=CoinGeckoConfig(base_url="http://127.0.0.1:9/api"))
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1.*tried once"):
        ask_source(COINGECKO, config)


# --- against a stand-in


def looked_at(folder: Path, fake: FakeUpstream, plan: str, key: str = "") -> DoctorReport:
    address = {
        "CRYPTOCAST_DATA__EXCHANGES": "[]",
        "CRYPTOCAST_COINGECKO__BASE_URL": fake.url,
        "CRYPTOCAST_COINGECKO__PRO_BASE_URL": fake.url,
    }
    environ = {**address, "CRYPTOCAST_COINGECKO__PLAN": plan, "CRYPTOCAST_COINGECKO_API_KEY": key}
    return looked(folder, probe=ask_source, **environ)


def test_without_a_key_all_is_well_and_the_way_to_more_is_named(tmp_path: Path) -> None:
    with FakeUpstream(coins=1) as fake:
        report = looked_at(tmp_path, fake, "keyless")
    assert (report.status, finding(report, "coingecko").status) == ("ok", "ok")
    assert 'plan = "demo"' in (finding(report, "key").next or "")


@pytest.mark.parametrize(
    ("played", "plan", "key", "words"),
    [
        ("demo", "demo", "CG-wrong", "rejected the demo key"),
        ("demo", "demo", "", "needs a key in the environment variable"),
        ("pro", "demo", DEMO_KEY, "another plan"),  # 10011
        ("pro", "pro", "CG-wrong", "rejected the pro key"),
        ("keyless", "pro", PRO_KEY, "another plan"),  # 10010
    ],
)
def test_a_key_that_is_refused_fails_with_2_and_says_which_plan_to_set(
    tmp_path: Path, played: Plan, plan: str, key: str, words: str
) -> None:
    with FakeUpstream(coins=1, plan=played) as fake:
        report = looked_at(tmp_path, fake, plan, key)
    network = finding(report, "coingecko")
    assert (network.status, report.exit_code) == ("fail", 2)
    assert words in network.found
    assert "run cryptocast doctor again" in (network.next or "")
    assert not key or key not in msgspec.json.encode(report).decode()


def test_a_key_that_is_taken_is_told_with_what_is_left(tmp_path: Path) -> None:
    with FakeUpstream(coins=1, plan="demo") as fake:
        assert "the key is accepted" in finding(looked_at(tmp_path, fake, "demo", DEMO_KEY), "coingecko").found
    with FakeUpstream(coins=1, plan="pro", limits=Limits(monthly_credits=1000)) as fake:
        found = finding(looked_at(tmp_path, fake, "pro", PRO_KEY), "coingecko").found
    assert "of 1,000 calls of the month left" in found


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(fault="error", status=403, shape="html"), "status 403"),
        (Rule(fault="too_many", seconds=90), "in 90 s"),
        (Rule(fault="close"), "could not be reached"),
        (Rule(fault="error", status=503, shape="empty"), "status 503"),
        (Rule(fault="error", status=401, shape="status", code=10002), "get a free demo key"),
    ],
)
def test_an_upstream_that_does_not_answer_well_is_a_warning_with_what_to_do(
    tmp_path: Path, rule: Rule, words: str
) -> None:
    with FakeUpstream(coins=1, faults=[rule]) as fake:
        report = looked_at(tmp_path, fake, "keyless")
    (network,) = [check for check in report.checks if check.name in ("coingecko", "network")]
    assert (network.status, report.exit_code) == ("warn", 0)
    assert words in network.found
    assert "stored candles" in (network.next or "")


def test_the_credits_of_the_month_are_told_before_they_run_out(tmp_path: Path) -> None:
    environ = {"CRYPTOCAST_COINGECKO__PLAN": "demo", "CRYPTOCAST_COINGECKO__MONTHLY_CREDITS": "20"}
    context = Context(load_config(None, environ=environ, folder=tmp_path))
    budget = credits_of(context.config, context.wall_clock)
    budget.took(Priority.USER, 17)
    assert finding(looked(tmp_path, probe=None, **environ), "credits").status == "ok"
    budget.took(Priority.USER, 2)
    check = finding(looked(tmp_path, probe=None, **environ), "credits")
    assert (check.status, check.found.startswith("19 of 20 used")) == ("warn", True)
    budget.refused()
    assert "pause until" in (finding(looked(tmp_path, probe=None, **environ), "credits").next or "")


def test_a_damaged_file_is_named_with_the_command_that_brings_it_back(tmp_path: Path) -> None:
    store_candles(tmp_path).write_bytes(b"PAR1 and then nothing")
    found = finding(looked(tmp_path), "candles").found
    assert "Remove bitcoin.parquet and fetch it again: cryptocast fetch bitcoin --source sample" in found


@pytest.mark.parametrize(("free", "status", "code"), [(10**9, "ok", 0), (10**8, "warn", 0), (10**6, "fail", 3)])
def test_little_room_on_the_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str, code: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**10, 10**10 - free, free))
    report = looked(tmp_path)
    assert (finding(report, "disk").status, report.exit_code) == (status, code)
