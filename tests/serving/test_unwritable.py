"""A store that may be read and not written gives what is in it, and the server says what falls out."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.serving.trained_store import promote, trained
from tests.serving.unwritable import Where, another_user, asked, full_disk, impossible, read_only


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
