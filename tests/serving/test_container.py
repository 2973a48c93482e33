"""The image of `deploy/Containerfile`: its steps are carried out on an empty Debian, and what they make is used."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import yaml

from tests.serving.container_steps import TOOLS, Container, built, read_stages

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "Containerfile"
TOKEN = "t" * 24
LACKING = [name for name in TOOLS if shutil.which(name) is None]
ASK = (
    "import sys, urllib.request as r; "
    "print(r.urlopen(r.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]})).read().decode())"
)


def steps(instruction: str) -> list[str]:
    """What stands behind this instruction in the last stage."""
    return [rest for name, rest in read_stages(FILE.read_text(encoding="utf-8"))[-1].steps if name == instruction]


def test_the_image_is_not_run_by_root_and_holds_nothing_of_what_built_it() -> None:
    assert steps("USER") == ["10001:10001"]
    assert steps("COPY") == ["--from=build /opt/cryptocast /opt/cryptocast"]


def test_what_is_copied_is_sent_and_no_more() -> None:
    first = read_stages(FILE.read_text(encoding="utf-8"))[0]
    copied = {name for step, rest in first.steps if step == "COPY" for name in rest.split()[:-1]}
    sent = (ROOT / "deploy" / "Containerfile.dockerignore").read_text(encoding="utf-8").splitlines()

    assert {line[1:] for line in sent if line.startswith("!")} == copied
    assert "*" in sent
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_compose_asks_after_health_as_the_image_does() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    (health,) = steps("HEALTHCHECK")
    assert services["cryptocast"]["healthcheck"]["test"][1:] == json.loads(health.partition("CMD")[2])


def healthy(container: Container) -> None:
    ends = time.monotonic() + 300
    while (checked := container.execute(container.image.health)).returncode:
        assert time.monotonic() < ends, checked.stderr
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root may make a root file system")
@pytest.mark.skipif(LACKING != [], reason=f"not here: {', '.join(LACKING)} (Debian's mmdebstrap and util-linux)")
@pytest.mark.parametrize(
    ("extras", "model", "megabytes"), [("compress", "lightgbm", 350), ("lstm,compress", "lstm", 700)]
)
def test_the_steps_make_an_image_that_trains_serves_and_ends(
    extras: str, model: str, megabytes: int, tmp_path: Path
) -> None:
    data, work = tmp_path / "data", tmp_path / "work"
    data.mkdir()
    work.mkdir()
    with built(FILE, ROOT, work, EXTRAS=extras, INDEX="") as image:
        assert image.packed_bytes() < megabytes * 1e6

        trained, text = image.start(
            data, ["train", "bitcoin", "--source", "sample", "--model", model, "--json"]
        ).wait()  # fmt: skip
        assert trained == 0, text

        server = image.start(data, CRYPTOCAST_SERVE_TOKEN=TOKEN, CRYPTOCAST_DATA__SOURCE="sample")
        try:
            healthy(server)
            python = str(Path(image.entrypoint[0]).with_name("python"))
            asked = server.execute([python, "-c", ASK, "http://127.0.0.1:8000/forecasts?ids=bitcoin", TOKEN])
            (forecast,) = json.loads(asked.stdout)["forecasts"]
            written = server.execute(["touch", "/opt/cryptocast/file"])
            status = server.execute(["cat", "/proc/1/status"]).stdout
        finally:
            code, log = server.end()

        assert forecast["coin"] == "bitcoin"
        assert "Read-only file system" in written.stderr
        assert status.split("Uid:")[1].split()[:4] == ["10001"] * 4
        assert status.split("CapBnd:")[1].split()[0] == "0" * 16
        assert code == 0, log
