"""The settings file: same names, same meanings as the environment, and a mistake is named."""

import re
from pathlib import Path

import pytest

import control_service.settings
import metering_service.settings
from control_service.settings import parse
from tallygate._setting_names import SETTING_NAMES
from tallygate._settings_file import FILE_VARIABLE, adopt_settings_file, read_settings_file, with_settings_file

ROOT = Path(__file__).parents[2]


def named(path: Path, text: str) -> dict[str, str]:
    """An environment that names a file with this content."""
    path.write_text(text, encoding="utf-8")
    return {FILE_VARIABLE: str(path)}


def test_each_kind_of_value_is_said_as_the_environment_says_it(tmp_path: Path) -> None:
    """Strings and numbers as they are, switches as 1 and 0, lists with commas."""
    environment = named(
        tmp_path / "t.toml",
        'control_listen = "127.0.0.1:1"\nmetering_workers = 2\ninsecure = true\nauth = false\n'
        'metering_addresses = ["a:1", "b:2"]\n',
    )
    assert read_settings_file(environment) == {
        "TALLYGATE_CONTROL_LISTEN": "127.0.0.1:1",
        "TALLYGATE_METERING_WORKERS": "2",
        "TALLYGATE_INSECURE": "1",
        "TALLYGATE_AUTH": "0",
        "TALLYGATE_METERING_ADDRESSES": "a:1,b:2",
    }


def test_an_option_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    """Whoever tries something out need not edit the file."""
    environment = named(tmp_path / "t.toml", 'control_listen = "127.0.0.1:1"\n')
    assert parse([], with_settings_file(environment)).listen == "127.0.0.1:1"
    environment["TALLYGATE_CONTROL_LISTEN"] = "127.0.0.1:2"
    assert parse([], with_settings_file(environment)).listen == "127.0.0.1:2"
    assert parse(["--listen", "127.0.0.1:3"], with_settings_file(environment)).listen == "127.0.0.1:3"
    adopt_settings_file(environment)
    assert environment["TALLYGATE_CONTROL_LISTEN"] == "127.0.0.1:2"


def test_without_a_file_the_environment_is_what_it_was() -> None:
    """No file is looked for by itself."""
    assert with_settings_file({"TALLYGATE_AUTH": "1"}) == {"TALLYGATE_AUTH": "1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('control_lisen = "x"', r't\.toml has "control_lisen", .*nearest is control_listen'),
        ('TALLYGATE_CONTROL_LISTEN = "x"', r"nearest is control_listen"),
        ('settings_file = "x"', r'has "settings_file", and there is no such setting'),
        ("metering_workers = 2.5", r'"metering_workers" has a value that no setting has'),
        ("[control]\nlisten = 1", r'has "control", and there is no such setting'),
        ("metering_addresses = [1]", r'"metering_addresses" has a value'),
        ("control_listen = ", r"t\.toml is no TOML"),
    ],
)
def test_a_mistake_is_named_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    """And nothing starts with half of what was meant."""
    with pytest.raises(ValueError, match=said):
        read_settings_file(named(tmp_path / "t.toml", text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the variable that names it."""
    with pytest.raises(ValueError, match=r"TALLYGATE_SETTINGS_FILE names .*gone\.toml, which cannot be read"):
        read_settings_file({FILE_VARIABLE: str(tmp_path / "gone.toml")})


def test_every_variable_that_a_program_reads_may_be_in_the_file() -> None:
    """So that one file is enough for all of them."""
    read = set[str]()
    for folder in ("tallygate", "control_service", "metering_service"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "_setting_names.py":
                read |= set(re.findall(r'"(TALLYGATE_[A-Z0-9_]*[A-Z0-9])"', path.read_text(encoding="utf-8")))
    for service in (control_service.settings, metering_service.settings):
        # Some of their names are put together.
        read |= set(re.findall(r"\[(TALLYGATE_[A-Z_]+)", service._options({}).parser.format_help()))
    assert read - {FILE_VARIABLE} == SETTING_NAMES


def test_the_page_has_every_setting() -> None:
    """And none that there is not."""
    rows = [line for line in (ROOT / "docs" / "settings.md").read_text().splitlines() if line.startswith("| `")]
    names = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    assert names == {name.removeprefix("TALLYGATE_").lower() for name in SETTING_NAMES}
