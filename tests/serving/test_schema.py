"""Requests made up from the description by schemathesis, with all of its checks, against the server as users run it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cryptocast.rehearsal import FakeUpstream
from tests.serving.running import Running, Start
from tests.serving.serving_app import MIDNIGHT

ADMIN = "the-admins-own"


# To refuse a query because it is too long, or a coin because it is a stranger's, is a refusal too.
SETTINGS = """[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "413", "414", "429", "431"]
"""


def tried(server: Running, folder: Path, *, most: int, seed: int) -> int:
    """How many cases were tried; each of them kept to the description, and none was a server error."""
    (folder / "schemathesis.toml").write_text(SETTINGS)  # read from the folder that it runs in
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    options = {
        "--header": f"Authorization: Bearer {ADMIN}",
        "--checks": "all",
        "--mode": "all",  # requests that keep to the description, and requests that do not
        "--max-examples": str(most),
        "--seed": str(seed),
        "--generation-database": "none",
        "--request-timeout": "60",
        "--suppress-health-check": "all",  # of the data that it makes up: they depend on the load of the machine
    }
    given = [part for option in options.items() for part in option]
    said = subprocess.run(
        [*command, f"{server.address}/openapi.json", *given, "--continue-on-failure", "--no-color"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout[-6000:] + said.stderr[-2000:]
    counted = re.search(r"Test cases:\s+([\d,]+) generated", said.stdout)
    assert counted is not None, said.stdout[-2000:]
    assert "Traceback" not in server.log.read_text()
    return int(counted[1].replace(",", ""))


def serve_and_try(start: Start, folder: Path, *, most: int, seed: int) -> int:
    with FakeUpstream(coins=10, now=MIDNIGHT) as fake:
        settings = '{"client_rate_per_s": 0.0, "request_timeout_s": 50.0}'
        tokens = {"TOKEN": "a-readers", "ADMIN_TOKEN": ADMIN}
        server = start("upstream", str(folder / "store"), settings, UPSTREAM=fake.url, **tokens)
        return tried(server, folder, most=most, seed=seed)


def test_requests_made_up_from_the_description_are_answered_by_it(start: Start, tmp_path: Path) -> None:
    assert serve_and_try(start, tmp_path, most=10, seed=1) > 200


@pytest.mark.slow
def test_two_thousand_of_them_too(start: Start, tmp_path: Path) -> None:
    assert serve_and_try(start, tmp_path, most=350, seed=2) >= 2_000
