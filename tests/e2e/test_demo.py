"""The demo."""

from __future__ import annotations

import signal
import subprocess

import httpx2

from tests.harness.patience import PATIENCE_S
from tests.harness.programs.command import TALLYGATE, environment


def test_the_demo_tells_its_story_to_the_end() -> None:
    """From a denied request to reserved capacity, with books that agree; its console stays open until Ctrl-C."""
    command = [*TALLYGATE, "demo", "--fast", "--console"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as demo:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:
            said.append(line)
            if "stays open" in line:
                break
        words = [word for word in said[-1].split() if word.startswith("http://")]
        page = httpx2.get(f"{words[0]}/sign-in", trust_env=False, timeout=PATIENCE_S) if words else None
        demo.send_signal(signal.SIGINT)
        said += demo.stdout.readlines()
        assert demo.wait(PATIENCE_S) == 0, "".join(said)

    assert page is not None
    assert "Go in" in page.text
    told = "".join(said)
    places = [told.find(word) for word in ("NOT_ENABLED", "FREE_TRIAL", "ACCOUNT_OVERDUE", "TPM_RESERVATION")]
    assert -1 not in places
    assert places == sorted(places)
    assert "every one of them accounted for" in told
    # What is written to a file has no terminal's width, and lines are drawn all the same.
    assert "─" * 101 not in told
