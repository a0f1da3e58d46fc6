"""`tallygate up --console`: the pair, and pages in front of it."""

from __future__ import annotations

from pathlib import Path

import psutil

from tallygate.cli.bootstrap import OPERATOR_FILE
from tests.harness.console.clerk import clerk
from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import up


def test_a_console_stands_in_front_of_the_pair(tmp_path: Path) -> None:
    """Its address is said, the operator's token opens it, and whatever ends it ends the pair, with status 1."""
    with up(tmp_path, "--auth", "--console", "--console-listen", "127.0.0.1:0") as running:
        assert running.process.stdout is not None
        name, home = running.process.stdout.readline().split()
        assert name == "console"
        with clerk(home) as operator:
            answer = operator.sign_in((tmp_path / OPERATOR_FILE).read_text().strip())
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            assert "serviceAccounts/operator" in operator.client.get("/", follow_redirects=True).text
        (console,) = [child for child in psutil.Process(running.process.pid).children() if "console" in child.cmdline()]
        console.kill()
        assert running.process.wait(PATIENCE_S) == 1
