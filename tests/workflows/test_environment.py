"""Which code ran is a hash of the code."""

import re
from dataclasses import replace
from importlib import metadata

from cryptocast import __version__
from cryptocast.workflows.environment import code_version, environment, library_versions, platform_name


def test_the_code_is_named_by_its_release_and_twelve_digits() -> None:
    assert re.fullmatch(re.escape(__version__) + r"\+[0-9a-f]{12}", code_version())
    assert code_version() == code_version()


def test_libraries_that_are_not_installed_are_left_out() -> None:
    assert library_versions(("numpy", "no-such-library")) == {"numpy": metadata.version("numpy")}
    assert len(platform_name().split()) == 2


def test_what_another_process_has_otherwise_is_named_and_its_processor_is_not() -> None:
    own = environment()
    assert own.differences(replace(own, processor="Z80")) == ()
    other = replace(own, python="3.9", libraries={**own.libraries, "polars": "0.1", "extra": "1"})
    own_polars = own.libraries["polars"]
    assert own.differences(other) == (
        f"Python 3.9 instead of {own.python}",
        f"polars 0.1 instead of {own_polars}",
        "extra 1 instead of none",
    )
    assert other.differences(own)[-1] == "extra missing instead of 1"
    assert own.processor
