"""What a command leaves in its folder: a refusal nothing, work what is its owner's alone, a password nowhere."""

import os
import stat
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.cli.commands import SETTINGS, Run

NOWHERE = "http://127.0.0.1:9/api/v3"  # a port of this machine that nobody listens on
SECRET, USER = "hunter2", "ann-the-admin"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Sixty daily bars: too few for anything that learns."""
    path = tmp_path / "few.csv"
    days = [date(2020, 1, 1) + timedelta(days=i) for i in range(60)]
    rows = [f"{day},{100 + i % 7},{108},{90},{100 + (i * 3) % 5},10" for i, day in enumerate(days)]
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows, ""]), encoding="utf-8")
    return path


def there(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "words",
    [
        "data ls",
        "data show",
        "data show bitcoin",
        "data rm bitcoin --yes",
        "data export bitcoin --out new/b.csv",
        "data verify",
        "registry list",
        "registry history",
        "registry verify",
        "registry show bitcoin/lightgbm:1",
        "registry card bitcoin/lightgbm:1 --out new/card.md",
        "registry export bitcoin/lightgbm:1 new/a.zip",
        "registry import absent.zip",
        "registry import few.csv",
        "registry gc",
        "doctor --offline",
        "rerun 0123456789abcdef",
        "runs list",
        "runs show",
        "runs show 0123456789abcdef --report new/r.html",
        "runs rm 0123456789abcdef --yes",
        "train nosuch --source sample",
        "forecast nosuch --source sample --out new/f.json",
        "features nosuch --source sample --out new/f.parquet",
        "fetch bitcoin --source file --file absent.csv",
        "backtest nosuch --source sample --report new/r.html --plot new/r.png --predictions new/p.csv",
        "tune bitcoin --source sample --storage bogus",
        "tune bitcoin --source sample --storage nodriver+x://me@host/db",
        "tune bitcoin --source sample --storage sqlite:////no/such/folder/x.db",
        "serve --host 0.0.0.0",
    ],
)
def test_looking_and_refusals_leave_nothing_behind(words: str, run: Run, few: Path, tmp_path: Path) -> None:
    before = there(tmp_path)
    ended = run(*words.split())
    assert "bug of cryptocast" not in ended.err
    assert there(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("backtest bitcoin --source file --report new/r.html", 3),
        ("backtest bitcoin --source file --walk-forward", 3),
        ("tune bitcoin --source file", 3),
        ("train bitcoin --source file", 0),  # which says that it fitted nothing
    ],
)
def test_too_few_bars_leave_nothing_behind(words: str, code: int, run: Run, few: Path, tmp_path: Path) -> None:
    assert run("fetch", "bitcoin", "--source", "file", "--file", str(few)).code == 0
    before = there(tmp_path)
    ended = run(*words.split())
    assert ended.code == code
    assert "too few" in ended.out + ended.err
    assert there(tmp_path) == before


@pytest.fixture
def umask_of_nobody() -> Iterator[None]:
    """New files are readable and writable by everybody, unless whoever makes them says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask_of_nobody")
@pytest.mark.skipif(os.name != "posix", reason="rights of files are POSIX")
def test_the_store_is_its_owners_alone_and_a_file_that_was_asked_for_is_not(
    run: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTOCAST_COINGECKO__BASE_URL", NOWHERE)
    (tmp_path / "config.toml").write_text(SETTINGS.format(rounds=12) + "[tune]\nfolds = 2\n", encoding="utf-8")
    assert run("fetch", "bitcoin", "--source", "file", "--file", str(few)).code == 0
    assert run("train", "bitcoin").code == 0
    assert run("backtest", "bitcoin", "--report", "out/r.html", "--model", "baseline").code == 0
    assert run("tune", "bitcoin", "--trials", "1").code == 0
    assert run("forecast", "bitcoin", "--out", "out/f.json").code == 0
    assert run("registry", "export", "bitcoin/lightgbm:1", "out/a.zip").code == 0

    store = tmp_path / "data"
    made = [store, *store.rglob("*")]
    assert {path.name for path in made} >= {"registry.db", "studies.db", "bitcoin.parquet", "manifest.json"}
    open_to_others = {str(path): oct(rights(path)) for path in made if rights(path) & 0o077}
    assert open_to_others == {}
    for name in ("", "r.html", "f.json", "a.zip"):
        assert rights(tmp_path / "out" / name) & 0o066 == 0o066


@pytest.mark.parametrize(
    "words",
    [
        "doctor",
        "doctor --json",
        "fetch bitcoin --source coingecko",
        "forecast bitcoin --source coingecko --debug",
        "forecast bitcoin --log-level debug --log-format json --json",
        "tune bitcoin --source sample --trials 1 --debug --storage postgresql://USER:SECRET@127.0.0.1:1/db",
        "tune bitcoin --source sample --trials 1 --debug --storage nosuch://USER:SECRET@127.0.0.1:1/db",
        "tune bitcoin --source sample --trials 1 --debug --storage mssql://USER:SECRET@127.0.0.1:1/db",
        "tune bitcoin --source sample --trials 1 --debug --storage redis://USER:SECRET@127.0.0.1:1/db",
        "tune bitcoin --source sample --trials 1 --debug --storage postgresql:///db?host=127.0.0.1&password=SECRET",
        "tune bitcoin --source sample --debug --engine dask --address nosuch://USER:SECRET@127.0.0.1:1",
    ],
)
def test_no_password_of_an_address_is_shown_or_kept(
    words: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTOCAST_COINGECKO__BASE_URL", f"http://{USER}:{SECRET}@127.0.0.1:9/api/v3")
    monkeypatch.setenv("CRYPTOCAST_COINGECKO__MAX_RETRIES", "0")
    ended = run(*words.replace("USER", USER).replace("SECRET", SECRET).split(), columns=400)
    for said in (ended.out, ended.err):
        assert SECRET not in said
        assert USER not in said
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP_PROXY", f"http://{USER}:{SECRET}@127.0.0.1:9"),
        ("ALL_PROXY", f"socks5://{USER}:{SECRET}@127.0.0.1:9"),
        ("HTTP_PROXY", f"http://{USER}:{SECRET}#@127.0.0.1:9"),
        ("ALL_PROXY", f"nosuch://{USER}:{SECRET}@127.0.0.1:9"),
        ("CRYPTOCAST_COINGECKO__BASE_URL", f"ftp://{USER}:{SECRET}@127.0.0.1:9"),
        ("CRYPTOCAST_COINGECKO__BASE_URL", f"http://{USER}:{SECRET}@127.0.0.1:nine"),
        ("CRYPTOCAST_COINGECKO__BASE_URL", f"http://{USER}:{SECRET}/x@127.0.0.1:9"),
        ("CRYPTOCAST_COINGECKO__BASE_URL", f"{USER}:{SECRET}@127.0.0.1:9"),
    ],
)
def test_no_password_of_a_proxy_or_of_a_wrong_address_is_shown(
    variable: str, value: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYPTOCAST_COINGECKO__BASE_URL", NOWHERE)
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("CRYPTOCAST_COINGECKO__MAX_RETRIES", "0")
    for words in (("doctor",), ("fetch", "bitcoin", "--source", "coingecko", "--debug")):
        ended = run(*words, columns=400)
        assert ended.out + ended.err
        assert SECRET not in ended.out + ended.err
        assert USER not in ended.out + ended.err
