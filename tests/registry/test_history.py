"""What served on a day, after anything that may happen, against a model of the history that anybody can follow."""

from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.errors import RegistryError
from cryptocast.registry import PRODUCTION, Registry
from cryptocast.registry.version import Action
from cryptocast.workflows.lifecycle.rollback import rollback
from tests.registry.registry_fits import BITCOIN, NOW, bad_hold_out, register

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.booleans()),
        st.tuples(st.just("promote"), st.integers(1, 6)),
        st.tuples(st.just("force"), st.integers(1, 6)),
        st.tuples(st.just("rollback"), st.none()),
        st.tuples(st.just("rollback"), st.integers(1, 6)),
    ),
    max_size=14,
)


class Ledger:
    """The slow, obvious history: who was in production from which moment on, and the way back."""

    def __init__(self) -> None:
        self.moves: list[tuple[datetime, int]] = []
        self.way: list[int] = []

    @property
    def now(self) -> int | None:
        return self.moves[-1][1] if self.moves else None

    def move(self, at: datetime, number: int) -> None:
        if number != self.now:
            self.moves.append((at, number))
            self.way.append(number)

    def back(self, at: datetime, to: int | None) -> None:
        if to is None:
            to = self.way[-2]
        if to == self.now:
            return
        if to in self.way:
            while self.way[-1] != to:
                self.way.pop()
        else:
            self.way.append(to)
        self.moves.append((at, to))

    def at(self, moment: datetime) -> int | None:
        return next((number for at, number in reversed(self.moves) if at <= moment), None)


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_what_served_on_a_day_is_right_after_any_sequence_of_changes(
    steps: list[tuple[str, int | bool | None]],
) -> None:
    with TemporaryDirectory() as folder:
        registry, model, count = Registry.open(Path(folder)), Ledger(), 0
        for turn, (what, argument) in enumerate(steps):
            at = NOW + timedelta(days=turn)
            if what == "register":
                count += 1
                register(registry, str(count), scores=None if argument else bad_hold_out(), now=at)
                if argument and model.now is None:
                    model.move(at, count)
                continue
            try:
                if what == "rollback":
                    to = None if argument is None else int(argument)
                    rollback(registry, BITCOIN, to=to, who="eve", now=at)
                    model.back(at, to)
                else:
                    action: Action = "force" if what == "force" else "promote"
                    registry.promote(BITCOIN, int(argument or 0), now=at, who="eve", why="so", action=action)
                    model.move(at, int(argument or 0))
            except RegistryError:
                allowed = argument is None and len(model.way) < 2
                assert allowed or model.now is None or int(argument or 0) > count
        for turn in range(-1, len(steps) + 1):
            moment = NOW + timedelta(days=turn)
            assert registry.production_at(BITCOIN, moment) == model.at(moment)
        production = registry.alias(BITCOIN, PRODUCTION)
        assert (None if production is None else production.number) == model.now
        assert registry.verify() == ()
