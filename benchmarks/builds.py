"""Builds under test: this checkout, and an older one that is measured in turn with it.

Servers of a build run its own code with its own interpreter and packages. So do loads that go through its client
library; the load itself is always this checkout's, so that both are asked the same.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from metering_service import IS_COMPILED

ROOT: Final = Path(__file__).parents[1]
INHERITED: Final = ("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV")
"""Variables that would lead another interpreter to this checkout's code."""
COMPILED: Final = Path("build/compiled")
"""Folder of a checkout in which `make compiled` unpacks its wheel."""


@dataclass(frozen=True, slots=True)
class Build:
    """`label`: its commit, by which figures name it. `compiled`: its wheel is run, and not its source."""

    root: Path
    python: str
    label: str
    compiled: bool

    @property
    def is_this(self) -> bool:
        """Whether it is the checkout that the benchmark itself runs from."""
        return self.root == ROOT

    def environment(self, *first: Path) -> dict[str, str]:
        """For its programs. `first`: folders whose modules go before its own."""
        if self.is_this and not first:
            return dict(os.environ)
        kept = {name: value for name, value in os.environ.items() if name not in INHERITED}
        path = [*first, *([self.root / COMPILED] if self.compiled else [])]
        return {**kept, **({"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(map(str, path))} if path else {})}

    def load(self, directory: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Command and environment of this checkout's load generator on the build's client library.

        `directory`: of this run; a folder is made there that has the benchmark and nothing else of this checkout.
        """
        command = (self.python, "-m", "benchmarks.load")
        if self.is_this:
            return command, self.environment()
        stage = directory / "stage"
        stage.mkdir(exist_ok=True)
        if not (stage / "benchmarks").exists():
            (stage / "benchmarks").symlink_to(ROOT / "benchmarks")
        return command, self.environment(stage)


THIS: Final = Build(ROOT, sys.executable, "", IS_COMPILED)


def older(checkout: Path) -> Build:
    """Another checkout, with its own .venv, compiled where this one is. Raises ValueError where it lacks either."""
    root = checkout.resolve()
    python = root / ".venv/bin/python"
    if not python.exists():
        raise ValueError(f"{checkout} has no .venv/bin/python: make .venv/dev there")
    if IS_COMPILED and not (root / COMPILED).is_dir():
        raise ValueError(f"{checkout} has no {COMPILED}: make compiled there, so that both builds are compiled")
    return Build(root, str(python), commit(root) or root.name, IS_COMPILED)


def commit(root: Path) -> str:
    """What is measured; nothing where this is not a working copy of git's."""
    git = shutil.which("git")
    if git is None:
        return ""
    described = (git, "describe", "--always", "--exclude=*", "--dirty=, with changes")
    return subprocess.run(described, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
