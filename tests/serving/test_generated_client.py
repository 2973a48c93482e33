"""A client that openapi-python-client makes of the description, against the server as users run it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.running import Start

GENERATOR = shutil.which("openapi-python-client")
LACKING = "no openapi-python-client here; it pins an older Typer, so in an environment of its own: pipx install it"
USE = """
import sys
from datetime import UTC, datetime
from client import Client
from client.api.forecasts import forecasts, track
from client.api.prices import candles, prices
from client.models import ForecastsLevelsItem, Problem

server = Client(base_url=sys.argv[1])
levels = [ForecastsLevelsItem(80), ForecastsLevelsItem(95)]
document = forecasts.sync(client=server, ids=["bitcoin", "ethereum"], horizons=[1, 7], levels=levels)
assert [one.coin for one in document.forecasts] == ["bitcoin", "ethereum"]
assert document.forecasts[0].as_of == datetime(2026, 3, 1, tzinfo=UTC)
assert [one.level for one in document.forecasts[0].horizons[1].intervals] == [80, 95]
assert track.sync(client=server, ids=["bitcoin"]).tracks[0].coin == "bitcoin"
(series,) = candles.sync(client=server, ids=["bitcoin"], last=2).series
assert series.candles[0].close_time < series.candles[1].close_time
assert prices.sync(client=server, ids=["bitcoin"]).prices[0].price == 64321.0
problem = forecasts.sync(client=server, ids=["../etc"])
assert isinstance(problem, Problem) and problem.parameter == "ids"
print("all of it")
"""


@pytest.mark.skipif(GENERATOR is None, reason=LACKING)
def test_a_generated_client_asks_and_reads_the_answers(start: Start, tmp_path: Path) -> None:
    server = start("fake", "0")
    (tmp_path / "openapi.json").write_bytes(server.get("/openapi.json").content)
    assert GENERATOR is not None
    command = [GENERATOR, "generate", "--path", "openapi.json", "--output-path", "client", "--meta", "none"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "Warning" not in made.stdout + made.stderr
    (tmp_path / "use.py").write_text(USE)
    said = subprocess.run([sys.executable, "use.py", server.address], cwd=tmp_path, capture_output=True, text=True)
    assert said.stdout == "all of it\n", said.stderr
