"""A store that may be read and not written gives what is in it, and the server says what falls out."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cryptocast.registry.database import Database
from tests.serving.trained_store import promote, trained
from tests.serving.unwritable import ROOT, Where, another_user, asked, full_disk, impossible, read_only


@pytest.mark.parametrize(
    ("where", "reason"),
    [(read_only, "Read-only file system"), (another_user, "Permission denied"), (full_disk, "No space left on device")],
)
def test_a_store_that_cannot_be_written_is_served(where: Where, reason: str, tmp_path: Path) -> None:
    if (why := impossible(where, tmp_path)) is not None:
        pytest.skip(why)
    market = trained(tmp_path)
    promote(market.registry, market.version("bitcoin", "lightgbm"))
    told = asked(where, market.store)

    for command in ("data ls", "registry list", "registry show", "forecast"):
        assert told[command]["code"] == 0, told[command]
    assert {row["coin"] for row in told["data ls"]["told"]["series"]} == {"bitcoin", "ethereum"}
    assert len(told["registry list"]["told"]["versions"]) == 4
    (made,) = told["forecast"]["told"]["forecasts"]
    assert (made["coin"], made["model_used"]) == ("bitcoin", "lightgbm")

    served = told["served"]
    code, document = served["/forecasts?ids=bitcoin&model=lightgbm"]
    assert (code, document["forecasts"][0]["model_used"]) == (200, "lightgbm")
    assert document["forecasts"][0]["fallback_reason"] is None
    _, store = served["/health/components/store"]
    assert (store["status"], store["values"]["write_refusal"]) == ("warn", reason)
    code, ready = served["/ready"]
    assert (code, ready["status"]) == (200, "warn")
    assert f"store: it cannot be written ({reason})" in ready["output"]
    assert "no bars are fetched, no forecast goes into the ledger" in ready["output"]
    _, refresher = served["/health/components/refresher"]
    if where is not full_disk:  # which takes one more empty file
        assert refresher["values"]["lock_refusal"] == reason
        assert "nothing is refreshed" in refresher["output"]


READ = """
import sys
from pathlib import Path
from cryptocast.errors import RegistryError
from cryptocast.registry.database import Database
from cryptocast.registry.schema import MIGRATIONS
later = (*MIGRATIONS, ("CREATE TABLE later (x INTEGER)", "INSERT INTO later VALUES (1)"))
database = Database(Path(sys.argv[1]) / "registry.db", migrations=later if sys.argv[2] == "newer" else MIGRATIONS)
try:
    with database.read() as connection:
        print(connection.execute("SELECT count(*) FROM fits").fetchone()[0], end=" ")
        print(connection.execute("SELECT x FROM later").fetchone()[0] if sys.argv[2] == "newer" else "")
except RegistryError as error:
    print(error)
"""


def read_there(store: Path, schema: str) -> str:
    command = read_only(store, [sys.executable, "-c", READ, str(store), schema])
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_an_older_registry_that_must_change_to_be_read_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    if (why := impossible(read_only, tmp_path)) is not None:
        pytest.skip(why)
    store = tmp_path / "registry"
    Database(store / "registry.db").create()
    assert read_there(store, "newer") == "0 1"
    assert read_there(store, "same") == "0"


def test_a_log_without_its_index_is_said_where_nothing_can_be_written_and_never_passed_over(tmp_path: Path) -> None:
    if (why := impossible(read_only, tmp_path)) is not None:
        pytest.skip(why)
    live, copy = tmp_path / "live", tmp_path / "copy"
    Database(live / "registry.db").create()
    with contextlib.closing(sqlite3.connect(live / "registry.db")) as writer:
        writer.execute("INSERT INTO fits VALUES (?, 'k', 's', 'usd', 'daily', 'r', 't', x'00')", ("0" * 64,))
        writer.commit()
        copy.mkdir()
        for name in ("registry.db", "registry.db-wal"):  # a copy that was taken while somebody wrote
            shutil.copy(live / name, copy / name)
        assert read_there(live, "same") == "1"
    assert "registry.db-wal that cannot be read" in read_there(copy, "same")


def test_what_a_living_writer_has_not_yet_put_into_the_database_is_read_where_nothing_can_be_written(
    tmp_path: Path,
) -> None:
    if (why := impossible(read_only, tmp_path)) is not None:
        pytest.skip(why)
    market = trained(tmp_path)
    with contextlib.closing(sqlite3.connect(market.store / "registry" / "registry.db")) as writer:
        writer.execute("BEGIN")
        writer.execute("SELECT 1 FROM fits").fetchone()  # its log stays while it is at work
        another = market.another("bitcoin")
        assert (market.store / "registry" / "registry.db-wal").stat().st_size > 0
        told = asked(read_only, market.store)

    assert another.name in {row["name"] for row in told["registry list"]["told"]["versions"]}
