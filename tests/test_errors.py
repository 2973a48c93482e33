import inspect

import pytest

from cryptocast import errors
from cryptocast.errors import (
    ConfigError,
    CryptocastError,
    DataError,
    GateError,
    ModelError,
    RegistryError,
    UpstreamError,
    UsageError,
)
from cryptocast.net import CircuitOpen, Unreachable


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (CryptocastError, 1),
        (UsageError, 2),
        (ConfigError, 2),
        (DataError, 3),
        (UpstreamError, 4),
        (ModelError, 5),
        (RegistryError, 5),
        (GateError, 6),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(kind: type[CryptocastError], exit_code: int) -> None:
    assert kind("what happened").exit_code == exit_code
    assert str(kind("what happened")) == "what happened"


def test_every_error_is_caught_by_the_one_base_class() -> None:
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    kinds = [kind for kind in classes if issubclass(kind, CryptocastError)]
    assert kinds == classes
    assert len(kinds) >= 8
    assert all(1 <= kind.exit_code <= 6 for kind in kinds)
    assert all(inspect.getdoc(kind) for kind in kinds)


def test_a_bad_setting_is_a_usage_error_so_that_both_exit_alike() -> None:
    assert issubclass(ConfigError, UsageError)


def test_an_error_can_say_more_and_is_still_what_it_is() -> None:
    for error in (DataError("It is gone."), CircuitOpen("Not called.", retry_after_s=3.5), Unreachable("Nobody.")):
        again = error.saying(f"{error} Try later.")
        assert type(again) is type(error)
        assert str(again) == f"{error} Try later."
        assert vars(again) == vars(error)


def test_what_happened_stands_alone_where_the_sentence_goes_on_and_survives_other_words() -> None:
    error = UpstreamError("CoinGecko failed (status 500).", "Try again later.")
    assert str(error) == "CoinGecko failed (status 500). Try again later."
    assert error.what == "CoinGecko failed (status 500)"
    assert error.saying("in other words").what == error.what
    assert DataError("It broke.").what == "It broke"
