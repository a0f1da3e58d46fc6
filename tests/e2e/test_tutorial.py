"""The tutorial, line by line in one shell as it is written: each command, and what the page says is seen."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import metadata
from pathlib import Path

import psutil
import pytest

from tests.harness.asgi.engine_harness import uvicorn_serving
from tests.harness.asgi.fake_engine import FakeEngine
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import environment

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
COMMANDS_MAX = 15
INSTALLATION = 2
"""Number of commands that install what is installed here already."""
ENGINE = "http://127.0.0.1:8000"
PORTS = {
    "control": "127.0.0.1:7401",
    "metering": "127.0.0.1:7402",
    "console": "127.0.0.1:7080",
    "serving": "127.0.0.1:7480",
}
"""Addresses on the page, by the word that a program prints before its own."""
MARK = "-- typed:"
REPEATED = ("curl", "tallygate usage")
"""Commands that are typed again until the node has heard of a change, or has recorded a request."""

_STEP = re.compile(r"^```\n(.*?)^```\n\n((?:[^\n`][^\n]*\n)*)", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_PRINTED = re.compile(r"(control|metering|console|serving) +(?:http://)?(127\.0\.0\.1:\d+)")


def steps() -> list[tuple[str, list[str]]]:
    """Each command, and the texts that are seen after it, by the first sentence of "You see"."""
    found = []
    for command, after in _STEP.findall(PAGE.read_text()):
        sentence = re.split(r"\.\s", after)[0] if after.startswith("You see") else ""
        found.append((command.strip(), [plain(text) for text in _CODE.findall(sentence)]))
    return found


def plain(text: str) -> str:
    """The text with one space wherever there are some."""
    return " ".join(text.split())


class Shell:
    """One shell in a directory, in which commands are typed; programs take free ports in place of the page's."""

    def __init__(self, directory: Path, engine: str) -> None:
        self._served = {ENGINE: engine}
        """What stands in place of addresses on the page."""
        any_port = {f"TALLYGATE_{name}_LISTEN": "127.0.0.1:0" for name in ("CONTROL", "METERING", "CONSOLE", "PROXY")}
        found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._process = subprocess.Popen(
            ["bash"],
            cwd=directory,
            env={**environment(), **any_port, "PATH": found, "TALLYGATE_CONFIG_DIR": str(directory / "config")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, command: str) -> str:
        """What a command prints; one that goes on in the background is waited for until it serves."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._here(command)}\nprintf '\\n%s %s\\n' '{MARK}' $?\n")
        self._process.stdin.flush()
        shown = self._until(MARK)
        assert shown.endswith(f"{MARK} 0"), shown
        if command.endswith("&"):
            shown += self._until("try " if "tallygate up" in command else "serving ")
        self._served.update({PORTS[name]: address for name, address in _PRINTED.findall(shown)})
        for theirs, ours in self._served.items():
            shown = shown.replace(ours, theirs)
        return plain(shown)

    def type_until(self, command: str, texts: list[str]) -> str:
        """Types it until its texts are seen; what makes or starts something is typed once."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            shown = self.type(command)
            missing = [text for text in texts if text not in shown]
            if not missing:
                return shown
            is_over = time.monotonic() >= deadline or not command.startswith(REPEATED)
            assert not is_over, (command, missing, shown)

    def end(self) -> None:
        """Ends the shell, and what still runs in its background."""
        for left in psutil.Process(self._process.pid).children(recursive=True):
            left.terminate()
        self._process.communicate(timeout=PATIENCE_S)

    def _here(self, command: str) -> str:
        for theirs, ours in self._served.items():
            command = command.replace(theirs, ours)
        if not command.endswith(" login"):
            return command
        # By itself it takes the pair to be at its usual ports.
        where = (f"--{name} {self._served[PORTS[name]]}" for name in ("control", "metering"))
        return " ".join([command, *where])

    def _until(self, beginning: str) -> str:
        """All lines up to one with this beginning."""
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if line.startswith(beginning):
                return "".join(lines).rstrip()
        raise AssertionError("".join(lines))


def follow(shell: Shell) -> None:
    """Types the page's commands, and looks for all that it says is seen."""
    request_id = ""
    for command, texts in steps()[INSTALLATION:]:
        assert texts, command
        shown = shell.type_until(command.replace("REQUEST_ID", request_id), texts)
        request_id = "".join(re.findall(r"x-tallygate-request-id: (\w+)", shown)) or request_id
    page = PAGE.read_text()
    shell.type(re.findall(r"`(tallygate budget update [^`]*)`", page)[0])
    asking = [command for command, _ in steps() if command.startswith("curl")][-1]
    shell.type_until(asking, ["HTTP/1.1 200 OK"])
    shell.type(re.findall(r"`(kill [^`]*)`", page)[0])
    shell.type("wait")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial is typed with curl, which is not here")
async def test_the_tutorial_can_be_followed_to_its_end(tmp_path: Path) -> None:
    """From a new directory, with a server of somebody's own; in the end both programs are told to end, and do."""
    async with uvicorn_serving(FakeEngine(), lifespan="off") as engine:
        shell = Shell(tmp_path, engine)
        try:
            await asyncio.to_thread(follow, shell)
        finally:
            await asyncio.to_thread(shell.end)


def test_the_tutorial_is_short_and_installs_what_it_needs() -> None:
    """The first commands are those that nothing is typed of here: their extras are there, and bring all the rest."""
    (environment_made, _), (installed, _), *others = steps()
    assert environment_made.startswith("python3 -m venv ")
    (extras,) = re.findall(r"^pip install '\S+\[([a-z,]+)\]'$", installed)
    assert set(extras.split(",")) <= set(metadata("tallygate").get_all("Provides-Extra") or ())
    assert len(others) + INSTALLATION <= COMMANDS_MAX
