"""Pictures as files."""

from pathlib import Path

import pytest

from cryptocast.errors import DataError, UsageError
from cryptocast.workflows.forecast_pictures import forecast_picture
from cryptocast.workflows.picture_files import check_picture_path, write_picture
from tests.cli.test_fan import forecast_of

BEGINS = {".png": b"\x89PNG", ".svg": b"<svg ", ".html": b"<!doctype html>"}


@pytest.mark.parametrize("suffix", BEGINS)
def test_the_suffix_says_the_format(suffix: str, tmp_path: Path) -> None:
    picture = forecast_picture([(forecast_of(8710.15), ())])
    write_picture(picture, tmp_path / f"fan{suffix.upper()}")
    assert (tmp_path / f"fan{suffix.upper()}").read_bytes().startswith(BEGINS[suffix])
    with pytest.raises(DataError):
        write_picture(picture, tmp_path / f"fan{suffix.upper()}" / f"fan{suffix}")


def test_another_format_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.html"):
        check_picture_path(tmp_path / "fan.jpg")
