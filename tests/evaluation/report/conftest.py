"""One browser for all pages."""

from collections.abc import Iterator

import pytest

from tests.evaluation.report.browser import Tab, tab


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
