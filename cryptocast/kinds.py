"""The table of the kinds of models. Adding one is a line here, a module below `models`, and a section of the settings.

What may be asked for, trained, averaged, walked and tuned follows from the table, and with it the literals of the
settings, the options of the commands, the parameters of the server and the libraries in a manifest. It imports nothing
of the package but its extras, so that the settings and `--help` can read it; `models.kinds` loads the modules that it
names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from cryptocast.extras import LSTM, Extra, check_installed, is_there


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of model.

    module: below `cryptocast.models`, see `models.kinds.KindModule`. libraries: distributions that decide its numbers.
    extra: with which it can learn.
    trainable: `train` fits and registers it. member: an ensemble may average it. ensemble: it averages the `members` of
    its section. trial: settings of a tuning's trial in place of its own. A kind's settings are the section of its name,
    if it has one; it can be tuned if any of them has a `Range`.
    """

    name: str
    module: str
    libraries: tuple[str, ...] = ()
    extra: Extra | None = None
    trainable: bool = True
    member: bool = True
    ensemble: bool = False
    trial: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Range:
    """What a tuning may set a setting to; few have one, in bounds that are known to be sensible.

    name: of the setting, which the settings fill in. log: equal factors are equally likely. whole: a whole number.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    name: str = ""

    def at(self, share: float) -> int | float:
        """The value a share of the way from low to high."""
        even = self.low + share * (self.high - self.low)
        value = self.low * (self.high / self.low) ** share if self.log else even
        value = min(max(value, self.low), self.high)
        return round(value) if self.whole else float(value)


BASELINE: Final = "baseline"  # needs no version: what answers where no other kind does
MIX: Final = "mix"  # of a backtest: the mean of the kinds that walk beside it, no kind itself
SHIPPED: Final = "shipped"  # a lightgbm that came with the package, for every coin; no kind itself either

_TABLE: Final = (
    Kind(BASELINE, "baseline", trainable=False),
    Kind("har", "har", trainable=False),
    # In the order of the ladder that serving falls down; an ensemble takes over the members that are fitted before it.
    Kind("lightgbm", "boosting", libraries=("lightgbm",)),
    # A trial has one network: more cost much and decide little among settings.
    Kind("lstm", "lstm", libraries=LSTM.libraries, extra=LSTM, trial={"members": 1}),
    Kind("ml_ensemble", "stacking", libraries=("scipy",), member=False, ensemble=True),
)
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in _TABLE}
TRAINABLE: Final = tuple(kind.name for kind in _TABLE if kind.trainable)
MEMBERS: Final = tuple(kind.name for kind in _TABLE if kind.member)
AVERAGED: Final = tuple(kind for kind in MEMBERS if kind != BASELINE)  # which costs an ensemble a tenth of a point
SINGLE: Final = tuple(kind.name for kind in _TABLE if kind.trainable and not kind.ensemble)
ALL_KINDS: Final = (BASELINE, *TRAINABLE)
ASKABLE: Final = (*ALL_KINDS, SHIPPED)  # for a forecast, by name


def libraries_of(kinds: Iterable[str]) -> tuple[str, ...]:
    """Whose versions decide what these kinds learn, in alphabetical order."""
    return tuple(sorted({"numpy", "polars", *(name for kind in kinds for name in KINDS[kind].libraries)}))


def is_installed(kind: str) -> bool:
    """Whether there are the libraries that the kind learns with; what it learned elsewhere may forecast without."""
    return all(is_there(name) for name in KINDS[kind].libraries)


def check_learns(kind: str) -> None:
    """Raise NotInstalledError for a kind that cannot learn here; one of the user's own is not looked at."""
    extra = KINDS[kind].extra if kind in KINDS else None
    if extra is not None:
        check_installed(extra, f"{kind} learns with")


LIBRARIES: Final = libraries_of(KINDS)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The kinds as they are fitted: in the order of the table, an ensemble after its members, then those of the
    user's own."""
    names = tuple(dict.fromkeys(names))
    return (*(kind for kind in TRAINABLE if kind in names), *(kind for kind in names if kind not in KINDS))


# What a kind may be called, one of the user's own among them (`[models] file`).
KIND_PATTERN: Final = r"^[a-z][a-z0-9_]{0,39}\Z"

if TYPE_CHECKING:  # a type checker reads no table
    TrainableKind: TypeAlias = str
    SingleKind: TypeAlias = str
    MemberKind: TypeAlias = str
    KindOrAuto: TypeAlias = str
    ContenderName: TypeAlias = str
else:
    TrainableKind = Literal[TRAINABLE]
    SingleKind = Literal[SINGLE]
    MemberKind = Literal[MEMBERS]
    KindOrAuto = Literal[("auto", *ASKABLE)]
    ContenderName = Literal[(*ASKABLE, MIX)]
