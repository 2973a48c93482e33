import json
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.allowed import refusal
from cryptocast.config import SECRET_NAMES, Config, SeriesConfig, load_config, section_type
from cryptocast.errors import ConfigError
from cryptocast.models.tails import EVERY_INTERVAL

SHIPPED = Path(__file__).resolve().parents[1] / "config.toml"
SECTIONS = [field.name for field in msgspec.structs.fields(Config)]


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(text: str, folder: Path, **environ: str) -> Config:
    return load_config(written(folder, text), environ=environ)


def from_environment(folder: Path, **environ: str) -> Config:
    return load_config(None, environ=environ, folder=folder)


def message(text: str, folder: Path, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, folder, **environ)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plain(value: Any) -> Any:
    """Structs, tuples and paths as TOML has them."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))


# What holds without a file.


def test_without_a_file_the_defaults_hold_and_the_store_is_in_the_folder(tmp_path: Path) -> None:
    config = load_config(None, environ={}, folder=tmp_path)
    assert config.store.path == tmp_path.resolve() / "data"
    assert msgspec.structs.replace(config, store=Config().store) == Config()


def test_the_file_of_the_folder_is_read_unless_another_is_named(tmp_path: Path) -> None:
    written(tmp_path, "[data]\nstale_after_bars = 90\n")
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", "[data]\nstale_after_bars = 30\n")
    assert load_config(None, environ={}, folder=tmp_path).data.stale_after_bars == 90
    assert load_config(other, environ={}, folder=tmp_path).data.stale_after_bars == 30


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No settings file at .*absent\.toml.*--config"):
        load_config(tmp_path / "absent.toml", environ={})


def test_the_horizons_follow_the_granularity() -> None:
    assert Config().horizons("daily") == (1, 7, 14, 30)
    assert Config().horizons("hourly") == (1, 6, 24, 168)


def test_the_default_intervals_are_those_that_the_levels_can_give() -> None:
    assert set(Config().forecast.intervals) <= set(EVERY_INTERVAL)


def test_nothing_can_be_changed_after_loading() -> None:
    with pytest.raises(AttributeError):
        Config().data.stale_after_bars = 3  # type: ignore[misc]


# What a file may say.


def test_a_setting_of_the_file_replaces_its_default_and_no_other(tmp_path: Path) -> None:
    config = load('[data]\ncoins = ["solana"]\n[split]\nfit = 0.6\n', tmp_path)
    assert config.data == msgspec.structs.replace(Config().data, coins=("solana",))
    assert config.split == msgspec.structs.replace(Config().split, fit=0.6)
    assert config.serve == Config().serve


def test_relative_paths_count_from_the_file_and_not_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "settings").mkdir()
    written(tmp_path / "settings", '[store]\npath = "bars"\n')
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = load_config(Path("..") / "settings" / "config.toml", environ={})
    assert config.store.path == tmp_path.resolve() / "settings" / "bars"


def test_absolute_and_home_paths_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load(f'[store]\npath = "{(tmp_path / "bars").as_posix()}"\n', tmp_path).store.path == tmp_path / "bars"
    assert load('[store]\npath = "~/bars"\n', tmp_path).store.path == tmp_path / "home" / "bars"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert load("\ufeff[data]\nstale_after_bars = 3\n", tmp_path).data.stale_after_bars == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[dta]\nstale_after_bars = 3\n", "unknown section 'dta'. Did you mean [data]?"),
        ("[qqq]\n", "unknown section 'qqq'. Known: [store], [data],"),
        ("[data]\nsurce = 'file'\n", "unknown key 'surce' in [data]. Did you mean source?"),
        ("[data]\nqqq = 1\n", "unknown key 'qqq' in [data]. Known: coins, source, exchanges, vs,"),
        ("[coingecko]\napi_key = 'x'\n", "unknown key 'api_key' in [coingecko]."),
        ("data = 1\n", "data must be a section, [data], not a value"),
        ("[[data]]\nstale_after_bars = 3\n", "data must be a section, [data], not a value"),
        ('["a\\nb"]\n', "unknown section 'a\\nb'"),
        ('[data]\n"a\\nb" = 1\n', "unknown key 'a\\nb'"),
        (
            "[data]\nstale_after_bars = '3'\n",
            "[data] stale_after_bars must be a whole number from 1 to 100,000, found ",
        ),
        ("[serve]\nport = 80.5\n", "[serve] port must be a whole number from 0 to 65,535, found 80.5."),
        ("[serve]\nport = 70000\n", "[serve] port must be a whole number from 0 to 65,535, found 70000."),
        ("[train]\naudit = 1\n", "[train] audit must be true or false, found 1."),
        ("[store]\npath = 3\n", "[store] path must be the path of a folder, found 3."),
        (
            "[data]\nsource = 'nowhere'\n",
            "okx, bybit and ccxt:NAME, found 'nowhere'.",
        ),
        (
            "[forecast]\nintervals = [50]\n",
            "[forecast] intervals item 1 must be one of 20, 40, 60, 80, 90, 95, 98, 99, found 50.",
        ),
        ("[forecast]\ndaily_horizons = [7, 1]\n", "daily_horizons must be increasing and not empty, found [7, 1]"),
        ("[forecast]\nhourly_horizons = []\n", "hourly_horizons must be increasing and not empty, found []"),
        ("[forecast]\ndaily_horizons = [1, 1]\n", "daily_horizons must be increasing"),
        ("[split]\nfit = 0.9\n", "[split] fit + stop is 1.05"),
        ("[data]\ncoins = []\n", "[data] coins is empty"),
        ("[lstm]\npatch = 5\n", "[lstm] lookback must be a multiple of patch, found 64 and 5."),
        (
            "[serve]\nrequest_timeout_s = nan\n",
            "[serve] request_timeout_s must be a number above 0 and of at most 1e+06, found nan.",
        ),
        ("[data]\nvs = '\u20ac'\n", "[data] vs must be a currency such as usd (2 to 10 lower-case letters and digits)"),
        ("[data]\ncoins = 'bitcoin'\n", "[data] coins must be a list, each item a CoinGecko id such as bitcoin"),
        ("[data]\nstale_after_bars = 99999999999999999999\n", "from 1 to 100,000, found 99999999999999999999."),
        (f"[data]\nstale_after_bars = {'9' * 5000}\n", "holds a number that is too long"),
        (f"data = {'[' * 100_000}\n", "or too deep a list"),
        ("[data]\nport = 3\n", "unknown key 'port' in [data]. It belongs to [serve]."),
        ("[split]\nfit = 1.0\n", "[split] fit must be a number above 0 and below 1, found 1.0."),
        ("[simulated]\nstart = 'x'\n", "[simulated] start must be a date such as 2015-01-01, found 'x'."),
        ("[coingecko]\nbase_url = 3\n", "[coingecko] base_url must be text, found 3."),
        ("[store]\npath = ''\n", "[store] path must be the path of a folder, found ''."),
        ("[store]\npath = ' '\n", "[store] path must be the path of a folder, found ' '."),
        ("series = 1\n", "series must be a section, [series.NAME], not a value"),
        ("[series]\nfile = 'a.csv'\n", "series.file must be a section, [series.NAME], not a value"),
        ("[series.mood]\nfil = 'a.csv'\n", "unknown key 'fil' in [series.mood]. Did you mean file?"),
        (
            "[series.Mood]\nfile = 'a.csv'\n",
            "[series.Mood]: a name is of lower-case letters, digits and _, such as dvol",
        ),
        ("[series.mood]\nknown_after = '1d'\n", "[series.mood] needs file = "),
        (
            "[series.mood]\nfile = 'a.csv'\nknown_after = '-1d'\n",
            '[series.mood] known_after must be a duration such as "1d", "36h" or "90min", found ',
        ),
        ("[series.mood]\nsource = 'vix'\n", "[series.mood] source must be one of deribit, file"),
        ("[series.mood]\nsource = 'deribit'\nfile = 'a.csv'\n", "[series.mood] file and known_after are not for"),
        ("[lightgbm]\nearly_stopping_rounds = 4\n", "[lightgbm] early_stopping_rounds is no more. No booster stops"),
        ("[lightgbm]\nstrength = 0.5\n", "[lightgbm] strength is no more. Leave it out: "),
        ("[data\n", "is not valid TOML: "),
        ("[data]\nstale_after_bars = 3\nstale_after_bars = 4\n", "is not valid TOML: "),
    ],
)
def test_a_mistake_in_the_file_gets_one_line_that_names_it(text: str, expected: str, tmp_path: Path) -> None:
    said = message(text, tmp_path)
    assert expected in said
    assert "config.toml" in said


@pytest.mark.parametrize("coin", ["../etc/passwd", "Bitcoin", "bit coin", "bitcoin\n", "₿", "", "-bitcoin", "a" * 101])
def test_a_coin_that_is_no_id_is_refused(coin: str, tmp_path: Path) -> None:
    quoted = coin.replace("\n", "\\n")
    assert "[data] coins item 1 must be a CoinGecko id such as bitcoin (" in message(
        f'[data]\ncoins = ["{quoted}"]\n', tmp_path
    )


def test_what_is_no_text_file_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"[data]\nstale_after_bars = \xff\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(path, environ={})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, environ={})


@given(st.text(max_size=60))
def test_no_text_gets_anything_but_settings_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome: Config | ConfigError
    try:
        outcome = load_config(path, environ={})
    except ConfigError as error:
        outcome = error
    assert isinstance(outcome, Config) or str(path) in str(outcome)


# What the environment may say.


@pytest.mark.parametrize(
    ("name", "value", "section", "key", "expected"),
    [
        ("CRYPTOCAST_DATA__STALE_AFTER_BARS", "90", "data", "stale_after_bars", 90),
        ("CRYPTOCAST_DATA__VS", "eur", "data", "vs", "eur"),
        ("CRYPTOCAST_DATA__SOURCE", "file", "data", "source", "file"),
        ("CRYPTOCAST_DATA__GRANULARITY", '"hourly"', "data", "granularity", "hourly"),
        ("CRYPTOCAST_DATA__COINS", "bitcoin, solana", "data", "coins", ("bitcoin", "solana")),
        ("CRYPTOCAST_DATA__COINS", "solana", "data", "coins", ("solana",)),
        ("CRYPTOCAST_DATA__COINS", "0x,404,true", "data", "coins", ("0x", "404", "true")),
        ("CRYPTOCAST_DATA__COINS", '["solana"]', "data", "coins", ("solana",)),
        ("CRYPTOCAST_TRAIN__POOL", "", "train", "pool", ()),
        ("CRYPTOCAST_FORECAST__DAILY_HORIZONS", "1,5", "forecast", "daily_horizons", (1, 5)),
        ("CRYPTOCAST_FORECAST__DAILY_HORIZONS", "[1, 5]", "forecast", "daily_horizons", (1, 5)),
        ("CRYPTOCAST_FORECAST__DAILY_HORIZONS", "7", "forecast", "daily_horizons", (7,)),
        ("CRYPTOCAST_FORECAST__INTERVALS", "80,95", "forecast", "intervals", (80, 95)),
        ("CRYPTOCAST_BACKTEST__MODELS", "baseline", "backtest", "models", ("baseline",)),
        ("CRYPTOCAST_TRAIN__AUDIT", "false", "train", "audit", False),
        ("CRYPTOCAST_SPLIT__FIT", "0.5", "split", "fit", 0.5),
        ("CRYPTOCAST_SERVE__HOST", "0.0.0.0", "serve", "host", "0.0.0.0"),  # noqa: S104 - only read
        ("CRYPTOCAST_COINGECKO__READ_TIMEOUT_S", "3", "coingecko", "read_timeout_s", 3.0),
    ],
)
def test_a_variable_overrides_one_setting(
    name: str, value: str, section: str, key: str, expected: object, tmp_path: Path
) -> None:
    config = from_environment(tmp_path, **{name: value})
    changed = getattr(config, section)
    assert getattr(changed, key) == expected
    for other in SECTIONS:
        default = getattr(Config(), other)
        if other not in {section, "store"}:
            assert getattr(config, other) == default
    assert msgspec.structs.replace(changed, **{key: getattr(getattr(Config(), section), key)}) == getattr(
        Config(), section
    )


LISTS = [
    (section, field.name)
    for section in SECTIONS
    for field in msgspec.structs.fields(section_type(section))
    if get_origin(field.type) is tuple
]
# What stands in a list that is empty by default.
IN_EMPTY = {
    "cors_origins": ("https://a.example", "http://b.example:8080"),
    "trusted_proxies": ("10.0.0.0/8", "::1"),
    "pool": ("bitcoin", "solana"),
    "history": ("sample",),
}


@pytest.mark.parametrize(("section", "key"), LISTS)
@pytest.mark.parametrize("form", ["one", "commas", "commas and spaces", "TOML", "TOML of one"])
def test_every_list_is_read_from_the_environment_in_every_form_that_people_write(
    section: str, key: str, form: str, tmp_path: Path
) -> None:
    items = getattr(getattr(Config(), section), key) or IN_EMPTY[key]
    given = items[:1] if "one" in form else items
    text = {
        "one": str(given[0]),
        "commas": ",".join(map(str, given)),
        "commas and spaces": " , ".join(map(str, given)) + ", ",
    }.get(form, json.dumps(given))

    config = from_environment(tmp_path, **{f"CRYPTOCAST_{section.upper()}__{key.upper()}": text})

    assert getattr(getattr(config, section), key) == given


@pytest.mark.parametrize("key", ["cors_origins", "trusted_proxies", "history"])
def test_an_empty_variable_is_an_empty_list(key: str, tmp_path: Path) -> None:
    section = "train" if key == "history" else "serve"
    config = from_environment(tmp_path, **{f"CRYPTOCAST_{section.upper()}__{key.upper()}": ""})
    assert getattr(getattr(config, section), key) == ()


@pytest.mark.parametrize(
    "origin", ["*", "https://a.example", "https://a.example/", "HTTP://LocalHost:3000", "http://[::1]:8000", "app://-"]
)
def test_origins_as_people_write_them_are_taken(origin: str, tmp_path: Path) -> None:
    assert from_environment(tmp_path, CRYPTOCAST_SERVE__CORS_ORIGINS=origin).serve.cors_origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    ["a.example", "https://*.example", "https://a.example/app", "null", "https://", "https://a b", "https://bücher.de"],
)
def test_what_no_browser_sends_as_an_origin_is_refused_by_name(origin: str, tmp_path: Path) -> None:
    said = message(f"[serve]\ncors_origins = ['https://good.example', '{origin}']\n", tmp_path)
    assert f"[serve] cors_origins: {origin!a} is not an origin" in said


@pytest.mark.parametrize("proxy", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*", "10.0.0.1:80", ""])
def test_a_proxy_that_is_no_address_is_refused_by_name(proxy: str, tmp_path: Path) -> None:
    said = message(f"[serve]\ntrusted_proxies = ['10.0.0.0/8', '{proxy}']\n", tmp_path)
    assert "[serve] trusted_proxies" in said
    assert ascii(proxy) in said


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = load("[data]\nstale_after_bars = 90\nvs = 'eur'\n", tmp_path, CRYPTOCAST_DATA__STALE_AFTER_BARS="30")
    assert (config.data.stale_after_bars, config.data.vs) == (30, "eur")


def test_the_store_can_be_moved_by_the_environment(tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "bars")
    assert from_environment(tmp_path / "here", CRYPTOCAST_STORE__PATH=elsewhere).store.path == tmp_path / "bars"


def test_an_outside_series_has_a_section_of_its_own_and_its_file_is_found_from_the_settings(tmp_path: Path) -> None:
    text = (
        "[series.mood]\nfile = 'mood.csv'\nknown_after = '36h'\n[series.dvol]\nsource = 'deribit'\nresolution = '1h'\n"
    )
    series = load(text, tmp_path).series
    assert list(series) == ["mood", "dvol"]
    assert series["mood"].file == str(tmp_path / "mood.csv")
    assert [one.delay for one in series.values()] == [timedelta(hours=36), timedelta(hours=1)]
    assert [one.facts for one in series.values()] == ["file, known 36h after its time", "deribit BTC 1h"]


@pytest.mark.parametrize(
    ("known_after", "delay"), [("", None), ("0h", timedelta(0)), ("90min", timedelta(hours=1.5)), ("2d", timedelta(2))]
)
def test_a_duration_is_read_by_its_unit(known_after: str, delay: timedelta | None) -> None:
    assert SeriesConfig(file="a.csv", known_after=known_after).delay == delay


def test_secrets_and_foreign_variables_are_left_alone(tmp_path: Path) -> None:
    environ = dict.fromkeys(SECRET_NAMES, "a secret") | {"PATH": "/bin", "CRYPTOCAST": "1", "DATA__DAYS": "3"}
    assert from_environment(tmp_path, **environ) == from_environment(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CRYPTOCAST_DTA__DAYS", "3", "CRYPTOCAST_DTA__DAYS has an unknown section 'dta'. Did you mean [data]?"),
        (
            "CRYPTOCAST_DATA__SINC",
            "3",
            "an unknown key 'sinc' in [data]. Did you mean since?",
        ),
        (
            "CRYPTOCAST_DATA__STALE_AFTER_BARS",
            "many",
            "[data] stale_after_bars must be a whole number from 1 to 100,000, found ",
        ),
        ("CRYPTOCAST_TRAIN__AUDIT", "no", "[train] audit must be true or false, found 'no'."),
        (
            "CRYPTOCAST_FORECAST__DAILY_HORIZONS",
            "1,week",
            "[forecast] daily_horizons item 2 must be a whole number from 1 to 100,000, found 'week'.",
        ),
        ("CRYPTOCAST_DATA__COINS", "", "[data] coins is empty"),
        ("CRYPTOCAST_STORE__PATH", "", "[store] path must be the path of a folder, found ''."),
        (
            "CRYPTOCAST_DATA__PORT",
            "80",
            "CRYPTOCAST_DATA__PORT has an unknown key 'port' in [data]. It belongs to [serve]",
        ),
        ("CRYPTOCAST_DATA_STALE_AFTER_BARS", "3", "Did you mean CRYPTOCAST_DATA__STALE_AFTER_BARS?"),
        ("CRYPTOCAST_DATA___STALE_AFTER_BARS", "3", "Did you mean CRYPTOCAST_DATA__STALE_AFTER_BARS?"),
        ("cryptocast_data__stale_after_bars", "3", "Did you mean CRYPTOCAST_DATA__STALE_AFTER_BARS?"),
        ("CRYPTOCAST_STALE_AFTER_BARS", "3", "Did you mean CRYPTOCAST_DATA__STALE_AFTER_BARS?"),
        ("CRYPTOCAST_STORE_PATH", "x", "Did you mean CRYPTOCAST_STORE__PATH?"),
        ("CRYPTOCAST_SERVE_HOTS", "x", "Did you mean CRYPTOCAST_SERVE__HOST?"),
        ("CRYPTOCAST_PORT", "80", "Did you mean CRYPTOCAST_SERVE__PORT?"),
        ("CRYPTOCAST_SERVE__TOKEN", "secret", "Did you mean CRYPTOCAST_SERVE_TOKEN?"),
        ("CRYPTOCAST_SERIES__MOOD", "x", "series.mood must be a section, [series.NAME], not a value"),
        ("CRYPTOCAST_API_KEY", "secret", "Did you mean CRYPTOCAST_COINGECKO_API_KEY?"),
        ("CRYPTOCAST_NOTIFY__URL", "https://example.org", "Did you mean CRYPTOCAST_NOTIFY_URL?"),
        ("CRYPTOCAST_SENTRY_DSN", "secret", "Did you mean SENTRY_DSN?"),
    ],
)
def test_a_mistake_in_the_environment_gets_one_line_that_names_it(
    name: str, value: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment(tmp_path, **{name: value})
    assert expected in str(caught.value)
    said = message("[data]\nvs = 'eur'\n", tmp_path, **{name: value})
    assert expected in said
    assert name in said
    assert "secret" not in said


def test_what_others_name_after_a_service_is_no_setting_and_no_slip(tmp_path: Path) -> None:
    environ = {
        "CRYPTOCAST_SERVICE_HOST": "10.0.0.1",  # as Kubernetes does
        "CRYPTOCAST_SERVICE_PORT_HTTP": "8000",
        "CRYPTOCAST_PORT": "tcp://10.0.0.1:8000",
        "CRYPTOCAST_PORT_8000_TCP_ADDR": "10.0.0.1",
        "CRYPTOCAST_VERSION": "1",
        "CRYPTOCAST_LOG_LEVEL": "debug",
    }
    assert from_environment(tmp_path, **environ) == from_environment(tmp_path)


def test_no_setting_is_described_by_its_pattern() -> None:
    for section in SECTIONS:
        for field in msgspec.structs.fields(section_type(section)):
            said = refusal(object(), field.type, lambda kind, value: value)
            assert said is not None
            assert "^" not in said


def test_a_refused_address_is_shown_without_its_password(tmp_path: Path) -> None:
    said = message("[coingecko]\nbase_url = ['https://ann:secret@host/api']\n", tmp_path)
    assert "[coingecko] base_url must be text" in said
    assert "secret" not in said


# The file that is shipped.


@pytest.fixture(scope="module")
def shipped() -> str:
    assert SHIPPED.is_file(), "config.toml is missing: every setting stands in it with its default and a comment"
    return SHIPPED.read_text(encoding="utf-8")


def test_the_shipped_file_says_every_setting_with_its_default(shipped: str) -> None:
    assert {**tomllib.loads(shipped), "series": {}} == plain(Config())


def test_the_shipped_file_is_read_as_the_defaults(shipped: str) -> None:
    config = load_config(SHIPPED, environ={})
    assert msgspec.structs.replace(config, store=Config().store) == Config()
    assert config.store.path == SHIPPED.parent / "data"


def uncommented(text: str) -> list[str]:
    """The settings with a comment neither at the end of their line nor on the line above."""
    lines = [line.strip() for line in text.splitlines()]
    return [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if re.match(r"[a-z0-9_]+\s*=", line) and not above.startswith("#") and not re.search(r"\s#\s*\S", line)
    ]


def test_the_shipped_file_explains_every_setting(shipped: str) -> None:
    assert uncommented(shipped) == []


def test_a_setting_without_a_comment_is_found() -> None:
    assert uncommented("[data]\n# How far back.\nstale_after_bars = 3\nvs = 'usd'  # quote\nsource = 'auto'\n") == [
        "source = 'auto'"
    ]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_says_what_it_is_about(section: str) -> None:
    assert section_type(section).__doc__
    assert all(not field.required for field in msgspec.structs.fields(section_type(section)))
