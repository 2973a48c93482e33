"""The files of deploy/: whatever they ask Prometheus for is there, and the tools that read them find nothing wrong."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml

from cryptocast.config import SECRET_NAMES, USUAL_NAMES, CoinGeckoConfig, load_config
from cryptocast.market import Market
from cryptocast.registry import Registry, VersionKey
from cryptocast.rehearsal import FakeUpstream
from cryptocast.serving import create_app
from cryptocast.serving.telemetry import Telemetry
from cryptocast.workflows.context import Context
from tests.registry.registry_fits import register
from tests.serving.running import Start
from tests.serving.serving_app import MIDNIGHT, Clock, FakeForecast, config, talk
from tests.serving.test_gauges import matured

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "alerts.yml"
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
        matured(registry, VersionKey("bitcoin", Market("sample", "usd", "daily"), "baseline"), 0, 5, spread=0.2)
        app = create_app(Context(settings, api_key=fake.key, wall_clock=Clock()), forecast=FakeForecast(), refresh=True)
        telemetry: Telemetry = app.state.server.telemetry
        for event in ("fallback", "upstream_error", "slow_client_closed"):
            telemetry.count(event, "baseline")

        async def conversation(client: httpx.AsyncClient) -> str:
            for path in (BITCOIN, BITCOIN, "/prices?ids=bitcoin", "/nowhere", "/health/detailed"):
                await client.get(path)
            app.state.server.live.refresh()
            while not app.state.server.refresher.rounds:
                await asyncio.sleep(0.02)
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


# Coins by the model that answers for them, over the minutes 0, 1, ...; whether the rule fires at minute 30.
ONLY_BASELINE = {
    "every coin": ({"baseline": "3x40"}, True),
    "not for long": ({"baseline": "0x20 3x20", "lightgbm": "3x20 _x20"}, False),
    "some coins": ({"baseline": "2x40", "lightgbm": "1x40"}, False),
    "none": ({"baseline": "0x40", "lightgbm": "3x40"}, False),
    "no forecast yet": ({"baseline": "0x40"}, False),
}


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: install Debian's package prometheus")
@pytest.mark.parametrize("case", ONLY_BASELINE)
def test_it_is_told_when_the_baseline_answers_for_everything(case: str, tmp_path: Path) -> None:
    coins, fires = ONLY_BASELINE[case]
    labels = {"severity": "ticket", "instance": "a", "model": "baseline"}
    told = {"summary": re.search(r"CryptocastBaselineOnly.*?summary: \"(.*?)\"", RULES.read_text(), re.DOTALL)[1]}  # type: ignore[index]
    told["summary"] = told["summary"].replace("{{ $labels.instance }}", "a")
    test = {
        "interval": "1m",
        "input_series": [
            {"series": f'cryptocast_configured_coins{{instance="a", model="{model}"}}', "values": values}
            for model, values in coins.items()
        ],
        "alert_rule_test": [
            {
                "eval_time": "30m",
                "alertname": "CryptocastBaselineOnly",
                "exp_alerts": [{"exp_labels": labels, "exp_annotations": told}] if fires else [],
            }
        ],
    }
    file = tmp_path / "test.yml"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": [test]}), encoding="utf-8")
    checked = subprocess.run([PROMTOOL or "", "test", "rules", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def unit() -> list[tuple[str, str]]:
    """The settings of the systemd unit, in their order."""
    lines = (DEPLOY / "cryptocast.service").read_text(encoding="utf-8").splitlines()
    return [
        (name, value) for name, equals, value in (line.partition("=") for line in lines) if equals and name[0] != "#"
    ]


def test_the_unit_reads_the_settings_that_it_names(tmp_path: Path) -> None:
    facts = dict(unit())
    environ = dict(value.split("=", 1) for name, value in unit() if name == "Environment")
    folder = tmp_path / facts["WorkingDirectory"].lstrip("/")
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[serve]\nport = 8123\n[data]\nvs = 'eur'\n", encoding="utf-8")
    read = load_config(None, environ=environ, folder=folder)

    assert (read.serve.port, read.data.vs) == (8123, "eur")
    command = facts["ExecStart"].split()
    assert command == [f"{facts['WorkingDirectory']}/bin/cryptocast", "serve"]  # no option that the settings lose to
    assert read.store.path.is_relative_to(Path("/var/lib") / facts["StateDirectory"])  # else it cannot be written
    assert facts["StateDirectoryMode"] == "0700"


def test_the_unit_names_the_variables_that_are_read() -> None:
    text = (DEPLOY / "cryptocast.service").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:CRYPTOCAST_[A-Z_]*(?:TOKEN|KEY|URL)|SENTRY_\w+)\b", text)) - {
        "CRYPTOCAST_SECTION__KEY"
    }
    assert named == {*SECRET_NAMES, "SENTRY_DSN"}
    assert "SENTRY_DSN" in USUAL_NAMES
    assert dict(unit())["EnvironmentFile"] == "-/etc/cryptocast/environment"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here: install systemd")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "cryptocast.service").read_text(encoding="utf-8")
    copy = tmp_path / "cryptocast.service"
    copy.write_text(text.replace("/opt/cryptocast/bin/cryptocast", "/bin/true"), encoding="utf-8")
    checked = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


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


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return read


def test_compose_is_what_its_schema_says() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*command, DEPLOY / "compose.yaml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_file_that_compose_mounts_is_there_and_every_secret_is_one_that_its_head_makes() -> None:
    services, head = compose()["services"], (DEPLOY / "compose.yaml").read_text(encoding="utf-8").split("\nname:")[0]
    mounts = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    files = [mount for mount in mounts if mount.startswith(".")]

    assert len(files) == 5
    assert [file for file in files if not (DEPLOY / file).is_file()] == []
    assert set(mounts) - set(files) == set(compose()["volumes"])
    made = {secret["file"] for secret in compose()["secrets"].values()} | set(services["cryptocast"]["env_file"])
    assert {file for file in made if f"> {file}" in head} == made
    build = services["cryptocast"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    assert (DEPLOY.parent / ".gitignore").read_text(encoding="utf-8").count("/deploy/secrets/") == 1


def test_nothing_of_compose_runs_as_root_may_write_or_listens_beyond_the_machine() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert service["healthcheck"]["test"][0] == "CMD", name


def test_grafana_has_the_prometheus_that_scrapes_the_server_and_our_dashboard() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana-datasources.yml").read_text(encoding="utf-8"))["datasources"]
    (folder,) = yaml.safe_load((DEPLOY / "grafana-dashboards.yml").read_text(encoding="utf-8"))["providers"]
    services = compose()["services"]

    assert source["url"] == "http://prometheus:9090"
    assert services["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    assert f"./grafana.json:{folder['options']['path']}/grafana.json:ro" in services["grafana"]["volumes"]


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: install Debian's package prometheus")
@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-compose.yml"])
def test_promtool_finds_nothing_wrong_with_the_scrape_and_its_job_is_that_of_the_rules(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("t", encoding="utf-8")
    shutil.copy(RULES, tmp_path)
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("/run/secrets/serve-token", "token")
    (tmp_path / name).write_text(text, encoding="utf-8")
    checked = subprocess.run([PROMTOOL or "", "check", "config", tmp_path / name], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert [job["job_name"] for job in yaml.safe_load(text)["scrape_configs"]] == ["cryptocast"]
    assert 'up{job="cryptocast"}' in RULES.read_text(encoding="utf-8")
