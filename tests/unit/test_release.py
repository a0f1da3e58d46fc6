"""What is said of a release."""

import importlib.util
import os
import select
from pathlib import Path

import pytest

from tests.harness.patience import PATIENCE_S

PATH = Path(__file__).parents[2] / "scripts" / "release.py"
SPEC = importlib.util.spec_from_file_location("release", PATH)
assert SPEC is not None
assert SPEC.loader is not None
release = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(release)

CHANGELOG = """# Changelog

## [Unreleased]

- Newest.

## [0.2.0] - 2026-12-01

- Second.

## [0.1.0] - 2026-11-01
"""


@pytest.mark.parametrize(("version", "notes"), [("0.2.1.dev3+gabc", "- Newest.\n"), ("0.2.0", "- Second.\n")])
def test_notes_are_those_of_the_version(version: str, notes: str) -> None:
    """A development version has what is not released yet."""
    assert release.notes_of(CHANGELOG, version) == notes


@pytest.mark.parametrize("version", ["0.1.0", "0.3.0"])
def test_a_release_without_notes_is_refused(version: str) -> None:
    """Whether its section is empty or missing."""
    with pytest.raises(release.ReleaseError, match=r"nothing under \[0"):
        release.notes_of(CHANGELOG, version)


def test_a_working_copy_with_changes_is_no_release() -> None:
    """Its version ends with a day."""
    with pytest.raises(release.ReleaseError, match="not committed"):
        release.require_clean("0.2.1.dev3+gabc.d20261201")
    release.require_clean("0.2.1.dev3+gabc")


def test_a_step_that_does_not_end_is_ended_and_named() -> None:
    """Whoever builds a release learns which step it was, and what it ran."""
    with pytest.raises(release.ReleaseError, match=r"A long one: did not end within 0 minutes, .* it was sleep 600"):
        release.step("A long one", ("sleep", "600"), timeout_s=0.01)


def test_what_a_step_leaves_running_is_ended(tmp_path: Path) -> None:
    """Also where the step itself has ended well: nothing of a release goes on behind its back."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Whoever reads learns when nobody is left who could write: the program that is left holds the pipe open.
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        release.step("One that leaves something", ("sh", "-c", f"exec 3> '{pipe}'; sleep 600 & exit 0"))
        assert select.select([reader], [], [], PATIENCE_S)[0] == [reader]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_a_step_has_nobody_to_ask(capfd: pytest.CaptureFixture[str]) -> None:
    """A question that a program would ask at the terminal finds no answer, instead of waiting for one."""
    release.step("A question", ("sh", "-c", "read answer || echo nobody"))
    assert "nobody\n" in capfd.readouterr().out


def test_a_step_that_fails_is_named() -> None:
    """With its status."""
    with pytest.raises(release.ReleaseError, match="A step: failed with status 3"):
        release.step("A step", ("sh", "-c", "exit 3"))
