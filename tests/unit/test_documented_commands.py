"""Commands that the documentation says can be typed: each is read by the parsers of the programs themselves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer._click.exceptions import BadOptionUsage, BadParameter, UsageError

import control_service.settings
import metering_service.settings
from scripts.website.stage import reachable
from tallygate._server.errors import ConfigurationError
from tallygate.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [path for path in reachable(ROOT) if path.suffix == ".md" and path.name != "CHANGELOG.md"]
LINES_MIN = 200
COMMAND: Any = typer.main.get_command(app)
SERVICES: Mapping[str, Callable[[Sequence[str], Mapping[str, str]], object]] = {
    "control": control_service.settings.parse,
    "metering": metering_service.settings.parse,
}
"""Commands that hand their options on to a service, each with what reads them there."""
_FENCE = re.compile(r"^ *(```|~~~)[^\n]*\n(?P<block>.*?)^ *\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`(tallygate\s[^`]+)`")
_EXPORT = re.compile(r"^export (.+)", re.MULTILINE)
_SETTING = re.compile(r"[A-Z_]+=\S*")
_PLACEHOLDER = re.compile(r"[A-Z_]+|\.\.\.")
_END = {"&", "|", ">", "2>", "<", ";", "&&", "||"}


def typed(text: str) -> Iterator[str]:
    """Lines of fenced or indented code that call the command, whole where they go on over several."""
    fenced = "".join(fence["block"] for fence in _FENCE.finditer(text))
    indented = "\n".join(re.findall(r"^ {4}.*$", _FENCE.sub("", text), re.MULTILINE))
    for line in f"{fenced}\n{indented}".replace("\\\n", " ").splitlines():
        rest = line.strip()
        while setting := _SETTING.match(rest):
            rest = rest[setting.end() :].strip()
        if rest.startswith("tallygate "):
            yield rest


def mentioned(text: str) -> Iterator[str]:
    """Calls of the command in a sentence, which may leave out what it is about."""
    for code in _CODE.findall(_FENCE.sub("", text)):
        yield " ".join(code.split())


def typed_problem(line: str, environment: Mapping[str, str]) -> str | None:
    """What the parsers say of a line that is to be copied; None where they take it."""
    words = shlex.split(line, comments=True)[1:]
    ends = [at for at, word in enumerate(words) if word in _END]
    try:
        read(COMMAND, "tallygate", words[: ends[0]] if ends else words, None, environment)
    except (UsageError, ConfigurationError) as error:
        return str(error)
    return None


def mentioned_problem(line: str) -> str | None:
    """What is not there of a call in a sentence, a command or an option; whether more is needed is not looked at."""
    words = shlex.split(line)[1:]
    ends = [at for at, word in enumerate(words) if _PLACEHOLDER.fullmatch(word)]
    try:
        read(COMMAND, "tallygate", words[: ends[0]] if ends else words, None, {})
    except (BadParameter, BadOptionUsage):  # a value that is missing is a BadParameter, too
        return None
    except UsageError as error:
        return str(error)
    except ConfigurationError as error:
        return str(error) if "there is no option" in str(error).lower() else None
    return None


def read(command: Any, name: str, words: list[str], parent: Any, environment: Mapping[str, str]) -> None:
    """Read words as the command would, and those after it as the command within would. Nothing is done by that."""
    is_group = hasattr(command, "commands")
    if does_something(command, words) or (is_group and not words):
        return
    with command.make_context(name, words, parent=parent) as context:
        rest = [*context._protected_args, *context.args]
        if is_group and rest:
            found, inner, words = command.resolve_command(context, rest)
            read(inner, found, words, context, environment)
        elif name == "serve":
            SERVICES[parent.info_name](rest, environment)


def does_something(command: Any, words: list[str]) -> bool:
    """Whether reading the words would: options such as `--help` and `--install-completion` are done at once."""
    parameters = command.get_params(typer.Context(command))
    at_once = {option for parameter in parameters if parameter.is_eager for option in parameter.opts}
    if hasattr(command, "commands") and words[:1] != ["--help"]:
        at_once.discard("--help")  # of a command within, which is looked for first
    return not at_once.isdisjoint(words)


def page_problems(text: str) -> list[str]:
    """What the parsers say of a page. What it exports before counts for its lines."""
    exported = dict(word.split("=", 1) for line in _EXPORT.findall(text) for word in shlex.split(line) if "=" in word)
    said = [(line, typed_problem(line, exported)) for line in typed(text)]
    said += [(line, mentioned_problem(line)) for line in mentioned(text)]
    return [f"{line}: {problem}" for line, problem in said if problem]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_commands_of_a_page_are_there(page: Path) -> None:
    """With their options and arguments, so that they can be copied."""
    assert page_problems((ROOT / page).read_text()) == []


def test_there_are_commands_to_read() -> None:
    """The pages are those that have them."""
    texts = [(ROOT / page).read_text() for page in PAGES]
    assert sum(len([*typed(text), *mentioned(text)]) for text in texts) >= LINES_MIN


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("```\ntallygate accuont create acme\n```\n", "No such command"),
        ("```\ntallygate account create acme --colour red\n```\n", "No such option"),
        ("```\ntallygate account create \\\n  --currency EUR # the account is missing\n```\n", "Missing"),
        ("```\nA=b tallygate usage export acme --format parqet --out a & echo\n```\n", "--format"),
        ("```\ntallygate control serve --colour red\n```\n", "no option --colour"),
        ("As here:\n\n    tallygate accuont create acme\n", "No such command"),
        ("Use `tallygate account creat ACCOUNT`.", "No such command"),
        ("Use `tallygate account create\n--colour`.", "No such option"),
        ("Use `tallygate metering serve --colour`.", "no option --colour"),
        ("Use `tallygate accuont create --help`.", "No such command"),
    ],
)
def test_a_wrong_command_is_found(wrong: str, problem: str) -> None:
    """Each kind of mistake is one problem, beside commands that are right."""
    right = (
        "Use `tallygate account create ACCOUNT`, or `tallygate account create --help`.\n\n"
        "```\ntallygate account create acme | cat\n```\n"
    )
    assert page_problems(right) == []
    (found,) = page_problems(right + wrong)
    assert problem in found
