"""Asks an advisory service for known weaknesses of the packages that an installation of Tallygate brings along."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS: Final = ("", "server", "cli", "asgi")
NOBODY: Final = "The advisory service cannot be asked, so nothing is known; ask again from where it can be reached."


def main() -> None:
    """Status 0: none is known; 1: some are; 2: not all packages could be asked about, which says nothing."""
    names = sorted(set(_brought("tallygate", EXTRAS)))
    pinned = "".join(f"{name}=={distribution(name).version}\n" for name in names)
    options = ("--requirement", "/dev/stdin", "--no-deps", "--disable-pip", "--format", "json")
    done = subprocess.run(
        (sys.executable, "-m", "pip_audit", *options), input=pinned, capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        sys.exit(_could_not_tell(done.stderr))
    # pip-audit itself calls it well where it could ask about none of them.
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    weak = [(package, each) for package in packages for each in package.get("vulns", ())]
    for package, each in weak:
        mended = ", ".join(each["fix_versions"]) or "none"
        print(f"{package['name']} {package['version']}: {each['id']}, mended in {mended}")
    if skipped:
        sys.exit(_could_not_tell(f"Not known to it: {', '.join(skipped)}"))
    print(f"{len(packages)} packages, {len(weak)} known weaknesses.")
    sys.exit(1 if weak else 0)


def _could_not_tell(details: str) -> int:
    print(details.strip(), NOBODY, sep="\n", file=sys.stderr)
    return 2


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
                    yield canonicalize_name(needed.name)


if __name__ == "__main__":
    main()
