"""Whether everything is in place: settings, store, candles, registry, key, network, libraries, disk; and what to do.

Nothing here raises for what it finds: a finding that fails carries the exit code of its kind.
"""

import platform
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from cryptocast.config import Config, load_config
from cryptocast.data.sources.base import Source
from cryptocast.data.sources.table import AUTO, SOURCES, candidates
from cryptocast.errors import ConfigError, CryptocastError, DataError, RegistryError, UpstreamError, UsageError
from cryptocast.extras import EXTRAS, is_there
from cryptocast.files import nearest_folder, write_refusal
from cryptocast.kinds import LIBRARIES
from cryptocast.net import Unreachable
from cryptocast.registry import PRODUCTION, Registry
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.feature_sets import outdated_versions
from cryptocast.workflows.market_data.connect import access_of
from cryptocast.workflows.market_data.inventory import check_store, list_store
from cryptocast.workflows.market_data.longer_history import LongerHistory, longer_histories
from cryptocast.workflows.notices.receiver import VARIABLE, receiver_of
from cryptocast.workflows.notices.sending import send_test
from cryptocast.workflows.pretrained import earlier_models

Status: TypeAlias = Literal["ok", "warn", "fail"]
Probe: TypeAlias = Callable[[Source, Config, str | None], str]

API_KEY: Final = "CRYPTOCAST_COINGECKO_API_KEY"
TOKEN: Final = "CRYPTOCAST_SERVE_TOKEN"  # noqa: S105 the name of the variable
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
LITTLE_BYTES: Final = 500_000_000
TOO_LITTLE_BYTES: Final = 20_000_000
SHOWN_FINDINGS: Final = 3
PATIENCE_S: Final = 20.0
NO_NETWORK: Final = (
    "Nothing, if that is meant: coins use their stored candles, new ones the sample, and say so. Else check the"
    " network, a proxy (HTTPS_PROXY) and the addresses in [coingecko] and [exchanges]."
)


class DoctorCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One finding: what was looked at, how it is, and what to do about it (null where there is nothing to do)."""

    name: str
    status: Status
    found: str
    next: str | None = None
    exit_code: int = 0


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """All findings, and the exit code of the first that fails."""

    schema: Literal["cryptocast.doctor/1"] = "cryptocast.doctor/1"
    status: Status
    exit_code: int
    checks: tuple[DoctorCheck, ...]


def examine(
    config_path: Path | None,
    *,
    environ: Mapping[str, str],
    folder: Path | None = None,
    probe: Probe | None = None,
    try_notify: bool = False,
) -> DoctorReport:
    """Look at everything. folder: where a config.toml may lie, the working directory unless given.

    probe: asks a source whether it is there and takes the key, see `ask_source`; None does not ask. try_notify: send a
    test to the address that notices go to.
    """
    try:
        config = load_config(config_path, environ=environ, folder=folder)
    except ConfigError as error:
        broken = _fail("settings", str(error), "Mend it, then run cryptocast doctor again.", error)
        return _report([broken, *_libraries()])
    checks = [
        _settings(config_path, folder or Path.cwd(), environ),
        *_store(config),
        *_registry(config),
        *_sources(config, environ),
        _token(config, environ),
        *_notices(Context(config), environ.get(VARIABLE, "").strip(), is_tried=try_notify),
        *(_network(config, probe, environ) if probe is not None else ()),
        *_libraries(),
        _extras(),
        _disk(config),
    ]
    return _report(checks)


def ask_source(source: Source, config: Config, api_key: str | None = None) -> str:
    """Ask a source whether it is there and takes the key; what came of it, in words.

    Raises Unreachable if there was no answer, ConfigError if the key is refused, UpstreamError for other refusals.
    """
    return source.probe(config, api_key)


def _report(checks: list[DoctorCheck]) -> DoctorReport:
    failed = [check for check in checks if check.status == "fail"]
    worst: Status = "fail" if failed else "warn" if any(check.status == "warn" for check in checks) else "ok"
    return DoctorReport(status=worst, exit_code=failed[0].exit_code if failed else 0, checks=tuple(checks))


def _ok(name: str, words: str, then: str | None = None) -> DoctorCheck:
    return DoctorCheck(name=name, status="ok", found=words, next=then)


def _warn(name: str, words: str, then: str | None = None) -> DoctorCheck:
    return DoctorCheck(name=name, status="warn", found=words, next=then)


def _fail(name: str, words: str, then: str | None, error: CryptocastError | type[CryptocastError]) -> DoctorCheck:
    return DoctorCheck(name=name, status="fail", found=words, next=then, exit_code=error.exit_code)


def _settings(config_path: Path | None, folder: Path, environ: Mapping[str, str]) -> DoctorCheck:
    path = config_path or folder / "config.toml"
    words = f"read from {path}" if path.is_file() else "built-in defaults: there is no config.toml here"
    overrides = sorted(name for name in environ if re.fullmatch(r"CRYPTOCAST_[A-Z0-9]+__[A-Z0-9_]+", name))
    return _ok("settings", words + (f"; overridden by {', '.join(overrides)}" if overrides else ""))


def _store(config: Config) -> Iterator[DoctorCheck]:
    """The folder, and the candles in it."""
    path = config.store.path
    remedy = "Give the folder the rights to write, or name another: [store] path."
    there = path.exists()
    refusal = write_refusal(path)
    if refusal is not None:
        problem = f"{path} cannot be written: {refusal}" if there else f"{path} cannot be made: {refusal}"
        yield _fail("store", problem, remedy, DataError)
        return
    yield _ok("store", f"{path} can be read and written" if there else f"{path} is not there yet and will be made")
    yield _candles(config)


def _candles(config: Config) -> DoctorCheck:
    try:
        checked = check_store(config)
    except CryptocastError as error:
        return _fail("candles", str(error), None, error)
    if checked.findings:
        problems = [finding.problem for finding in checked.findings]
        return _fail("candles", _some(problems), "Do as it says, then look again: cryptocast data verify", DataError)
    if not checked.series:
        return _ok("candles", "none yet: commands fetch what they need, or use the sample", "cryptocast fetch")
    newest = max(list_store(config).series, key=lambda series: series.last)
    return _ok(
        "candles",
        f"{checked.series} series, every hash right; the newest bar is {newest.coin}'s of {newest.last:%Y-%m-%d %H:%M} "
        f"UTC ({newest.source})",
    )


def _registry(config: Config) -> Iterator[DoctorCheck]:
    """The registry, and whether its versions in use can be asked."""
    try:
        registry = Registry.open(config.store.path, create=False, gate=config.gate)
        problems = [f"{finding.where}: {finding.problem}" for finding in registry.verify()]
        versions = () if problems else registry.versions()
        outdated = () if problems else outdated_versions(registry, config)
        earlier = () if problems else earlier_models(registry, config)
    except CryptocastError as error:
        yield _fail("registry", str(error), None, error)
        return
    if problems:
        yield _fail("registry", _some(problems), "See cryptocast registry verify.", RegistryError)
        return
    if not versions:
        yield _ok("registry", "no versions yet: the baseline answers", f"cryptocast train {config.data.coins[0]}")
        return
    production = sum(PRODUCTION in version.aliases for version in versions)
    yield _ok("registry", f"versions: {len(versions)}, in production: {production}; every hash and reference right")
    if outdated:
        names = ", ".join(f"{version.name} ({version.key.source})" for version in outdated)
        words = (
            "fitted on other features than there are now, or by a model of your own whose file is missing or another,"
            f" so that the next model answers for them: {names}"
        )
        yield _warn("versions", words, "cryptocast train --outdated")
    if earlier:
        names = ", ".join(f"{version.name} ({version.key.source})" for version in earlier)
        words = (
            f"an earlier model for every coin than the one that [train] pretrained names is in production: {names}. The"
            " newer one becomes the challenger where none of the coin's own waits, and the gate decides"
        )
        yield _warn("shipped", words, "cryptocast registry score, once a bar; then cryptocast registry promote")


def _some(problems: list[str]) -> str:
    more = len(problems) - SHOWN_FINDINGS
    return " ".join(problems[:SHOWN_FINDINGS]) + (f" And {more} more." if more > 0 else "")


def _sources(config: Config, environ: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """What each source needs before it can be fetched from."""
    for source in SOURCES.values():
        for finding in source.findings(config, environ):
            yield DoctorCheck(name=finding.name, status=finding.status, found=finding.summary, next=finding.next)


def _token(config: Config, environ: Mapping[str, str]) -> DoctorCheck:
    is_set, host = bool(environ.get(TOKEN, "").strip()), config.serve.host
    if not is_set and host not in LOOPBACK:
        words = f"[serve] host is {host}, open to other machines, and {TOKEN} is not set: serve will refuse"
        return _warn("token", words, f'Set {TOKEN}, or [serve] host = "127.0.0.1".')
    return _ok("token", f"{TOKEN} is set" if is_set else f"none: serve listens on {host} only")


def _notices(context: Context, url: str, *, is_tried: bool) -> Iterator[DoctorCheck]:
    """Who is told of what happens, what waits to be sent, and whether a test arrives."""
    example = f"Set {VARIABLE} to the address of a webhook, of a Telegram bot, of Slack or of ntfy: docs/serving.md."
    if not url:
        words = f"{VARIABLE} is not set: nobody is told of what happens"
        yield _warn("notices", words, example) if is_tried else _ok("notices", words)
        return
    try:
        receiver = receiver_of(url, context.config.notify)
        states = Counter(entry.state for entry in context.registry(create=False).outbox())
        status = send_test(url, context) if is_tried else None
    except (ConfigError, UpstreamError, RegistryError) as error:
        yield _fail("notices", str(error), example if isinstance(error, ConfigError) else None, error)
        return
    numbers = ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "none yet"
    tested = "" if status is None else f"; a test was accepted with status {status}"
    yield _ok("notices", f"sent to {receiver} as {receiver.template} (of the last 30 days: {numbers}){tested}")


def _network(config: Config, probe: Probe, environ: Mapping[str, str]) -> Iterator[DoctorCheck]:
    """Each source that the settings fetch from, asked side by side; and which of them goes back further."""
    choice, key = config.data.source, environ.get(API_KEY, "").strip() or None
    request = Selection().resolved(config)
    sources = candidates(config) if choice == AUTO else (SOURCES[request.source],)
    with ThreadPoolExecutor(len(sources)) as threads:
        checks = list(threads.map(lambda source: _asked(source, config, probe, key), sources))
    if all(check.next == NO_NETWORK for check in checks):
        yield msgspec.structs.replace(checks[-1], name="network")
        return
    yield from checks
    answering = [source for source, check in zip(sources, checks, strict=True) if check.status == "ok"]
    context = Context(config, api_key=key)
    access = access_of(context, deadline_s=PATIENCE_S)
    try:
        yield from map(_longer, longer_histories(context, request, answering, lambda source: source.connect(access)))
    except CryptocastError as error:
        yield _warn("histories", str(error))


def _longer(history: LongerHistory) -> DoctorCheck:
    words = (
        f"{history.coin} comes from {history.own.title} and begins {history.first:%Y-%m-%d};"
        f" {history.source.title} has older bars of it"
    )
    return _ok("history", words, f"cryptocast fetch {history.coin} --move-to {history.source.name}")


def _asked(source: Source, config: Config, probe: Probe, key: str | None) -> DoctorCheck:
    try:
        return _ok(source.name, probe(source, config, key))
    except UsageError as error:
        return _fail(source.name, str(error), "Mend the key or the plan, then run cryptocast doctor again.", error)
    except Unreachable as error:
        return _warn(source.name, str(error), NO_NETWORK)
    except CryptocastError as error:
        remedy = "Wait some minutes and look again; until then its coins use their stored candles."
        return _warn(source.name, str(error), remedy)


def _libraries() -> Iterator[DoctorCheck]:
    """The versions of what cryptocast was installed with, and whether all of it is there."""
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    try:
        required = [text for text in metadata.requires("cryptocast") or [] if "extra ==" not in text]
    except metadata.PackageNotFoundError:
        yield _warn("libraries", f"{python}; cryptocast runs from its folder and is not installed", "pip install .")
        return
    names = [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in required]
    # Those with a condition may be left out on this system.
    missing = [name for name, text in zip(names, required, strict=True) if ";" not in text and not is_there(name)]
    if missing:
        words = f"{python}; not installed: {', '.join(missing)}"
        yield _fail("libraries", words, "Install cryptocast again.", CryptocastError)
        return
    listed = ", ".join(f"{name} {metadata.version(name)}" for name in ("cryptocast", *filter(is_there, LIBRARIES)))
    yield _ok("libraries", f"{listed}; {python}")


def _extras() -> DoctorCheck:
    """What could be added to the installation; nothing is amiss without."""
    lacking = [extra for extra in EXTRAS.values() if extra.missing]
    if not lacking:
        return _ok("extras", f"all of them: {', '.join(EXTRAS)}")
    words = ", ".join(f"{extra.name} ({extra.adds})" for extra in lacking)
    names = ",".join(extra.name for extra in lacking)
    return _ok("extras", f"not installed: {words}", f"Nothing, or pip install 'cryptocast[{names}]'")


def _disk(config: Config) -> DoctorCheck:
    free = shutil.disk_usage(nearest_folder(config.store.path)).free
    words = f"{free / 1e9:,.1f} GB free where the store is"
    remedy = "Make room, or move [store] path."
    if free < TOO_LITTLE_BYTES:
        return _fail("disk", words, remedy, DataError)
    return _warn("disk", words, remedy) if free < LITTLE_BYTES else _ok("disk", words)
