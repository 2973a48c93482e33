"""The command line in this process, and one store with trained models for all tests of this room."""

import os
import shutil
from pathlib import Path

import pytest

from cryptocast.cli import main
from tests.cli.commands import SETTINGS, Ended, Run, finished


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command line in this process, in an empty folder unless `folder` names another, `columns` wide."""
    for name in [name for name in os.environ if name.startswith("CRYPTOCAST_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str, folder: Path | None = None, columns: int = 80) -> Ended:
        monkeypatch.chdir(folder or tmp_path)
        monkeypatch.setenv("COLUMNS", str(columns))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        said = capfdbinary.readouterr()
        code = end.value.code
        return Ended(code if isinstance(code, int) else 0, said.out.decode(), said.err.decode())

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings, candles, a lightgbm in production and a challenger of another recipe. To be read only."""
    folder = tmp_path_factory.mktemp("trained")
    for rounds in (12, 15):
        (folder / "config.toml").write_text(SETTINGS.format(rounds=rounds), encoding="utf-8")
        ended = finished("train", "bitcoin", "--json", folder=folder)
        assert ended.code == 0, ended.err
        (folder / f"train-{rounds}.json").write_text(ended.out, encoding="utf-8")
    assert finished("fetch", "bitcoin", "--json", folder=folder).code == 0
    return folder


@pytest.fixture
def own(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained folder, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "own"))
