"""Asks an advisory service for known weaknesses of the packages that an installation of Tallygate brings along."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from typing import Final

from packaging.requirements import Requirement

EXTRAS: Final = ("", "server", "cli", "asgi")
FAILED: Final = ("ServiceError", "ConnectionError", "Connection", "Max retries", "HTTPError")
"""Words of pip-audit where its service could not be asked."""


def main() -> None:
    """Status 0: none is known; 1: some are; 2: nobody could be asked, which says nothing."""
    pinned = "".join(f"{name}=={distribution(name).version}\n" for name in sorted(set(_brought("tallygate", EXTRAS))))
    command = (sys.executable, "-m", "pip_audit", "--requirement", "/dev/stdin", "--no-deps", "--disable-pip")
    done = subprocess.run(command, input=pinned, capture_output=True, text=True, check=False)
    if done.returncode and any(word in done.stderr for word in FAILED):
        print(
            "The advisory service cannot be reached, so nothing is known: ask again from where it can.", file=sys.stderr
        )
        sys.exit(2)
    print(done.stdout, done.stderr, sep="", end="")
    sys.exit(done.returncode)


def _brought(name: str, extras: tuple[str, ...]) -> Iterator[str]:
    """Names of all that it needs, and what that needs."""
    waiting, seen = [(name, extra) for extra in extras], set[tuple[str, str]]()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed.name, each) for each in ("", *needed.extras)]
                if needed.name != "tallygate":
                    yield needed.name.lower()


if __name__ == "__main__":
    main()
