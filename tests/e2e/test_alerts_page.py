"""The example of the page on alerts: its commands, and its receiver, as a person types them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.patience import PATIENCE_S
from tests.harness.ports import held_port
from tests.harness.programs.command import Said, Up, up

PAGE = Path(__file__).parents[2] / "docs" / "alerts.md"
ADDRESS = "https://hooks.example.com/tallygate"


def section() -> str:
    return PAGE.read_text().partition("## An example\n")[2].partition("\n## ")[0]


def commands() -> list[str]:
    """The commands of the example."""
    plain = re.sub(r"^```python\n.*?^```$", "", section(), flags=re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```\n(.*?)^```$", plain, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


def program() -> str:
    """The receiver of the example."""
    match = re.search(r"^```python\n(.*?)^```$", section(), re.MULTILINE | re.DOTALL)
    assert match is not None
    return match[1]


class ReceiverProgram:
    """The page's receiver in a process of its own; what it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._heard = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def until(self, line: str, count: int = 1) -> None:
        """Waits until it has printed this so often."""
        with self._heard:
            assert self._heard.wait_for(lambda: self._lines.count(line) >= count, PATIENCE_S), self._lines

    @property
    def lines(self) -> list[str]:
        return list(self._lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._heard:
                self._lines.append(line.strip())
                self._heard.notify_all()


@contextmanager
def running_receiver(directory: Path, port: int, *files: str) -> Iterator[ReceiverProgram]:
    (directory / "receiver.py").write_text(program())
    process = subprocess.Popen(
        [sys.executable, "receiver.py", str(port), *files],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield ReceiverProgram(process)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """A pair that asks for proof, which sends to this machine; an operator is logged in, and the account is there."""
    allowed = {"TALLYGATE_CONTROL_WEBHOOKS_ALLOW_PRIVATE": "1"}
    monkeypatch.setenv("TALLYGATE_CONFIG_DIR", str(tmp_path / "home"))
    with up(tmp_path / "data", "--auth", variables=allowed) as running:
        token = str(tmp_path / "data" / "operator.token")
        login = running.run("--token-file", token, "login", "here", "--control", running.control)
        assert login.status == 0, login.err
        assert running.run("account", "create", "acme").status == 0
        yield running


def test_the_example_works(running: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command does what the page says, the receiver verifies what comes, and takes each message once."""
    monkeypatch.chdir(tmp_path)
    port, said = held_port(), dict[str, Said]()

    def type_until(last: str) -> None:
        while True:
            line = remaining.pop(0)
            words = shlex.split(line.replace(ADDRESS, f"http://127.0.0.1:{port}/tallygate"))
            assert words[0] == "tallygate"
            said[" ".join(words[1:3])] = answer = running.run(*words[1:])
            assert answer.status == 0, f"{line}\n{answer.err}"
            if " ".join(words[1:3]) == last:
                return

    remaining = commands()
    type_until("webhook create")
    with running_receiver(tmp_path, port, "pager.secret") as receiver:
        type_until("webhook test")
        receiver.until("webhook.test -")
        type_until("alert list")
        receiver.until("money.threshold 1 0")
        assert "20.00 USD or less" in said["alert list"].out
        type_until("webhook rotate")
        assert running.run("webhook", "test", "acme/pager").status == 0
        receiver.until("webhook.test -", 2)  # signed by the old secret as well
    with running_receiver(tmp_path, port, "pager-2.secret") as receiver:
        type_until("webhook replay")
        assert remaining == []
        receiver.until("money.threshold 1 0")
        assert receiver.lines.count("money.threshold 1 0") == 1
