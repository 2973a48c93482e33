"""The settings in force as lines."""

from rich.console import Console

from cryptocast.cli.listings import SecretRow, SettingRow, SettingsDocument
from cryptocast.cli.screens.settings import settings_screen


def test_a_value_stands_as_toml_with_its_origin() -> None:
    rows = (
        SettingRow(section="data", key="coins", value=["bitcoin"], default=["ethereum"], origin="file"),
        SettingRow(section="serve", key="refresh", value=False, default=True, origin="environment"),
    )
    secrets = (SecretRow(name="A_KEY", is_set=True), SecretRow(name="B_KEY", is_set=False))
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        for part in settings_screen(SettingsDocument(file=None, settings=rows, secrets=secrets)):
            console.print(part, markup=False)
    lines = capture.get().splitlines()
    assert lines[0] == "# There is no config.toml here."
    assert lines[2:4] == ["[data]", 'coins = ["bitcoin"]  # file']
    assert lines[5:7] == ["[serve]", "refresh = false  # environment"]
    assert lines[-2:] == ["# A_KEY: set", "# B_KEY: not set"]
