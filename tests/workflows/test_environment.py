"""Which code ran is a hash of the code."""

import re
from importlib import metadata

from cryptocast import __version__
from cryptocast.workflows.environment import code_version, library_versions, platform_name


def test_the_code_is_named_by_its_release_and_twelve_digits() -> None:
    assert re.fullmatch(re.escape(__version__) + r"\+[0-9a-f]{12}", code_version())
    assert code_version() == code_version()


def test_libraries_that_are_not_installed_are_left_out() -> None:
    assert library_versions(("numpy", "no-such-library")) == {"numpy": metadata.version("numpy")}
    assert len(platform_name().split()) == 2
