"""The files of deploy/: whatever they ask Prometheus for is there, and the tools that read them find nothing wrong."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import msgspec
import pytest

from cryptocast.config import CoinGeckoConfig
from cryptocast.registry import Registry, VersionKey
from cryptocast.rehearsal import FakeUpstream
from cryptocast.serving import create_app
from cryptocast.serving.telemetry import Telemetry
from cryptocast.workflows.context import Context
from tests.registry.registry_fits import register
from tests.serving.running import Start
from tests.serving.serving_app import MIDNIGHT, Clock, FakeForecast, config, talk
from tests.serving.test_figures import matured

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
BITCOIN = "/forecasts?ids=bitcoin"
OURS = re.compile(r"\b(?:http_server|cryptocast|process)_[a-z_]+")


def scraped(folder: Path) -> str:
    """All that there can be: live prices through a stand-in with a budget, and a version with matured forecasts."""
    with FakeUpstream(coins=5, now=MIDNIGHT, plan="demo") as fake:
        calls = CoinGeckoConfig(base_url=fake.url, plan="demo", calls_per_minute=100_000)
        settings = msgspec.structs.replace(config(store=folder), coingecko=calls)
        registry = Registry.open(folder)
        (version,) = register(registry)
        matured(registry, version.key, version.number, 5, spread=0.1)
        matured(registry, VersionKey("bitcoin", "sample", "usd", "daily", "baseline"), 0, 5, spread=0.2)
        app = create_app(Context(settings, api_key=fake.key, wall_clock=Clock()), forecast=FakeForecast())
        telemetry: Telemetry = app.state.service.telemetry
        for event in ("fallback", "upstream_error", "slow_client_closed"):
            telemetry.count(event, "baseline")

        async def conversation(client: httpx.AsyncClient) -> str:
            for path in (BITCOIN, BITCOIN, "/prices?ids=bitcoin", "/nowhere", "/health/detailed"):
                await client.get(path)
            app.state.service.live_figures.refresh()
            return (await client.get("/metrics")).text

        return talk(app, conversation)


def test_dashboard_and_rules_ask_for_series_that_there_are(tmp_path: Path) -> None:
    there = set(OURS.findall(scraped(tmp_path)))
    asked = set(OURS.findall((DEPLOY / "alerts.yml").read_text()))
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            asked |= set(OURS.findall(target["expr"]))

    assert len(asked) > 20
    assert asked - there == set()


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: install Debian's package prometheus")
def test_promtool_finds_nothing_wrong_with_the_metrics_and_the_rules(tmp_path: Path) -> None:
    text = scraped(tmp_path)
    checked = subprocess.run([PROMTOOL or "", "check", "metrics"], input=text, capture_output=True, text=True)
    rules = subprocess.run([PROMTOOL or "", "check", "rules", DEPLOY / "alerts.yml"], capture_output=True, text=True)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert rules.returncode == 0, rules.stdout


@pytest.mark.skipif(PROMETHEUS is None, reason="no Prometheus here: install Debian's package prometheus")
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
        ends = time.monotonic() + 120
        while not value and time.monotonic() < ends:
            time.sleep(0.3)
            try:
                answer = httpx.get(f"http://{listen}/api/v1/query", params={"query": "cryptocast_ready"}, timeout=60)
            except httpx.TransportError:
                continue
            found = answer.json().get("data", {}).get("result", [])
            value = found[0]["value"][1] if found else ""
        assert value == "1"
    finally:
        process.kill()
        process.wait()
