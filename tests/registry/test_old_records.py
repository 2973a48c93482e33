"""A registry that an earlier release wrote, with verdicts and fallbacks as sentences, opens and says the same."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from cryptocast.config import GateConfig
from cryptocast.evaluation.verdicts import Verdict, VerdictReason, verdict_sentence
from cryptocast.registry import Registry, first_version, sha256_hex
from cryptocast.registry.manifest import canonical_json
from cryptocast.registry.tables import version_digest
from tests.registry.registry_evidence import RECIPE, evidence
from tests.registry.registry_fits import BITCOIN, FALLS_BACK, hold_out, register, score


def in_old_form(value: Any) -> Any:
    """The JSON as release 0.1 would have written it."""
    if isinstance(value, list):
        return [in_old_form(one) for one in value]
    if not isinstance(value, dict):
        return value
    old = {key: in_old_form(one) for key, one in value.items()}
    if isinstance(old.get("schema"), str):
        old["schema"] = old["schema"].replace("/2", "/1")
    if isinstance(value.get("verdict"), dict) and "horizon" in value:
        verdict = msgspec.convert(value["verdict"], Verdict)
        by_baseline = verdict.reason is VerdictReason.BASELINE_ANSWERS
        sentence = verdict_sentence(verdict, value["horizon"])
        old["verdict"] = f"{sentence} (too little history)" if by_baseline else sentence
        if "crps" in value:  # the summary of a list has no fallback
            old["fallback"] = verdict.detail
    return old


def make_old(path: Path) -> None:
    """Rewrite what is stored, hashes and all; the triggers that forbid it are back afterwards."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for trigger in triggers:
            connection.execute(f"DROP TRIGGER {trigger['name']}")
        for row in connection.execute("SELECT * FROM versions").fetchall():
            held = canonical_json(in_old_form(msgspec.json.decode(row["hold_out"])))
            key = [row[column] for column in ("coin", "source", "vs", "granularity", "kind")]
            digest = version_digest(key, row["number"], row["fit_id"], row["calibration"], held, row["created_at"])
            connection.execute("UPDATE versions SET hold_out = ?, digest = ? WHERE id = ?", (held, digest, row["id"]))
        for table, column, identity in (("summaries", "summary", "version_id"), ("evidence", "record", "id")):
            for row in connection.execute(f"SELECT * FROM {table}").fetchall():  # noqa: S608
                data = canonical_json(in_old_form(msgspec.json.decode(row[column])))
                connection.execute(
                    f"UPDATE {table} SET {column} = ?, digest = ? WHERE {identity} = ?",  # noqa: S608
                    (data, sha256_hex(data), row[identity]),
                )
        for trigger in triggers:
            connection.execute(trigger["sql"])
        connection.commit()


def test_a_registry_of_an_earlier_release_opens_and_says_the_same(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path)
    young = hold_out(score(1), score(7, verdict=FALLS_BACK))
    register(registry, "1", scores=young)
    registry.record_evidence([evidence()])
    now = (registry.versions(), registry.listing(), registry.evidence_for(BITCOIN, RECIPE))
    make_old(next(tmp_path.rglob("registry.db")))
    old = Registry.open(tmp_path)
    assert old.verify() == ()
    (version,) = old.versions()
    assert version.hold_out == now[0][0].hold_out
    assert [listed.foreign for listed in old.listing()] == [False]
    assert [(s.horizon, s.verdict.word, s.verdict.reason) for s in old.listing()[0].scores] == [
        (1, "cannot tell", None),
        (7, None, "baseline_answers"),
    ]
    assert old.evidence_for(BITCOIN, RECIPE) == now[2]
    assert now[2] is not None
    assert first_version(version.hold_out, GateConfig()) == first_version(young, GateConfig())
    register(old, "2", scores=young)  # what is new stands beside what is old
    assert len(old.listing()) == 2
    assert old.verify() == ()
