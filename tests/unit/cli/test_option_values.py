"""Values of options: what is converted without pydantic is what typer itself would have made of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import pytest
import typer
from typer._click.exceptions import UsageError

from tallygate.cli.names import account_name
from tallygate.cli.option_values import convert_here


class Colour(StrEnum):
    light_red = "light-red"
    blue = "blue"


def command(
    account: Annotated[str, typer.Argument(parser=account_name)],
    *,
    word: str = "",
    colour: Colour = Colour.blue,
    shade: Colour | None = None,
    days: Annotated[int, typer.Option(min=0, max=30)] = 7,
    limit: int | None = None,
    several: Annotated[list[str] | None, typer.Option("--several", envvar="SEVERAL")] = None,
    also: Annotated[list[str] | None, typer.Option("--also", parser=account_name)] = None,
    flag: Annotated[bool, typer.Option("--flag", envvar="FLAG")] = False,
) -> dict[str, Any]:
    """Returns what it is called with."""
    return dict(locals())


def outcome(words: str, *, converted_here: bool) -> object:
    """What the command is called with, or what is said of the mistake."""
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    made: Any = typer.main.get_command(app)
    if converted_here:
        made.params = [convert_here(one) for one in made.params]
    try:
        return made.main(words.split(), standalone_mode=False)
    except UsageError as error:
        return error.format_message()


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        ("acme", {}),
        ("acme --word a,b --colour light-red --shade blue --days 30 --limit 0", {}),
        ("acme --limit -5", {}),
        ("acme --several one --several two --also acme --also accounts/b", {}),
        ("acme", {"SEVERAL": "one two", "FLAG": "yes"}),
        ("acme", {"FLAG": ""}),
        ("acme --flag", {"FLAG": "0"}),
        ("acme --also a/b", {}),
        ("a/b", {}),
        ("", {}),
        ("acme", {"FLAG": "perhaps"}),
    ],
)
def test_values_are_those_of_typer(words: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Right ones as well as mistakes, and what the environment says."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert outcome(words, converted_here=True) == outcome(words, converted_here=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("acme --days 31", "31 is too high: the most is 30"),
        ("acme --days -1", "-1 is too low: the least is 0"),
        ("acme --days soon", "'soon' is no whole number"),
        ("acme --colour red", "'red' is not one of light-red, blue"),
    ],
)
def test_a_mistake_is_said_in_plain_words(words: str, said: str) -> None:
    """And where it was made."""
    assert outcome(words, converted_here=True) == f"Invalid value for '{words.split()[1]}': {said}"


@pytest.mark.parametrize("written", ["light-red", "LIGHT_RED", "Light-Red"])
def test_choices_are_taken_as_answers_write_them(written: str) -> None:
    """A status is copied from an answer."""
    found: Any = outcome(f"acme --colour {written}", converted_here=True)
    assert found["colour"] is Colour.light_red


def test_a_parameter_that_converts_otherwise_is_left_alone() -> None:
    """As another version of typer may."""
    parameter = object()
    assert convert_here(parameter) is parameter
