"""Features of a user's own: a Python file with the table lines of the catalogue, read as text and checked line by line.

    FEATURES = (
        Feature("gap_7", "price", (CLOSE / CLOSE.rolling_mean(7)).log(), warmup=6, memory=6, source="mine", unit="log"),
    )

The text is code and is run: it must come from the file that the user's own settings name, never from an artefact.
"""

import ast
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Final, get_args

import polars as pl

from cryptocast.data.schema import CANDLE_SCHEMA
from cryptocast.errors import ConfigError
from cryptocast.features.builder import feature_hash, outside_columns
from cryptocast.features.catalogue import FEATURES, Family, Feature, Scope
from cryptocast.features.catalogue_hash import catalogue_hash
from cryptocast.features.expressions import INGREDIENTS
from cryptocast.own_code import one_line, parse_code, run_code, table_line

TABLE: Final = "FEATURES"
MODULE: Final = "cryptocast_own_features"
SETTING: Final = "[features] file"
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}\Z")
NEEDS: Final = frozenset().union(*(f.needs for f in FEATURES))
LINE: Final = (
    'Feature("my_gap", "price", (CLOSE / CLOSE.shift(3)).log(), warmup=3, memory=3, source="mine", unit="log")'
)


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """What models are fitted on: the catalogue, and behind it the features of a user's file.

    digest: SHA-256 (hex) of what decides the values; own: names of the user's, with the lines they stand on; origin:
    the file; text: what it says; series: the outside series that it reads, with the facts of their sections.
    """

    features: tuple[Feature, ...]
    digest: str
    own: Mapping[str, int]
    origin: str = ""
    text: str = ""
    series: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def of_single_coins(self) -> "FeatureSet":
        """Those that do not compare the coins of a moment: a row of theirs needs its own coin's bars and bitcoin's."""
        features = tuple(feature for feature in self.features if feature.scope != "moment")
        if len(features) == len(self.features):
            return self
        names = {feature.name for feature in features}
        own = {name: line for name, line in self.own.items() if name in names}
        if self.own and not own:  # nothing of the file is left
            return catalogue_set().of_single_coins
        series = {name: self.series[name] for name in outside_columns(features)}
        digest = hashlib.sha256(f"of single coins: {self.digest}".encode()).hexdigest()
        return replace(self, features=features, own=own, digest=digest, series=series)

    def where(self, name: str) -> str:
        """Where the feature stands, for a message: empty for one of the catalogue."""
        return f" of {self.origin}, line {self.own[name]}," if name in self.own else ""


@lru_cache(maxsize=1)
def catalogue_set() -> FeatureSet:
    """The catalogue alone."""
    return FeatureSet(FEATURES, catalogue_hash(FEATURES), {})


def with_own(text: str, origin: str, series: Mapping[str, str] = MappingProxyType({})) -> FeatureSet:
    """The catalogue and the features that the text of a Python file adds to it, each tried on a few made candles.

    origin: the path of the file, for messages and tracebacks. series: the outside series that there are, with the facts
    of their sections, on which the values depend. Raises ConfigError with the file, the line and what to do, if the
    text is not Python, fails, has no table, or a line of the table is wrong.
    """
    tree = parse_code(text, origin)
    lines = dict(_named_lines(tree))
    rows = _table(vars(run_code(text, origin, MODULE, SETTING)), origin, tree)
    own = tuple(_checked(row, place, origin, lines, series) for place, row in enumerate(rows, 1))
    _refuse_clashes(own, origin, lines, series)
    read = {name: series[name] for name in outside_columns(own)}
    # Comments and layout of the text do not count. The values speak for formulas that are imported from elsewhere.
    facts = [catalogue_hash(FEATURES), ast.unparse(tree), *(_tried(feature, origin, lines) for feature in own)]
    facts += [f"{name}: {clock}" for name, clock in read.items()]
    return FeatureSet(
        features=(*FEATURES, *own),
        digest=hashlib.sha256(json.dumps(facts).encode()).hexdigest(),
        own={feature.name: lines.get(feature.name, 1) for feature in own},
        origin=origin,
        text=text,
        series=read,
    )


def _named_lines(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The line of each text that stands as the name of a call of Feature; the last wins, as it does in a table."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            names = [*node.args[:1], *(k.value for k in node.keywords if k.arg == "name")]
            yield from ((v.value, v.lineno) for v in names if isinstance(v, ast.Constant) and isinstance(v.value, str))


def _table(names: Mapping[str, object], origin: str, tree: ast.Module) -> Sequence[object]:
    at = f"{origin}, line {table_line(tree, TABLE)}"
    if TABLE not in names:
        raise ConfigError(f"{origin} defines no {TABLE}. Write {TABLE} = ({LINE},)")
    table = names[TABLE]
    if isinstance(table, Feature):
        raise ConfigError(
            f"{at}: {TABLE} is one Feature, not a table. Add a comma behind it: {TABLE} = (Feature(...),)"
        )
    if not isinstance(table, tuple | list):
        raise ConfigError(f"{at}: {TABLE} is {type(table).__name__}, expected a tuple of Feature(...) lines.")
    if not table:
        raise ConfigError(f"{at}: {TABLE} is empty. Add a line such as {LINE}, or empty [features] file.")
    return table


def _checked(row: object, place: int, origin: str, lines: Mapping[str, int], series: Collection[str]) -> Feature:
    """The row as a feature of the right types. Raises ConfigError that says what is wrong with it."""
    if not isinstance(row, Feature):
        raise ConfigError(
            f"{origin}: entry {place} of {TABLE} is {type(row).__name__}, expected Feature(...), such as {LINE}"
        )
    at = f"{origin}, line {lines.get(str(row.name), 1)}: {row.name!s}"
    values = {fact.name: getattr(row, fact.name) for fact in fields(Feature)}
    for problem in (*_problems(values), *_formula_problems(values["expr"], series)):
        raise ConfigError(f"{at}: {problem}.")
    return replace(row, needs=frozenset(row.needs))


def _problems(row: Mapping[str, object]) -> Iterator[str]:
    name = row["name"]
    if not (isinstance(name, str) and NAME.match(name)):
        yield f"name is {name!r}, expected lower-case letters, digits and _, such as my_gap"
    for key, choices in (("family", get_args(Family)), ("scope", get_args(Scope))):
        if row[key] not in choices:
            yield f"{key} is {row[key]!r}, expected one of {', '.join(choices)}"
    for key in ("warmup", "memory"):
        value = row[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            yield f"{key} is {value!r}, expected a whole number of bars, 0 or more"
    for key in ("source", "unit"):
        if not (isinstance(row[key], str) and row[key]):
            yield f"{key} is {row[key]!r}, expected a few words"
    if not isinstance(row["lenient"], bool):
        yield f"lenient is {row['lenient']!r}, expected True or False"
    needs = row["needs"]
    if not (isinstance(needs, frozenset | set | tuple | list) and set(needs) <= NEEDS):
        yield f"needs is {needs!r}, expected some of {', '.join(sorted(NEEDS))}"


def _formula_problems(expr: object, series: Collection[str]) -> Iterator[str]:
    if not isinstance(expr, pl.Expr):
        yield f"expr is {type(expr).__name__}, expected a Polars expression, such as CLOSE / CLOSE.shift(3)"
    elif expr.meta.has_multiple_outputs():
        yield "expr gives several columns, expected one"
    elif strange := sorted(set(expr.meta.root_names()) - set(CANDLE_SCHEMA) - INGREDIENTS.keys() - set(series)):
        columns = ", ".join([*CANDLE_SCHEMA, *series])
        yield f"expr reads {strange[0]!r}, which candles do not have; columns: {columns}; [series.NAME] adds one"


def _refuse_clashes(own: Sequence[Feature], origin: str, lines: Mapping[str, int], series: Collection[str]) -> None:
    owners = {
        **dict.fromkeys(CANDLE_SCHEMA, "a column of the candles"),
        **{f.name: "in the catalogue" for f in FEATURES},
    }
    for name in series:
        if name in owners:
            raise ConfigError(f"[series.{name}]: the name is taken: it is {owners[name]}. Choose another.")
    owners |= dict.fromkeys(series, "an outside series")
    for feature in own:
        if feature.name in owners:
            raise ConfigError(
                f"{origin}, line {lines.get(feature.name, 1)}: the name {feature.name} is taken: it is "
                f"{owners[feature.name]}. Choose another, such as my_{feature.name}."
            )
        owners[feature.name] = f"twice in {TABLE}"


def _tried(feature: Feature, origin: str, lines: Mapping[str, int]) -> str:
    """The hash of the feature, for which it is computed once. Raises ConfigError if that fails."""
    try:
        return feature_hash([feature])
    except Exception as error:
        raise ConfigError(
            f"{origin}, line {lines.get(feature.name, 1)}: {feature.name} cannot be computed: "
            f"{type(error).__name__}: {one_line(error)}. Correct its expression."
        ) from error
