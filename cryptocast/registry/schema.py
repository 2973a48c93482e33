"""The tables of registry.db, as a list of migrations: migration i takes the schema from version i to i + 1.

A migration that was released is never edited; what comes later is appended. Statements stand alone because SQLite's
script runner would commit half-way. No STRICT tables: the SQLite of supported systems is older than they are.
"""

from typing import Final

KEY: Final = "coin, source, vs, granularity, kind"
KEY_COLUMNS: Final = (
    "coin TEXT NOT NULL, source TEXT NOT NULL, vs TEXT NOT NULL, granularity TEXT NOT NULL, kind TEXT NOT NULL"
)


def _refuse(name: str, event: str, message: str, condition: str = "") -> str:
    when = f" WHEN {condition}" if condition else ""
    return f"CREATE TRIGGER {name} BEFORE {event}{when} BEGIN SELECT RAISE(ABORT, '{message}'); END"


FIRST: Final[tuple[str, ...]] = (
    # A fit's id is the sha256 of its manifest. The columns beside the manifest repeat it, to be filtered by.
    """CREATE TABLE fits (
        fit_id TEXT PRIMARY KEY CHECK (length(fit_id) = 64),
        kind TEXT NOT NULL, source TEXT NOT NULL, vs TEXT NOT NULL, granularity TEXT NOT NULL,
        recipe TEXT NOT NULL,
        registered_at TEXT NOT NULL,
        manifest BLOB NOT NULL
    )""",
    """CREATE TABLE fit_artefacts (
        fit_id TEXT NOT NULL REFERENCES fits (fit_id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
        size INTEGER NOT NULL CHECK (size >= 0),
        PRIMARY KEY (fit_id, name)
    )""",
    "CREATE INDEX fit_artefacts_by_sha256 ON fit_artefacts (sha256)",
    # digest: sha256 over all other columns, so that a flipped byte in calibration or scores is noticed.
    f"""CREATE TABLE versions (
        id INTEGER PRIMARY KEY,
        {KEY_COLUMNS},
        number INTEGER NOT NULL CHECK (number >= 1),
        fit_id TEXT NOT NULL REFERENCES fits (fit_id),
        calibration BLOB NOT NULL,
        hold_out BLOB NOT NULL,
        created_at TEXT NOT NULL,
        digest TEXT NOT NULL CHECK (length(digest) = 64),
        UNIQUE ({KEY}, number),
        UNIQUE ({KEY}, fit_id)
    )""",
    "CREATE INDEX versions_by_fit ON versions (fit_id)",
    f"""CREATE TABLE aliases (
        {KEY_COLUMNS},
        alias TEXT NOT NULL CHECK (length(alias) BETWEEN 1 AND 40),
        number INTEGER NOT NULL,
        PRIMARY KEY ({KEY}, alias),
        FOREIGN KEY ({KEY}, number) REFERENCES versions ({KEY}, number)
    )""",
    f"CREATE INDEX aliases_by_version ON aliases ({KEY}, number)",
    # No foreign key: the history outlives the versions that it tells of. digest: sha256 over the row and the digest of
    # the row before it, so that an edit behind the triggers' back shows.
    f"""CREATE TABLE history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        action TEXT NOT NULL,
        {KEY_COLUMNS},
        alias TEXT NOT NULL,
        number INTEGER NOT NULL,
        previous INTEGER,
        why TEXT NOT NULL,
        evidence BLOB NOT NULL,
        digest TEXT NOT NULL CHECK (length(digest) = 64)
    )""",
    f"CREATE INDEX history_by_key ON history ({KEY}, alias, id)",
    _refuse("history_no_update", "UPDATE ON history", "the history is append-only"),
    _refuse("history_no_delete", "DELETE ON history", "the history is append-only"),
    # INSERT OR REPLACE deletes without firing delete triggers, unless recursive triggers are on.
    _refuse(
        "history_no_replace",
        "INSERT ON history",
        "the history is append-only",
        "EXISTS (SELECT 1 FROM history WHERE id = NEW.id)",
    ),
    _refuse("fits_no_update", "UPDATE ON fits", "a fit never changes"),
    _refuse("fit_artefacts_no_update", "UPDATE ON fit_artefacts", "a fit never changes"),
    _refuse("versions_no_update", "UPDATE ON versions", "a version never changes"),
    _refuse(
        "production_no_delete", "DELETE ON aliases", "production is moved, never taken away", "OLD.alias = 'production'"
    ),
)


def _journal(table: str, title: str, columns: str, identity: str) -> tuple[str, ...]:
    """A table of records that lets rows in and nothing else; `identity` are the columns that make one unique.

    The record is the whole row as canonical JSON, digest its sha256; the columns before it repeat what rows are found
    by. AUTOINCREMENT, so that a row that was taken away leaves a gap.
    """
    message = f"the {title} append-only"
    same = " AND ".join(f"{column} = NEW.{column}" for column in identity.split(", "))
    return (
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY AUTOINCREMENT, {columns}, record BLOB NOT NULL,"
        f" digest TEXT NOT NULL CHECK (length(digest) = 64), UNIQUE ({identity}))",
        _refuse(f"{table}_no_update", f"UPDATE ON {table}", message),
        _refuse(f"{table}_no_delete", f"DELETE ON {table}", message),
        _refuse(
            f"{table}_no_replace",
            f"INSERT ON {table}",
            message,
            f"EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id OR ({same}))",  # noqa: S608 - our own names
        ),
    )


EVIDENCE_AND_TRIALS: Final[tuple[str, ...]] = (
    # coin '': pooled over the coins, which stand as ",bitcoin,ethereum," to be searched.
    *_journal(
        "evidence",
        "evidence is",
        "run TEXT NOT NULL, recipe TEXT NOT NULL CHECK (length(recipe) = 64), coin TEXT NOT NULL, kind TEXT NOT NULL,"
        " source TEXT NOT NULL, vs TEXT NOT NULL, granularity TEXT NOT NULL, coins TEXT NOT NULL, end_at TEXT NOT NULL,"
        " recorded_at TEXT NOT NULL",
        "run, recipe, coin",
    ),
    "CREATE INDEX evidence_by_recipe ON evidence (recipe, source, vs, granularity, coin, end_at, recorded_at)",
    *_journal(
        "trials",
        "trials are",
        "run TEXT NOT NULL, series TEXT NOT NULL, name TEXT NOT NULL, command TEXT NOT NULL, start_at TEXT NOT NULL,"
        " end_at TEXT NOT NULL",
        "run, series, name",
    ),
    "CREATE INDEX trials_by_series ON trials (series, end_at, start_at)",
)
FORECAST_COLUMNS: Final = (
    f"{KEY_COLUMNS}, number INTEGER NOT NULL CHECK (number >= 0), issued_at TEXT NOT NULL,"
    " horizon INTEGER NOT NULL CHECK (horizon >= 1)"
)
FORECAST: Final = f"{KEY}, number, horizon, issued_at"

# The forecasts that were, or would have been, served, and what came of each: as records, like evidence and trials.
# Summaries repeat what a list shows of a version, so that ten thousand are read at once. States are the online
# calibration, which may be counted again from ledger and outcomes.
LEDGER_AND_TESTS: Final[tuple[str, ...]] = (
    """CREATE TABLE summaries (
        version_id INTEGER PRIMARY KEY REFERENCES versions (id) ON DELETE CASCADE,
        summary BLOB NOT NULL,
        digest TEXT NOT NULL CHECK (length(digest) = 64)
    )""",
    *_journal("ledger", "ledger is", FORECAST_COLUMNS, FORECAST),
    *_journal("outcomes", "outcomes are", FORECAST_COLUMNS, FORECAST),
    f"""CREATE TABLE calibration_states (
        {KEY_COLUMNS},
        number INTEGER NOT NULL,
        horizon INTEGER NOT NULL,
        through TEXT NOT NULL,
        state BLOB NOT NULL,
        digest TEXT NOT NULL CHECK (length(digest) = 64),
        PRIMARY KEY ({KEY}, number, horizon)
    )""",
    *_journal("ab_tests", "A/B tests are", f"{KEY_COLUMNS}, test TEXT NOT NULL, event TEXT NOT NULL", "test, event"),
    f"CREATE INDEX ab_tests_by_key ON ab_tests ({KEY}, id)",
)

# How each version stood when it was last judged live; goes with its version.
LIVE_MARKS: Final[tuple[str, ...]] = (
    f"""CREATE TABLE live_marks (
        {KEY_COLUMNS},
        number INTEGER NOT NULL,
        record BLOB NOT NULL,
        digest TEXT NOT NULL CHECK (length(digest) = 64),
        PRIMARY KEY ({KEY}, number),
        FOREIGN KEY ({KEY}, number) REFERENCES versions ({KEY}, number) ON DELETE CASCADE
    )""",
)

# The hold-out of a version that came with an archive, made again on bars of this store; it stands in the place of the
# foreign one. digest: over the version's own and the record. AUTOINCREMENT, so that each new one shows.
LOCAL_HOLD_OUTS: Final[tuple[str, ...]] = (
    """CREATE TABLE local_hold_outs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        version_id INTEGER NOT NULL UNIQUE REFERENCES versions (id) ON DELETE CASCADE,
        record BLOB NOT NULL,
        digest TEXT NOT NULL CHECK (length(digest) = 64)
    )""",
)

SOURCE_MOVES: Final[tuple[str, ...]] = _journal(
    "source_moves", "moves of coins are", "coin TEXT NOT NULL, vs TEXT NOT NULL, at TEXT NOT NULL", "coin, vs, at"
)

# What somebody should be told. lasts: 1 while the condition goes on that it is about. due_at: of the next try; NULL:
# it was sent, or given up.
NOTICES: Final[tuple[str, ...]] = (
    """CREATE TABLE notices (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        code TEXT NOT NULL,
        subject TEXT NOT NULL,
        phase TEXT NOT NULL,
        at TEXT NOT NULL,
        lasts INTEGER NOT NULL CHECK (lasts IN (0, 1)),
        due_at TEXT,
        tries INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'dropped')),
        record BLOB NOT NULL,
        digest TEXT NOT NULL CHECK (length(digest) = 64)
    )""",
    "CREATE INDEX notices_by_due ON notices (due_at)",
    "CREATE INDEX notices_by_subject ON notices (lasts, code, subject)",
)

# What a scoring reads of a long ledger. Of its rows up to `settled.through` those that are not in `waiting` have an
# outcome; matured rows are kept as columns (see live_rows). Each may be counted again, and is so where it is empty: a
# registry from before reads as before.
SCORING: Final[tuple[str, ...]] = (
    "CREATE TABLE waiting (ledger_id INTEGER PRIMARY KEY)",
    "CREATE TABLE settled (id INTEGER PRIMARY KEY CHECK (id = 1), through INTEGER NOT NULL)",
    f"""CREATE TABLE live_parts (
        {KEY_COLUMNS},
        number INTEGER NOT NULL,
        part INTEGER NOT NULL,
        through INTEGER NOT NULL,
        data BLOB NOT NULL,
        digest TEXT NOT NULL CHECK (length(digest) = 64),
        PRIMARY KEY ({KEY}, number, part)
    )""",
)

MIGRATIONS: Final = (
    FIRST,
    EVIDENCE_AND_TRIALS,
    LEDGER_AND_TESTS,
    LIVE_MARKS,
    LOCAL_HOLD_OUTS,
    SOURCE_MOVES,
    NOTICES,
    SCORING,
)
SCHEMA_VERSION: Final = len(MIGRATIONS)
