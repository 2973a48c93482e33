"""Models of a user's own: a Python file with a table of learners and of what they fit.

    MODELS = ((MyLearner(), MyForecaster),)

The code stays in that file: what a version keeps are the arrays and JSON of its own `save`. Around both stands what a
model must not be trusted with: labels and bars that were not known are taken away before it is asked, and what it gives
is looked at before anybody sees it.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, cast

import numpy as np

from cryptocast.config import TAKEN
from cryptocast.errors import ConfigError, CryptocastError, ModelError
from cryptocast.features.matrix import LABELS, Matrix
from cryptocast.kinds import KIND_PATTERN
from cryptocast.models.base import Artefacts, FitRun, Forecast, Forecaster, Learner, Rounds
from cryptocast.own_code import code_line, one_line, parse_code, run_code, table_line
from cryptocast.scoring.quantiles import LEVELS

TABLE: Final = "MODELS"
MODULE: Final = "cryptocast_own_models"
SETTING: Final = "[models] file"
LINE: Final = f"{TABLE} = ((MyLearner(), MyForecaster),)"
NAME: Final = re.compile(KIND_PATTERN)
PICKLE: Final = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
BETWEEN: Final = "-"  # the kind and the name of a file; no kind has one
# Rows are asked for together and by themselves: the same, but for the order of a sum.
RELATIVE, ABSOLUTE = 1e-6, 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class OwnModels:
    """What a file defines, by kind. digest: SHA-256 (hex) of its code; comments and layout do not count."""

    text: str = ""
    origin: str = ""
    digest: str = ""
    learners: Mapping[str, Learner] = field(default_factory=dict)
    forecasters: Mapping[str, type[Forecaster]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds, in the order of the file."""
        return tuple(self.learners)

    def learner(self, kind: str) -> "OwnLearner":
        """The learner of a kind that the file has."""
        return OwnLearner(self, kind)

    def loader(self, kind: str) -> "OwnLoader":
        """What loads its saved models."""
        return OwnLoader(self, kind)

    @contextmanager
    def blame(self, kind: str, what: str) -> Iterator[None]:
        """What goes wrong inside is an error of the file, with its line; errors of the package pass as they are."""
        try:
            yield
        except CryptocastError:
            raise
        except Exception as error:
            cause = f"{type(error).__name__}: {one_line(error)}"
            line = code_line(error, self.origin)
            raise ModelError(f"{self.origin}, line {line}: {kind} cannot be {what}: {cause}.") from error


@lru_cache(maxsize=8)
def with_models(text: str, origin: str) -> OwnModels:
    """The models that the text of a Python file defines.

    origin: the path of the file, for messages and tracebacks. Raises ConfigError with the file, the line and what to
    do, if the text is not Python, fails, has no table, or an entry of the table is no model.
    """
    tree = parse_code(text, origin)
    digest = hashlib.sha256(ast.unparse(tree).encode()).hexdigest()
    module = run_code(text, origin, f"{MODULE}_{digest[:16]}", SETTING)
    table, at = vars(module).get(TABLE), f"{origin}, line {table_line(tree, TABLE)}"
    if table is None:
        raise ConfigError(f"{origin} defines no {TABLE}. Write {LINE}")
    if not isinstance(table, tuple | list) or not table:
        raise ConfigError(f"{at}: {TABLE} is {type(table).__name__}, expected a tuple of pairs: {LINE}")
    learners, forecasters = dict[str, Learner](), dict[str, type[Forecaster]]()
    for place, entry in enumerate(table, 1):
        kind, learner, forecaster = _checked(entry, f"{at}: entry {place} of {TABLE}", learners)
        learners[kind], forecasters[kind] = learner, forecaster
    sys.modules[module.__name__] = module  # what it defines is looked up by name for as long as it is used
    return OwnModels(text, origin, digest, learners, forecasters)


def _checked(entry: Any, at: str, others: Collection[str]) -> tuple[str, Learner, type[Forecaster]]:
    if not isinstance(entry, tuple | list) or len(entry) != 2:
        raise ConfigError(f"{at} is {type(entry).__name__}, expected a learner and the class of what it fits: {LINE}")
    learner, forecaster = entry
    if isinstance(learner, type):
        raise ConfigError(f"{at}: {learner.__name__} is a class, expected a learner: write {learner.__name__}().")
    if not callable(getattr(learner, "fit", None)):
        raise ConfigError(f"{at}: {type(learner).__name__} has no method fit(train, *, stop, rounds, seed, run).")
    if not isinstance(forecaster, type):
        raise ConfigError(f"{at}: {type(forecaster).__name__} is an object, expected the class of what a fit gives.")
    for name in ("predict", "save", "load"):
        if not callable(getattr(forecaster, name, None)):
            raise ConfigError(f"{at}: {forecaster.__name__} has no method {name}.")
    kind = getattr(learner, "kind", None)
    if not isinstance(kind, str) or not NAME.match(kind):
        raise ConfigError(f"{at}: kind is {kind!r}, expected lower-case letters, digits and _, such as my_model.")
    if kind in TAKEN or kind in others:
        why = f"twice in {TABLE}" if kind in others else "a word of cryptocast's"
        raise ConfigError(f"{at}: the name {kind} is taken: it is {why}. Choose another, such as my_{kind}.")
    return kind, learner, forecaster


@dataclass(frozen=True, slots=True, eq=False)
class OwnLearner:
    """A learner of the file, which sees what was known at its fit."""

    models: OwnModels
    kind: str

    def __reduce__(self) -> tuple[Callable[..., "OwnLearner"], tuple[str, str, str]]:
        return _again, (self.models.text, self.models.origin, self.kind)

    @property
    def calibrate(self) -> bool:
        """As the learner says; one that does not is calibrated."""
        return bool(getattr(self.models.learners[self.kind], "calibrate", True))

    def fit(self, train: Matrix, *, stop: Matrix | None, rounds: Rounds | None, seed: int, run: FitRun) -> Forecaster:
        """The learner's fit. Raises ModelError with the line where it fails; DataError is the learner's own."""
        learner = self.models.learners[self.kind]
        with self.models.blame(self.kind, "fitted"):
            own_stop = None if stop is None else _known(stop, labels=True)
            inner = learner.fit(_known(train, labels=True), stop=own_stop, rounds=rounds, seed=seed, run=run)
        expected = self.models.forecasters[self.kind]
        if not isinstance(inner, expected):
            raise ModelError(
                f"{self.models.origin}: a fit of {self.kind} gave {type(inner).__name__}, expected {expected.__name__}."
            )
        return cast("Forecaster", OwnForecaster(self.models, self.kind, inner))


def _again(text: str, origin: str, kind: str) -> OwnLearner:
    """The learner in another process, from the text of its file."""
    return with_models(text, origin).learner(kind)


@dataclass(frozen=True, slots=True, eq=False)
class OwnLoader:
    """What loads a saved model of the file."""

    models: OwnModels
    kind: str

    def load(self, files: Artefacts) -> Forecaster:
        """What `OwnForecaster.save` wrote. Raises ModelError with the line where the file's own `load` fails."""
        start = f"{self.kind}{BETWEEN}"
        own = {name.removeprefix(start): content for name, content in files.items() if name.startswith(start)}
        with self.models.blame(self.kind, "loaded"):
            inner = self.models.forecasters[self.kind].load(own)
        return cast("Forecaster", OwnForecaster(self.models, self.kind, inner))


@dataclass(frozen=True, slots=True, eq=False)
class OwnForecaster:
    """A model that a learner of the file has fitted, and whose forecasts are looked at."""

    models: OwnModels
    kind: str
    inner: Forecaster

    @property
    def rounds(self) -> Rounds:
        """As the model says; nothing to repeat where it does not."""
        rounds = getattr(self.inner, "rounds", None)
        return rounds if isinstance(rounds, Rounds) else Rounds()

    def predict(self, rows: Matrix) -> Forecast:
        """A forecast for each row. Raises ModelError for what is no forecast of these rows, or knows later ones."""
        forecast = self._asked(rows)
        moments = np.unique(rows.issued_at)
        if len(moments) > 1:
            earlier = rows.issued_at <= moments[(len(moments) - 1) // 2]
            self._check_foresight(forecast.rows(earlier), self._asked(rows.rows(earlier)))
        return forecast

    def save(self) -> Artefacts:
        """The model's own files under the name of its kind. Raises ModelError unless they give the same files again."""
        with self.models.blame(self.kind, "saved"):
            own = dict(self.inner.save())
        for name, content in own.items():
            if not isinstance(content, bytes) or content.startswith(PICKLE):
                what = "a pickle" if isinstance(content, bytes) else type(content).__name__
                raise ModelError(
                    f"{self.models.origin}: {self.kind} saves {name!a} as {what}, expected bytes of arrays or JSON."
                )
        with self.models.blame(self.kind, "loaded"):
            again = dict(self.models.forecasters[self.kind].load(own).save())
        if again != own:
            raise ModelError(
                f"{self.models.origin}: what {self.kind} loads is not what it saved: saved again, it is other bytes."
            )
        return {f"{self.kind}{BETWEEN}{name}": content for name, content in own.items()}

    def _asked(self, rows: Matrix) -> Forecast:
        with self.models.blame(self.kind, "asked"):
            forecast = self.inner.predict(_known(rows, labels=False))
        if problem := _problem(forecast, rows):
            raise ModelError(f"{self.models.origin}: a forecast of {self.kind} {problem}.")
        return forecast

    def _check_foresight(self, together: Forecast, alone: Forecast) -> None:
        same = np.isclose(together.values, alone.values, rtol=RELATIVE, atol=ABSOLUTE)
        if same.all():
            return
        row, column, _ = np.argwhere(~same)[0]
        when = np.datetime64(int(alone.issued_at[row]), "us").astype("datetime64[m]")
        raise ModelError(
            f"{self.models.origin}: {self.kind} looks into the future, or is not the same when it is asked again: its "
            f"forecast for {alone.coin[row]} at {when}, {alone.horizons[column]} bars ahead, is another without the "
            "rows after it. Use of each row only what is in it, and the bars of the panel up to it."
        )


def _problem(forecast: Any, rows: Matrix) -> str | None:
    """Why it is no forecast of these rows; its shapes, order and finiteness are checked by the type itself."""
    if not isinstance(forecast, Forecast):
        return f"is {type(forecast).__name__}, expected cryptocast.models.Forecast"
    if len(forecast) != len(rows):
        return f"has {len(forecast)} rows, expected {len(rows)}"
    for name, expected in (("horizons", rows.horizons), ("levels", LEVELS), ("issued_at", rows.issued_at)):
        if not np.array_equal(getattr(forecast, name), expected):
            return f"has other {name} than the rows that were asked for"
    if not np.array_equal(forecast.coin, rows.coin_names):
        return "has other coins than the rows that were asked for"
    return None


def _known(rows: Matrix, *, labels: bool) -> Matrix:
    """The rows without what was not known at the last of them: later bars, and labels unless they are to be learned."""
    if len(rows) == 0:
        return rows
    moment = int(rows.issued_at.max())
    hidden: dict[str, Any] = {"paid": None}
    if labels:
        ends = rows.label_end[np.isfinite(rows.returns)]
        moment = max(moment, int(ends.max())) if len(ends) else moment
    else:
        hidden |= {name: np.full_like(getattr(rows, name), np.nan) for name in LABELS}
    panel, later = rows.panel, rows.panel.close_time > moment
    if later.any():
        bars = {name: _without(getattr(panel, name), later) for name in ("log_close", "variance", "volatility")}
        hidden["panel"] = replace(panel, **bars)
    return replace(rows, **hidden)


def _without(values: Any, later: Any) -> Any:
    return np.where(later.reshape(-1, *(1,) * (values.ndim - 1)), np.nan, values)
