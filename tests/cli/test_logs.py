"""Logs of a command."""

import io
import json
import logging

import pytest
from rich.console import Console

from cryptocast.cli.logs import CommandLog, LogFormat, LogLevel


def said(level: LogLevel, form: LogFormat, *, error: bool = False) -> str:
    file = io.StringIO()
    log = logging.getLogger("cryptocast.somewhere")
    handler = CommandLog(Console(file=file, width=40), level, form)
    handler.open()
    try:
        log.debug("too quiet")
        log.warning("breaker [open]: %s after %d failures\x1b[2J\nand so on", "upstream " * 5, 7)
        if error:
            try:
                raise ValueError("inner")
            except ValueError:
                log.exception("it failed")
    finally:
        handler.close()
    log.warning("nobody listens any more")
    return file.getvalue()


def test_text_is_one_line_with_time_level_and_room() -> None:
    (line,) = said("info", "text").splitlines()
    assert line[8:].startswith(" warning cryptocast.somewhere: breaker [open]: upstream")
    assert line.endswith(r"after 7 failures\x1b[2J and so on")


def test_json_is_one_object_a_line_with_the_whole_message() -> None:
    (line,) = said("info", "json").splitlines()
    record = json.loads(line)
    assert record["level"] == "warning"
    assert record["logger"] == "cryptocast.somewhere"
    assert record["message"].endswith("\nand so on")


def test_an_exception_comes_with_its_traceback() -> None:
    assert "ValueError: inner" in said("info", "text", error=True)
    assert "ValueError: inner" in json.loads(said("info", "json", error=True).splitlines()[-1])["exception"]


def test_the_level_decides_and_is_given_back() -> None:
    before = logging.getLogger("cryptocast").level
    assert said("error", "text") == ""
    assert "too quiet" in said("debug", "text")
    assert logging.getLogger("cryptocast").level == before


@pytest.mark.parametrize("room", ["cryptocast", "uvicorn"])
def test_the_rooms_and_the_server_are_listened_to(room: str) -> None:
    file = io.StringIO()
    handler = CommandLog(Console(file=file), "info", "text")
    handler.open()
    logging.getLogger(f"{room}.part").warning("here")
    handler.close()
    assert "here" in file.getvalue()
