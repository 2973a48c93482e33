import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from cryptocast.errors import RegistryError
from cryptocast.market import Market
from cryptocast.registry import Registry
from tests.registry.registry_evidence import RECIPE, SERIES, day, evidence, trial
from tests.registry.registry_fits import BITCOIN, NOW, register


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = Registry.open(tmp_path)
    register(made, "1", coins=("bitcoin", "ethereum"))
    register(made, "2")
    made.promote(BITCOIN, 2, now=NOW, who="bob", why="better")
    made.record_evidence([evidence(), evidence(coin=None), evidence("walk-2")])
    made.record_trials([trial("a"), trial("b"), trial("c", command="tune", score=0.02)])
    return made


def tamper(tmp_path: Path, *statements: str) -> None:
    """Change registry.db as an attacker or a failing disk would: behind the triggers' back."""
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


def everything(registry: Registry) -> tuple[object, ...]:
    """All that can be read."""
    found = (registry.evidence_for(BITCOIN, RECIPE), registry.trials_on(SERIES, NOW, day(1), "tune"))
    return (
        registry.versions(),
        registry.listing(),
        registry.history(),
        registry.evidence(),
        registry.trials_on(SERIES, NOW, NOW),
        found,
    )


def test_a_registry_that_was_only_used_is_whole(registry: Registry) -> None:
    assert registry.verify() == ()


def test_a_stray_object_and_a_half_written_one_are_no_findings(registry: Registry, tmp_path: Path) -> None:
    objects = tmp_path / "registry" / "objects"
    (objects / ("0" * 64)).write_bytes(b"left by a kill before the transaction")
    (objects / ".incoming-1-ab").write_bytes(b"left by a kill while wri")
    assert registry.verify() == ()


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_object_is_found_and_named(registry: Registry, tmp_path: Path, damage: str) -> None:
    sha256 = registry.versions()[0].manifest.artefacts[0].sha256
    path = tmp_path / "registry" / "objects" / sha256
    path.chmod(0o644)
    data = path.read_bytes()
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 4]) if damage == "flip" else data[:-1])
    (finding,) = registry.verify()
    assert finding.where == f"object {sha256[:12]}"
    assert str(path) in finding.problem


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE fits SET manifest = replace(manifest, '\"seed\":7', '\"seed\":8')", "fit "),
        ("UPDATE fits SET recipe = 'x' WHERE rowid = 1", "fit "),
        ("UPDATE fit_artefacts SET size = size + 1", "fit "),
        ("DELETE FROM fit_artefacts WHERE name = 'state.json'", "fit "),
        ("UPDATE versions SET calibration = replace(calibration, '0.1', '0.2') WHERE id = 1", "version 1 of bitcoin"),
        ("UPDATE versions SET hold_out = replace(hold_out, '0.79', '0.80') WHERE id = 1", "version 1 of bitcoin"),
        ("UPDATE versions SET created_at = '2020-01-01T00:00:00.000000+00:00' WHERE id = 1", "version 1 of bitcoin"),
        ("UPDATE aliases SET number = 1 WHERE coin = 'bitcoin' AND alias = 'production'", "production of bitcoin"),
        ("DELETE FROM aliases WHERE coin = 'bitcoin' AND alias = 'production'", "production of bitcoin"),
        ("DELETE FROM aliases WHERE coin = 'ethereum' AND alias = 'challenger'", "challenger of ethereum"),
        ("UPDATE history SET who = 'eve' WHERE id = 2", "row 2 of the history"),
        ("UPDATE history SET at = '2020-01-01T00:00:00.000000+00:00' WHERE id = 1", "row 1 of the history"),
        ("DELETE FROM history WHERE id = 3", "row 4 of the history"),
        ("DELETE FROM history WHERE id = 6", "production of bitcoin"),
        ("UPDATE evidence SET record = replace(record, '0.79', '0.80') WHERE id = 2", "row 2 of the evidence"),
        ("UPDATE evidence SET digest = replace(digest, 'a', 'b') WHERE id = 1", "row 1 of the evidence"),
        ("UPDATE evidence SET coins = ',bitcoin,litecoin,' WHERE id = 2", "row 2 of the evidence"),
        ("UPDATE evidence SET end_at = replace(end_at, '2025', '2026') WHERE id = 3", "row 3 of the evidence"),
        ("UPDATE evidence SET id = 7 WHERE id = 3", "rows 3 to 6 of the evidence"),
        ("DELETE FROM evidence WHERE id = 1", "rows 1 to 1 of the evidence"),
        ("DELETE FROM evidence", "rows 1 to 3 of the evidence"),
        ("UPDATE trials SET record = replace(record, '0.06', '0.16') WHERE id = 1", "row 1 of the trials"),
        ("UPDATE trials SET series = 'sample/usd/daily/dogecoin' WHERE id = 2", "row 2 of the trials"),
        ("UPDATE trials SET command = x'00' WHERE id = 2", "row 2 of the trials"),
        ("DELETE FROM trials WHERE id = 2", "rows 2 to 2 of the trials"),
        ("DELETE FROM trials WHERE id = 3", "rows 3 to 3 of the trials"),
        ("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'trials'", "the trials"),
        ("UPDATE aliases SET number = 9 WHERE alias = 'production'", "registry.db"),
    ],
)
def test_a_change_behind_the_back_of_the_schema_is_found(
    registry: Registry, tmp_path: Path, statement: str, where: str
) -> None:
    tamper(tmp_path, statement)
    assert any(where in finding.where for finding in registry.verify())


def test_a_changed_manifest_or_version_is_refused_by_every_load(registry: Registry, tmp_path: Path) -> None:
    fit_id = registry.versions()[0].fit_id
    tamper(tmp_path, "UPDATE versions SET hold_out = replace(hold_out, '0.79', '0.80')")
    with pytest.raises(RegistryError, match=r"Version 1 of bitcoin.* does not match its hash"):
        registry.get("bitcoin/lightgbm:1", Market("sample", "usd", "daily"))
    tamper(tmp_path, "UPDATE fits SET manifest = replace(manifest, '\"seed\":7', '\"seed\":8')")
    with pytest.raises(RegistryError, match=r"The manifest of fit .* does not match its hash"):
        registry.load_files(fit_id)
    for ask in (registry.versions,):
        with pytest.raises(RegistryError, match="does not match its hash"):
            ask()


def test_changed_evidence_and_trials_are_refused_by_every_question(registry: Registry, tmp_path: Path) -> None:
    tamper(
        tmp_path,
        "UPDATE evidence SET record = replace(record, '0.79', '0.80')",
        "UPDATE trials SET end_at = replace(end_at, '2025', '2026')",
    )
    with pytest.raises(RegistryError, match="Row 3 of the evidence does not match its hash"):
        registry.evidence_for(BITCOIN, RECIPE)
    with pytest.raises(RegistryError, match="Row 1 of the evidence does not match its hash"):
        registry.evidence()
    with pytest.raises(RegistryError, match="Row 1 of the trials has other columns than its record says"):
        registry.trials_on(SERIES, NOW, NOW)


APPEND_ONLY = [
    ("UPDATE history SET why = 'other'", "append-only"),
    ("DELETE FROM history", "append-only"),
    ("DELETE FROM history WHERE id = 1", "append-only"),
    ("INSERT OR REPLACE INTO history SELECT * FROM history WHERE id = 1", "append-only"),
    ("UPDATE OR REPLACE history SET id = 1 WHERE id = 2", "append-only"),
    ("UPDATE fits SET recipe = 'x'", "a fit never changes"),
    ("UPDATE fit_artefacts SET size = 0", "a fit never changes"),
    ("UPDATE versions SET number = 9", "a version never changes"),
    ("DELETE FROM aliases WHERE alias = 'production'", "never taken away"),
    ("DELETE FROM aliases", "never taken away"),
]


@pytest.mark.parametrize(("statement", "refusal"), APPEND_ONLY)
def test_the_schema_itself_refuses_to_rewrite_what_happened(
    registry: Registry, tmp_path: Path, statement: str, refusal: str
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as plain:
        with pytest.raises(sqlite3.IntegrityError, match=refusal):
            plain.execute(statement)
        plain.rollback()
    assert registry.verify() == ()


def test_with_foreign_keys_on_nothing_that_is_referred_to_can_be_deleted(registry: Registry, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as plain:
        plain.execute("PRAGMA foreign_keys = ON")
        for statement in ("DELETE FROM fits", "DELETE FROM versions WHERE number = 2"):
            with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
                plain.execute(statement)


def test_a_flipped_byte_anywhere_in_the_file_is_found_or_harmless(registry: Registry, tmp_path: Path) -> None:
    """60 single flips. Verify and every read either answer as before or say what is wrong."""
    path = tmp_path / "registry" / "registry.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    original, whole = path.read_bytes(), everything(registry)
    draw = random.Random(5)
    found = 0
    for _ in range(60):
        data = bytearray(original)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        if registry.verify():
            found += 1
            with contextlib.suppress(RegistryError):  # the only exception that a damaged file may cause
                assert everything(registry) is not None
            continue
        assert everything(registry) == whole
    assert found > 0
    path.write_bytes(original)
    assert registry.verify() == ()


def test_every_artefact_is_passed_on_as_it_is_read(registry: Registry, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    assert registry.verify(lambda files: (seen.append(file) or file for file in files)) == ()  # type: ignore[func-returns-value]
    names = {path.name for path in (tmp_path / "registry" / "objects").iterdir()}
    assert {name for name, _ in seen} == names
