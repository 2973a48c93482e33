"""The files of deploy/: whatever they ask Prometheus for is there, and the tools that read them find nothing wrong."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from cryptocast.serving.telemetry import Telemetry
from tests.serving.running import Start
from tests.serving.serving_app import FakeForecast, app_on, talk

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
BITCOIN = "/forecasts?ids=bitcoin"
OURS = re.compile(r"\b(?:http_server|cryptocast|process)_[a-z_]+")


def scraped() -> str:
    async def conversation(client: httpx.AsyncClient) -> str:
        for path in (BITCOIN, BITCOIN, "/nowhere", "/metrics"):
            await client.get(path)
        await client.get("/health/detailed")
        return (await client.get("/metrics")).text

    app = app_on(FakeForecast())
    telemetry: Telemetry = app.state.service.telemetry
    for event in ("fallback", "upstream_error", "slow_client_closed"):
        telemetry.count(event, "baseline")
    app.state.service.price_breakers("default")
    return talk(app, conversation)


def test_dashboard_and_rules_ask_for_series_that_there_are() -> None:
    there = set(OURS.findall(scraped()))
    asked = set(OURS.findall((DEPLOY / "alerts.yml").read_text()))
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            asked |= set(OURS.findall(target["expr"]))

    assert len(asked) > 8
    assert asked <= there | {"cryptocast"}


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here")
def test_promtool_finds_nothing_wrong_with_the_metrics_and_the_rules() -> None:
    checked = subprocess.run([PROMTOOL or "", "check", "metrics"], input=scraped(), capture_output=True, text=True)
    rules = subprocess.run([PROMTOOL or "", "check", "rules", DEPLOY / "alerts.yml"], capture_output=True, text=True)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert rules.returncode == 0, rules.stdout


@pytest.mark.skipif(PROMETHEUS is None, reason="no Prometheus here")
def test_a_real_prometheus_scrapes_the_server(start: Start, tmp_path: Path) -> None:
    server = start("fake", "0")
    server.get(BITCOIN)
    target = server.address.removeprefix("http://")
    settings = tmp_path / "prometheus.yml"
    settings.write_text(
        "scrape_configs: [{job_name: cryptocast, scrape_interval: 1s, "
        f"static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    listen = "127.0.0.1:19097"
    command = [PROMETHEUS or "", f"--config.file={settings}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    process = subprocess.Popen(
        [*command, f"--web.listen-address={listen}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        value = ""
        ends = time.monotonic() + 30
        while not value and time.monotonic() < ends:
            time.sleep(0.3)
            try:
                answer = httpx.get(f"http://{listen}/api/v1/query", params={"query": "cryptocast_ready"}, timeout=5)
            except httpx.TransportError:
                continue
            found = answer.json().get("data", {}).get("result", [])
            value = found[0]["value"][1] if found else ""
        assert value == "1"
    finally:
        process.kill()
        process.wait()
