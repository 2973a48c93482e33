"""Files of prices written for a test, and what becomes of them."""

from datetime import UTC, datetime
from pathlib import Path

from cryptocast.data.sources.file.reader import FileOptions, Imported, read_file

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def read(path: Path, text: str | bytes, **options: object) -> Imported:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    granularity = options.pop("granularity", None)
    return read_file(path, "bitcoin", now=NOW, granularity=granularity, options=FileOptions(**options))  # type: ignore[arg-type]


def days(found: Imported) -> list[str]:
    return found.frame["close_time"].dt.strftime("%Y-%m-%dT%H:%M").to_list()


def simple(*rows: str, header: str = "date,open,high,low,close,volume") -> str:
    return "\n".join([header, *rows]) + "\n"


def row(day: int, close: object = 100, volume: object = 5) -> str:
    return f"2020-01-{day:02},100,200,50,{close},{volume}"
