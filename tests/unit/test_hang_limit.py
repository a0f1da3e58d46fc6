"""A test that hangs is one failed test with a report, wherever it hangs; those after it run."""

import os
import re
import subprocess
import sys
from pathlib import Path

PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
HANGING = """
import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

SOON = pytest.mark.hang_limit(0.5)


async def never_answers() -> None:
    await asyncio.Event().wait()


@SOON
async def test_awaits() -> None:
    await never_answers()


@SOON
def test_blocks() -> None:
    threading.Event().wait()


@SOON
async def test_polls_in_the_background() -> None:
    async def poll() -> None:
        while True:
            await asyncio.sleep(0)

    polling = [asyncio.create_task(poll()) for _ in range(10)]
    await asyncio.wait(polling, return_when=asyncio.ALL_COMPLETED)


@SOON
async def test_ends_too_late() -> None:
    try:
        await never_answers()
    except BaseException:
        pass


@pytest.fixture
def stuck_before() -> None:
    threading.Event().wait()


@SOON
def test_is_not_reached(stuck_before: None) -> None:
    pass


@pytest.fixture
def stuck_after() -> Iterator[None]:
    yield
    threading.Event().wait()


@SOON
def test_is_not_left(stuck_after: None) -> None:
    pass


def test_after_all_of_them() -> None:
    pass
"""


def test_a_test_that_hangs_fails_with_a_report_and_the_run_goes_on(tmp_path: Path) -> None:
    """Awaiting, blocked, polling, in a fixture's beginning or end; what it awaits is in the report."""
    path = tmp_path / "test_hanging.py"
    path.write_text(HANGING)
    done = subprocess.run(
        # Native tracebacks: for its own, pytest parses the source, in which CPython 3.11 seldom fails (SystemError).
        [*PYTEST, "--tb=native", "-c", "pyproject.toml", "-q", "-rA", str(path)],
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR) \S*::(\w+)", done.stdout, re.MULTILINE)
    assert {test for outcome, test in outcomes if outcome != "PASSED"} == {
        "test_awaits",
        "test_blocks",
        "test_ends_too_late",
        "test_is_not_left",
        "test_is_not_reached",
        "test_polls_in_the_background",
    }
    assert ("PASSED", "test_after_all_of_them") in outcomes
    assert "The teardown of this test had not ended after 0.5 s." in done.stdout
    assert "in never_answers\n    await asyncio.Event().wait()" in done.stdout
