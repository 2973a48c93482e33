"""The models of a backtest: those that learn, and mixtures of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptocast.config import Config
from cryptocast.errors import NotInstalledError
from cryptocast.features.matrix import Matrix
from cryptocast.kinds import ALL_KINDS, BASELINE, KINDS, MIX, TRAINABLE, check_learns, is_installed
from cryptocast.models.auxiliary_rows import with_help
from cryptocast.models.base import Learner
from cryptocast.models.combination import Mix
from cryptocast.workflows.own_models import learner, own_models


@dataclass(frozen=True, slots=True)
class Contenders:
    """Learners and mixtures, by name."""

    learners: Mapping[str, Learner]
    mixes: Mapping[str, Mix] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.learners, *self.mixes)

    def learning_from(self, extra: Matrix | None) -> "Contenders":
        """The same, whose learners also learn from these rows beside their own."""
        return Contenders({kind: with_help(one, extra) for kind, one in self.learners.items()}, self.mixes)


def contenders(config: Config, names: tuple[str, ...]) -> Contenders:
    """The models of these names, `baseline` always among them; `mix` is the mean of the others, `all` is every one that
    can learn here.

    Raises UsageError for a name that is none, NotInstalledError for one that cannot learn here.
    """
    if "all" in names:
        names = (
            *filter(is_installed, ALL_KINDS),
            *own_models(config).names,
            MIX,
            *(name for name in names if name != "all"),
        )
    kinds = tuple(dict.fromkeys((BASELINE, *(name for name in names if name != MIX))))
    ensembles = {kind for kind in kinds if kind in KINDS and KINDS[kind].ensemble}
    if MIX in names and set(kinds) <= {BASELINE, *ensembles}:
        kinds = (BASELINE, TRAINABLE[0], *kinds[1:])
    for kind in kinds:
        check_learns(kind)
    # An ensemble is a mixture itself: what it is made of stands beside it.
    mixes = {MIX: Mix(tuple(kind for kind in kinds if kind not in ensembles))} if MIX in names else {}
    return Contenders({kind: learner(kind, config) for kind in kinds}, mixes)


def left_out(config: Config, names: tuple[str, ...]) -> tuple[str, ...]:
    """What to say of the kinds that these names stand for, or an ensemble among them is made of, and cannot learn
    here."""
    kinds = ALL_KINDS if "all" in names else names
    ensembles = any(kind in KINDS and KINDS[kind].ensemble for kind in kinds)
    wanted = (*kinds, *config.ml_ensemble.members) if ensembles else kinds
    refusals = {kind: _refusal(kind) for kind in wanted}
    return tuple(f"{kind} was left out: {why}" for kind, why in refusals.items() if why is not None)


def _refusal(kind: str) -> str | None:
    try:
        check_learns(kind)
    except NotInstalledError as error:
        return str(error)
    return None
