"""The README's first session, as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.harness.programs.command import FOR_NOW, up

README = Path(__file__).parents[2] / "README.md"
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language; the empty one is the shell."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def test_the_first_session_works_as_written(tmp_path: Path) -> None:
    """Every command and both programs, in order; only ports and paths are those of the test."""
    shell = [block for block in blocks("") if "tallygate model" in block or "grpcurl" in block]
    python = blocks("python")
    assert (len(shell), len(python)) == (2, 2)
    replay = re.findall(r"`(tallygate replay [^`]*)`", README.read_text())
    with up(tmp_path) as running:

        def run(*command: str) -> str:
            done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        def local(text: str) -> str:
            text = text.replace("127.0.0.1:7401", running.control).replace("127.0.0.1:7402", running.metering)
            return re.sub(r"^tallygate|(?<=\n)tallygate", f"{sys.executable} -m tallygate.cli", text)

        environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "TALLYGATE_CONTROL_ADDRESS": running.control,
        }
        shown = run("bash", "-ec", local(shell[0]))
        assert "RUNNING" in shown or "ACTIVATING" in shown
        receipt = run("bash", "-ec", local(shell[1]))
        assert "receipt" in receipt
        assert '"131"' in receipt
        assert "output_tokens: 131" in run(sys.executable, "-c", local(python[0]))
        while (refused := run(sys.executable, "-c", local(python[1]))).split(" ")[0] in FOR_NOW:
            pass
        assert refused == ""
        assert "The books agree." in run("bash", "-ec", f"{local(replay[0])} --metering {running.metering}")
