"""Where a study is kept: a real PostgreSQL, and what is said where a database or its driver is not there."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptocast.errors import UpstreamError, UsageError
from cryptocast.workflows.tuning.study import check_storage
from tests.workflows.tuning.test_tune import context, tuned

PASSWORD = "hunter/2"  # noqa: S105 - of a server that lives as long as the test
ESCAPED = "hunter%2F2"


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("postgresql://me:secret@host/x", "pip install 'cryptocast[postgres]'"),
        ("postgres://me:secret@host/x", "pip install 'cryptocast[postgres]'"),
        ("postgresql+psycopg://me:secret@host/x", "pip install 'cryptocast[postgres]'"),
        ("postgresql+asyncpg://me:secret@host/x", "pip install asyncpg"),
        ("mysql://me:secret@host/x", "pip install mysqlclient"),
        ("mysql+pymysql://me:secret@host/x", "pip install pymysql"),
        ("mssql://me:secret@host/x", "pip install pyodbc"),
    ],
)
def test_a_driver_that_lacks_is_named(url: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("psycopg", "psycopg2", "asyncpg", "MySQLdb", "pymysql", "pyodbc"):
        monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    with pytest.raises(UsageError) as caught:
        check_storage(url)
    shown = url.replace("me:secret@", "***@")
    assert str(caught.value) == f"--storage {shown} needs a driver that is not installed: {remedy}."


@pytest.mark.parametrize("url", ["redis://me:secret@host/x", "nosuch://me:secret@host/x", "me:secret@host"])
def test_what_is_no_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError, match=r"Optuna takes sqlite:///FILE, postgresql://") as caught:
        check_storage(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_server_that_does_not_answer_is_said(scheme: str) -> None:
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    with pytest.raises(UpstreamError, match=r"Connection refused\. Is the database up\?") as caught:
        check_storage(f"{scheme}://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value)


def programs() -> Path | None:
    """Where the programs of PostgreSQL lie; Debian keeps them out of the PATH."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *(Path(one) for one in os.get_exec_path())]
    return next((place for place in places if (place / "initdb").is_file()), None)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a database on a server of its own, without user and password."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    place = programs()
    if place is None:
        pytest.skip("no PostgreSQL here: install Debian's package postgresql")
    user = None
    if os.getuid() == 0:  # which a server of PostgreSQL refuses to run as
        user = next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name == "postgres"), None)
        if user is None:
            pytest.skip("there is no user postgres to run the server as")
    folder = Path(tempfile.mkdtemp(prefix="cryptocast-postgres-"))
    try:
        (folder / "password").write_text(PASSWORD, encoding="utf-8")
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(folder / "password", user)
        data = folder / "data"
        options = ["--username=tuner", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256", "--encoding=UTF8"]
        make = [str(place / "initdb"), "--locale=C", "--no-sync", *options, str(data)]
        subprocess.run(make, user=user, cwd=folder, check=True, capture_output=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        where = ["-D", str(data), "-k", str(folder), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        process = subprocess.Popen([str(place / "postgres"), *where], user=user, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            wait_for(port)
            yield f"127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # without waiting for those who are connected
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


def wait_for(port: int) -> None:
    ends = time.monotonic() + 30
    while True:
        try:
            check_storage(f"postgresql://tuner:{ESCAPED}@127.0.0.1:{port}/postgres")
        except UpstreamError:
            assert time.monotonic() < ends
            time.sleep(0.2)
        else:
            return


@pytest.mark.slow
def test_a_study_in_postgresql_is_that_of_the_file_and_goes_on(server: str, tmp_path: Path) -> None:
    address = f"postgresql://tuner:{ESCAPED}@{server}"
    first = tuned(context(tmp_path / "a"), storage=address, trials=3)
    assert first.storage == f"postgresql://***@{server}"
    assert not (tmp_path / "a" / "data" / "tuned" / "studies.db").exists()
    again = tuned(context(tmp_path / "a"), storage=address, trials=9)
    assert again.earlier_trials == 3
    in_file = tuned(context(tmp_path / "b"), trials=9)
    assert again.trials == in_file.trials
    assert again.best == in_file.best


@pytest.mark.slow
def test_a_wrong_password_is_refused_and_not_shown(server: str) -> None:
    with pytest.raises(UpstreamError, match='password authentication failed for user "tuner"') as caught:
        check_storage(f"postgresql://tuner:wrong-one@{server}")
    assert "wrong-one" not in str(caught.value)
