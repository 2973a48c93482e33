from pathlib import Path

import msgspec
import pytest

from cryptocast.config import Config, Section, SeriesConfig, load_config, section_type
from cryptocast.config_text import config_text

SECTIONS = [field.name for field in msgspec.structs.fields(Config)]
FILE = Path(__file__).resolve().parents[1] / "config.toml"


def test_the_file_in_the_repository_is_the_text_that_the_settings_make() -> None:
    assert FILE.read_text(encoding="utf-8") == config_text(), "python -m cryptocast.config_text config.toml"


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_has_a_comment_and_no_comment_lacks_its_setting(name: str) -> None:
    section: type[Section] = section_type(name)
    assert list(section.comments) == [field.name for field in msgspec.structs.fields(section)]
    assert all(comment.strip() for comment in section.comments.values())


def test_the_text_of_other_settings_is_read_back_as_them(tmp_path: Path) -> None:
    series = {"dvol": SeriesConfig(source="deribit", index="ETH"), "mood": SeriesConfig(file=str(tmp_path / "a.csv"))}
    odd = Config(
        series=series,
        data=msgspec.structs.replace(Config().data, coins=("bitcoin",), source="sample"),
        features=msgspec.structs.replace(Config().features, max_correlation=1e-7),
        serve=msgspec.structs.replace(Config().serve, cors_origins=('"quoted"', "https://ü.example")),
        store=msgspec.structs.replace(Config().store, path=tmp_path / "a 'b' \\c"),
    )
    path = tmp_path / "config.toml"
    path.write_text(config_text(msgspec.structs.replace(odd, serve=Config().serve)), encoding="utf-8")
    read = load_config(path, environ={})
    assert (read.data, read.features, read.store, read.series) == (odd.data, odd.features, odd.store, series)
    assert 'cors_origins = ["\\"quoted\\"", "https://ü.example"]' in config_text(odd)
