"""One clear line, the right exit code, no traceback: for every kind of slip."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cryptocast.cli import main
from cryptocast.cli.app import app
from cryptocast.errors import (
    ConfigError,
    CryptocastError,
    DataError,
    GateError,
    ModelError,
    RegistryError,
    UpstreamError,
    UsageError,
)
from tests.cli.commands import ROOT, SETTINGS, Ended, Run, finished, started

HOSTILE = ["../../etc/passwd", "bit\x1b[2Jcoin", "bit\ncoin", "🚀", "a" * 101, "-", "Bitcoin!", "bitcoin\x00", "[red]x"]


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `data ls` meet an error inside."""

    def fail(config: object) -> None:
        raise error

    monkeypatch.setattr("cryptocast.workflows.market_data.inventory.list_store", fail)


def one_line(ended: Ended) -> str:
    assert ended.out == ""
    assert "Traceback" not in ended.err
    (line,) = ended.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (CryptocastError, 1),
        (UsageError, 2),
        (ConfigError, 2),
        (DataError, 3),
        (UpstreamError, 4),
        (ModelError, 5),
        (RegistryError, 5),
        (GateError, 6),
    ],
)
@pytest.mark.parametrize("machine", [(), ("--json",)])
def test_each_error_has_its_exit_code_and_stands_on_stderr_as_it_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, kind: type[CryptocastError], code: int, machine: tuple[str, ...]
) -> None:
    raising(monkeypatch, kind("litecoin[bold]: 3 bars, :smile: \x1b[31m\nneeded 21"))
    ended = run("data", "ls", *machine)
    assert ended.code == code
    told = r"litecoin[bold]: 3 bars, :smile: \x1b[31m needed 21"
    if machine:
        assert json.loads(ended.out) == {"schema": "cryptocast.error/1", "error": told, "exit_code": code}
        ended = Ended(ended.code, "", ended.err)
    assert one_line(ended) == told


def test_an_unexpected_exception_is_called_a_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, KeyError("price"))
    ended = run("data", "ls")
    assert ended.code == 1
    assert one_line(ended).startswith(
        "This is a bug in cryptocast: KeyError: 'price'. Please run it again with --debug"
    )


@pytest.mark.parametrize("arguments", [("--debug", "data", "ls"), ("data", "--debug", "ls"), ("data", "ls", "--debug")])
def test_debug_shows_the_traceback_wherever_it_stands(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    raising(monkeypatch, DataError("3 bars"))
    ended = run(*arguments)
    assert ended.code == 3
    assert "Traceback (most recent call last)" in ended.err
    assert ended.err.splitlines()[-1] == "3 bars"


def test_an_interrupt_ends_in_130_and_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    ended = run("data", "ls")
    assert ended.code == 130
    assert one_line(ended).startswith("Interrupted")


def test_a_full_disk_is_no_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, OSError(28, "No space left on device"))
    ended = run("data", "ls")
    assert ended.code == 3
    assert "No space left on device" in one_line(ended)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("arguments", [("features", "--list"), ("features", "--list", "--json")])
def test_a_reader_who_leaves_early_is_no_failure(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    process = started(*arguments, folder=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=300) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("data", "ls"), ("data", "ls", "--json")])
def test_output_that_cannot_be_written_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cryptocast", *arguments],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 3
    assert done.stderr.splitlines() == ["The operating system reported an error: [Errno 28] No space left on device."]


def paths(group: Any = None, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that there is, by the words that call it."""
    found: Any = group or typer.main.get_command(app)
    for name, command in found.commands.items():
        if hasattr(command, "commands"):
            yield from paths(command, (*before, name))
        else:
            yield (*before, name)


def refused(ended: Ended) -> dict[str, Any]:
    """The one document on stdout of a failure, which says what the one line on stderr says."""
    (document,) = map(json.loads, ended.out.splitlines())
    assert document["exit_code"] == ended.code != 0
    assert one_line(Ended(ended.code, "", ended.err)) == document["error"]
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("command", list(paths()), ids=" ".join)
def test_every_command_tells_a_machine_of_a_slip_on_its_command_line(run: Run, command: tuple[str, ...]) -> None:
    for arguments in (("--json", *command, "--nosuch"), (*command, "--nosuch", "--json")):
        document = refused(run(*arguments))
        assert (document["schema"], document["exit_code"]) == ("cryptocast.error/1", 2)
        assert "--nosuch" in document["error"]
    assert refused(run(*command, *["word"] * 9, "--log-level", "loud", "--json"))["exit_code"] == 2
    assert refused(run(*command, "--json=yes"))["exit_code"] == 2


NEEDED = {
    "rerun": ("x",),
    "pretrain": ("--out", "x.zip"),
    "data export": ("bitcoin", "--out", "x.csv"),
    "data rm": ("bitcoin",),
    "runs rm": ("x",),
    "registry show": ("bitcoin",),
    "registry best": ("bitcoin",),
    "registry card": ("bitcoin",),
    "registry rollback": ("bitcoin",),
    "registry compare": ("bitcoin:1", "bitcoin:2"),
    "registry export": ("bitcoin", "x.zip"),
    "registry import": ("x.zip",),
    "registry ab start": ("bitcoin",),
    "registry ab stop": ("bitcoin",),
    "registry ab conclude": ("bitcoin",),
}


WITHOUT_SETTINGS = [("fake-upstream",), ("config", "init")]


@pytest.mark.parametrize("command", [path for path in paths() if path not in WITHOUT_SETTINGS], ids=" ".join)
def test_every_command_tells_a_machine_of_broken_settings_and_of_what_breaks_it_off(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    (tmp_path / "config.toml").write_text("[data]\ncions = ['bitcoin']", encoding="utf-8")
    arguments = (*command, *NEEDED.get(" ".join(command), ()), "--json")
    document = refused(run(*arguments))
    assert (document["exit_code"], "cions" in document["error"]) == (2, True)
    for error, code in ((KeyboardInterrupt(), 130), (KeyError("x"), 1), (OSError(28, "full"), 3)):

        def stop(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        # The doctor first: it must not be loaded with the other one in place.
        monkeypatch.setattr("cryptocast.workflows.doctor.load_config", stop)
        monkeypatch.setattr("cryptocast.config.load_config", stop)
        document = refused(run(*arguments))
        assert (document["schema"], document["exit_code"]) == ("cryptocast.error/1", code)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--file", "nosuch.csv"),
        ("--file", "bad.csv"),
        ("--file", "bad.txt"),
        ("--source", "file"),
        ("--stamp", "open"),
        ("--stamp", "noon"),
        ("--days", "365"),
        ("--since", "many"),
        ("--vs", "US Dollar"),
        ("--now", "soon"),
        ("--granularity", "weekly"),
        ("--source", "coingecko"),
        ("Bitcoin!",),
        ("dogecoin", "nosuch-coin"),
    ],
    ids=" ".join,
)
def test_every_refusal_of_a_fetch_is_told_on_both_streams(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CRYPTOCAST_COINGECKO__BASE_URL", "http://127.0.0.1:9/api/v3")
    monkeypatch.setenv("CRYPTOCAST_COINGECKO__MAX_RETRIES", "0")
    monkeypatch.setenv("CRYPTOCAST_DATA__SOURCE", "sample")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    coins = () if arguments[0][0] != "-" else ("bitcoin",)
    document = refused(run("fetch", *coins, *arguments, "--json"))
    assert document["schema"] == "cryptocast.error/1"


def test_a_fetch_that_fails_for_some_coins_keeps_its_document_and_says_so(run: Run) -> None:
    document = refused(run("fetch", "bitcoin", "dogecoin", "--source", "sample", "--json"))
    assert document["schema"] == "cryptocast.fetch/1"
    assert [coin["error"] is None for coin in document["coins"]] == [True, False]


def test_a_report_that_says_what_is_wrong_says_it_to_machines_too(run: Run, own: Path) -> None:
    for path in (own / "data" / "registry" / "objects").iterdir():
        path.chmod(0o600)
        path.write_bytes(b"")
    broken = refused(run("registry", "verify", "--json", folder=own))
    assert (broken["schema"], broken["exit_code"]) == ("cryptocast.verify/1", 5)
    gate = refused(run("registry", "promote", "bitcoin", "--json", folder=own))
    assert (gate["schema"], gate["exit_code"]) == ("cryptocast.promotion/2", 6)
    on_screen = run("registry", "verify", folder=own)
    assert (on_screen.code, on_screen.err) == (5, "")


def test_the_value_of_an_option_is_not_taken_for_the_option_json(run: Run, own: Path) -> None:
    ended = run("registry", "rollback", "bitcoin", "--reason", "--json", folder=own)
    assert (ended.code, ended.out) == (5, "")
    assert "nothing to go back to" in one_line(ended)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_failure_keeps_its_exit_code_when_nobody_reads_its_document(tmp_path: Path) -> None:
    process = started("registry", "show", "bitcoin", "--json", folder=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 5
    assert len(process.stderr.read().splitlines()) == 1
    process.stderr.close()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "command",
    [
        ("fetch",),
        ("features",),
        ("train",),
        ("forecast",),
        ("backtest",),
        ("registry", "show"),
        ("registry", "promote"),
    ],
    ids=" ".join,
)
def test_a_hostile_name_of_a_coin_gets_one_harmless_line(
    run: Run, tmp_path: Path, command: tuple[str, ...], name: str
) -> None:
    ended = run(*command, "--source", "sample", "--", name)
    assert ended.code == 2
    assert one_line(ended).isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("backtest", "--model", "prophet"), 2, "no model 'prophet'"),
        (("forecast", "bitcoin", "--levels", "50"), 2, "20, 40, 60, 80, 90, 95, 98, 99"),
        (("forecast", "bitcoin", "--horizons", "0"), 2, "--horizons"),
        (("forecast", "bitcoin", "--out", "x.txt"), 2, ".json"),
        (("forecast", "bitcoin", "--version", "non sense"), 2, "names no version"),
        (("forecast", "bitcoin", "--version", "nonsense"), 5, "no version of nonsense"),
        (("fetch", "bitcoin/lightgbm:1"), 2, "a coin is expected here: bitcoin"),
        (("train", "bitcoin#hourly", "--granularity", "daily"), 2, "contradict"),
        (("forecast", "bitcoin", "--version", "bitcoin/lightgbm:9"), 5, "Train it"),
        (("forecast", "bitcoin", "--now", "soon"), 2, "--now"),
        (("forecast", "dogecoin"), 3, "dogecoin"),
        (("train", "bitcoin", "--if-older-than", "7"), 2, "12h"),
        (("backtest", "--predictions", "x.txt"), 2, ".parquet"),
        (("backtest", "--from", "2019-02-30"), 2, "--from"),
        (("features", "--list", "--family", "astrology"), 2, "volatility"),
        (("features", "--list", "--audit"), 2, "Choose one"),
        (("features", "--family", "time"), 2, "--list"),
        (("features", "--importance"), 5, "Train"),
        (("features", "--out", "x.xlsx"), 2, ".csv"),
        (("fetch", "bitcoin", "--source", "file"), 2, "--file"),
        (("registry", "show", "bitcoin"), 5, "Train it: cryptocast train bitcoin"),
        (("registry", "list", "bitcoin"), 5, "Train it"),
        (("registry", "list", "bitcoin", "light gbm"), 2, "not a kind of model"),
        (("registry", "history", "bitcoin"), 5, "Train it"),
        (("registry", "history", "Bitcoin!"), 2, "not a CoinGecko id"),
        (("registry", "history", "--source", "file"), 5, "no version for these bars"),
        (("registry", "ab", "status", "bitcoin"), 5, "Train it"),
        (("registry", "best", "bitcoin"), 5, "Train it"),
        (("rerun", "nosuch"), 3, "Record one: cryptocast backtest"),
        (("registry", "import", "x.zip", "--score", "--dry-run"), 2, "--score"),
        (("registry", "promote", "bitcoin"), 5, "no version of bitcoin"),
        (("registry", "promote", "bitcoin", "--force"), 2, "--reason"),
        (("serve", "--host", "0.0.0.0"), 2, "CRYPTOCAST_SERVE_TOKEN"),  # noqa: S104
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_slip_gets_its_code_and_says_what_to_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    monkeypatch.setenv("CRYPTOCAST_DATA__SOURCE", "sample")
    ended = run(*arguments)
    assert ended.code == code, ended.err
    assert words in one_line(ended)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[data]\ncions = ['bitcoin']", "coins"),
        ("[daat]\ncoins = ['bitcoin']", "[data]"),
        ("[data]\ndays = 'many'", "days"),
        ("[data]\ndays = 0", "days"),
        ("[data\n", "not valid TOML"),
        ("[split]\nfit = 0.9\nstop = 0.09", "0.99"),
    ],
)
@pytest.mark.parametrize("command", [("data", "ls"), ("train", "bitcoin")], ids=" ".join)
def test_broken_settings_end_in_2_and_are_named(
    run: Run, tmp_path: Path, text: str, words: str, command: tuple[str, ...]
) -> None:
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    ended = run(*command)
    assert ended.code == 2
    assert words in one_line(ended)
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="rights do not bind this user")
def test_a_store_that_cannot_be_written_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    ended = run("fetch", "bitcoin", "--source", "sample")
    assert ended.code == 3
    assert "cannot be written" in ended.out


def test_a_store_that_is_a_file_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder", encoding="utf-8")
    ended = run("fetch", "bitcoin", "--source", "sample")
    assert ended.code == 3
    assert "cannot be written" in " ".join(ended.out.split())
    ended = run("train", "bitcoin", "--source", "sample", "--horizons", "1")
    assert ended.code in (3, 5)
    assert "Traceback" not in ended.err


def test_a_corrupted_artefact_is_refused_by_its_hash(run: Run, own: Path) -> None:
    for path in (own / "data" / "registry" / "objects").iterdir():
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    named = run("forecast", "bitcoin", "--version", "bitcoin/lightgbm:1", folder=own)
    assert named.code == 5
    assert "sha256" in one_line(named)
    # Without a name the baseline answers, and says why.
    (answer,) = json.loads(run("forecast", "bitcoin", "--json", folder=own).out)["forecasts"]
    assert answer["model_used"] == "baseline"
    assert answer["fallback_reason"]["code"] == "artefact"
    checked = run("registry", "verify", folder=own)
    assert checked.code == 5
    assert "object" in checked.out


@pytest.mark.skipif(os.name != "posix", reason="SIGINT of POSIX")
def test_ctrl_c_in_the_middle_of_a_training_leaves_no_version(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(SETTINGS.format(rounds=3_000), encoding="utf-8")
    process = started("train", "bitcoin", "--log-level", "debug", folder=tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if "training lightgbm" in line and "ahead" in line:  # the first booster is done, others are to come
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1].startswith("Interrupted")
    assert "Traceback" not in err
    listed = finished("registry", "list", "--json", folder=tmp_path)
    assert listed.out == '{"schema":"cryptocast.versions/3","versions":[]}\n'
    assert finished("registry", "verify", folder=tmp_path).code == 0


def test_a_terminal_without_unicode_gets_the_picture_in_plain_signs(trained: Path) -> None:
    ended = finished("forecast", "bitcoin", folder=trained, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ended.code == 0
    assert ended.out.isascii()
    assert "=== median" in ended.out


@pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
def test_a_terminal_gets_colours_and_a_pipe_none(trained: Path) -> None:
    import pty

    here, there = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}
    done = subprocess.run(
        [sys.executable, "-m", "cryptocast", "registry", "list"],
        cwd=trained,
        env={**environment, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)},
        stdin=there,
        stdout=there,
        stderr=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    os.close(there)
    said = os.read(here, 100_000).decode()
    os.close(here)
    assert "\x1b[32mproduction" in said
    assert done.stderr == b""
    assert "\x1b" not in finished("registry", "list", folder=trained).out


def test_nobody_at_stdout_is_no_bug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(SystemExit) as end:
        main(["data", "ls", "--json"])
    assert not end.value.code


@pytest.mark.parametrize(("before", "after"), [(None, "system"), ("jemalloc", "jemalloc")])
def test_arrow_takes_the_memory_of_the_system_unless_it_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    if before is not None:
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", before)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ["ARROW_DEFAULT_MEMORY_POOL"] == after


LOADED = """
import gc, os, sys
from cryptocast.cli import main
try:
    main(["forecast", "bitcoin", "--source", "sample", "--model", "shipped", "--quiet"])
except SystemExit as leaving:
    assert not leaving.code, leaving.code
unused = ("httpx", "httpcore", "torch", "lightgbm", "pandas", "scipy", "altair", "cryptocast.evaluation.trading")
unused = (*unused, "pyarrow")
print([name for name in unused if name in sys.modules], os.environ["OPENBLAS_NUM_THREADS"], gc.get_threshold()[0])
"""


def test_a_forecast_from_the_store_loads_neither_the_http_library_nor_what_draws_and_learns(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    said = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[-1] == "[] 1 50000"


def test_what_is_there_at_the_end_of_a_process_is_not_looked_through_for_garbage() -> None:
    code = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count() > 10_000))
from cryptocast.cli.app import main
main(["data", "ls", "--json"])
"""
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert said.stdout.splitlines()[-1:] == ["True"]
