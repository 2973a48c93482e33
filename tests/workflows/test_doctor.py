"""The doctor finds what is wrong, says what to do, and never fails for want of a network."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from cryptocast.config import CoinGeckoConfig, Config
from cryptocast.data.sample import load_sample
from cryptocast.data.schema import SeriesKey
from cryptocast.data.store import CandleStore
from cryptocast.errors import UpstreamError
from cryptocast.registry import Registry
from cryptocast.workflows.doctor import Check, DoctorReport, Probe, examine, probe_upstream
from tests.registry.registry_fits import register

KEY = "CG-a-secret-key"


class Usage(NamedTuple):
    """What the disk says of itself, in bytes."""

    total: int
    used: int
    free: int


def looked(folder: Path, *, probe: Probe | None = None, **environ: str) -> DoctorReport:
    return examine(None, environ=environ, folder=folder, probe=probe)


def finding(report: DoctorReport, name: str) -> Check:
    (found,) = [check for check in report.checks if check.name == name]
    return found


def store_candles(folder: Path) -> Path:
    store = CandleStore(folder / "data", lock_timeout_s=1.0)
    key = SeriesKey("sample", "usd", "daily", "bitcoin")
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
    (tmp_path / "config.toml").write_text("[data]\ndays = 30\n", encoding="utf-8")
    found = finding(looked(tmp_path, CRYPTOCAST_DATA__DAYS="60"), "settings").found
    assert str(tmp_path / "config.toml") in found
    assert "CRYPTOCAST_DATA__DAYS" in found


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
    assert finding(report, "candles").next == "See cryptocast data verify."


def test_a_store_that_is_no_folder_fails_with_3(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder", encoding="utf-8")
    report = looked(tmp_path)
    assert report.exit_code == 3
    assert "cannot be written" in finding(report, "store").found


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
    def nobody(config: Config) -> str:
        raise UpstreamError("CoinGecko could not be reached.")

    report = looked(tmp_path, probe=nobody)
    assert (report.status, report.exit_code) == ("warn", 0)
    assert "the sample" in (finding(report, "network").next or "")
    assert "network" not in [check.name for check in looked(tmp_path).checks]


def test_the_upstream_is_asked_once_and_without_patience() -> None:
    config = Config(coingecko=CoinGeckoConfig(base_url="http://127.0.0.1:9/api"))
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1.*tried once"):
        probe_upstream(config)


@pytest.mark.parametrize(("free", "status", "code"), [(10**9, "ok", 0), (10**8, "warn", 0), (10**6, "fail", 3)])
def test_little_room_on_the_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str, code: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**10, 10**10 - free, free))
    report = looked(tmp_path)
    assert (finding(report, "disk").status, report.exit_code) == (status, code)
