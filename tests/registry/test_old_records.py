"""A registry that an earlier release wrote, with verdicts in the place of answers, opens and says the same."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cryptocast.evaluation.answers import Question, Unanswered
from cryptocast.registry import Registry, first_version, sha256_hex
from cryptocast.registry.manifest import canonical_json
from cryptocast.registry.tables import version_digest
from tests.registry.registry_evidence import RECIPE, evidence
from tests.registry.registry_fits import BITCOIN, FALLS_BACK, hold_out, register, score


def in_old_form(value: Any, form: int) -> Any:
    """The JSON as release 0.1 would have written it (form 1: sentences), or one after it (form 2: a verdict)."""
    if isinstance(value, list):
        return [in_old_form(one, form) for one in value]
    if not isinstance(value, dict):
        return value
    old = {key: in_old_form(one, form) for key, one in value.items() if key not in ("pooled", "answers", "cause")}
    if isinstance(old.get("schema"), str):
        old["schema"] = old["schema"].replace("/3", f"/{form}")
    if "unanswered" in value:
        by_baseline, is_score = old.pop("unanswered") is not None, "crps" in value
        old["verdict"] = in_words(by_baseline=by_baseline) if form == 1 else verdict(value, by_baseline=by_baseline)
        if form == 1 and is_score:
            old["fallback"] = value["cause"]
    return old


def in_words(*, by_baseline: bool) -> str:
    return "baseline answers (too little history)" if by_baseline else "cannot tell (n = 300 dates, p = 0.20)"


def verdict(score: dict[str, Any], *, by_baseline: bool) -> dict[str, Any]:
    if "crps" not in score:  # the summary of a list
        return {"word": None if by_baseline else "cannot tell", "reason": score["unanswered"]}
    own = {"word": "cannot tell", "against": "baseline", "skill": 0.01, "p": 0.2, "reason": None, "detail": None}
    if by_baseline:
        own = {"word": None, "against": None, "skill": None, "p": None}
        own |= {"reason": "baseline_answers", "detail": score["cause"]}
    return {**own, "lower": None, "upper": None, "dates": 300, "smallest_skill": None}


def make_old(path: Path, form: int) -> None:
    """Rewrite what is stored, hashes and all; the triggers that forbid it are back afterwards."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for trigger in triggers:
            connection.execute(f"DROP TRIGGER {trigger['name']}")
        for row in connection.execute("SELECT * FROM versions").fetchall():
            held = canonical_json(in_old_form(msgspec.json.decode(row["hold_out"]), form))
            key = [row[column] for column in ("coin", "source", "vs", "granularity", "kind")]
            digest = version_digest(key, row["number"], row["fit_id"], row["calibration"], held, row["created_at"])
            connection.execute("UPDATE versions SET hold_out = ?, digest = ? WHERE id = ?", (held, digest, row["id"]))
        for table, column, identity in (("summaries", "summary", "version_id"), ("evidence", "record", "id")):
            for row in connection.execute(f"SELECT * FROM {table}").fetchall():  # noqa: S608
                data = canonical_json(in_old_form(msgspec.json.decode(row[column]), form))
                connection.execute(
                    f"UPDATE {table} SET {column} = ?, digest = ? WHERE {identity} = ?",  # noqa: S608
                    (data, sha256_hex(data), row[identity]),
                )
        for trigger in triggers:
            connection.execute(trigger["sql"])
        connection.commit()


@pytest.mark.parametrize("form", [1, 2])
def test_a_registry_of_an_earlier_release_opens_and_says_the_same(tmp_path: Path, form: int) -> None:
    registry = Registry.open(tmp_path)
    young = hold_out(score(1), score(7, **FALLS_BACK))
    register(registry, "1", scores=young)
    registry.record_evidence([evidence()])
    now = (registry.versions(), registry.listing(), registry.evidence_for(BITCOIN, RECIPE))
    make_old(next(tmp_path.rglob("registry.db")), form)
    old = Registry.open(tmp_path)
    assert old.verify() == ()
    (version,) = old.versions()
    assert version.hold_out == now[0][0].hold_out
    assert [listed.foreign for listed in old.listing()] == [False]
    assert old.listing() == now[1]
    assert [(s.answers.get(Question.MODEL), s.unanswered) for s in old.listing()[0].scores] == [
        ("not_enough_data", None),
        (None, Unanswered.BASELINE_ANSWERS),
    ]
    assert old.evidence_for(BITCOIN, RECIPE) == now[2]
    assert now[2] is not None
    assert first_version(version.hold_out) == first_version(young)
    register(old, "2", scores=young)  # what is new stands beside what is old
    assert len(old.listing()) == 2
    assert old.verify() == ()
