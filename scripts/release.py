"""Builds what a release consists of, in build/release, and tries each wheel in a fresh environment."""

import argparse
import contextlib
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
RELEASE: Final = ROOT / "build" / "release"
COMPILED: Final = {"HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"}
SECTION: Final = re.compile(r"^## \[(?P<name>[^\]]+)\].*?\n(?P<notes>.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL)
DEVELOPMENT: Final = "Unreleased"
CHECKS: Final = (
    ("", "import tallygate.client, tallygate.control.v1.config_pb2, tallygate.metering.v1.report_pb2"),
    ("[server]", "import control_service.bootstrap, metering_service.bootstrap, books_audit.audit"),
)
"""Imports that work after an installation with these extras."""
STEP_S: Final = 3_600
"""Timeout of a step in seconds. The longest, which compiles, takes three minutes of one processor to itself."""


class ReleaseError(Exception):
    """What keeps a release from being built, in one sentence."""


def notes_of(changelog: str, version: str) -> str:
    """The section of a version; of a development version, what is not released yet. Raises ReleaseError."""
    sections = {match["name"]: match["notes"].strip() for match in SECTION.finditer(changelog)}
    name = DEVELOPMENT if ".dev" in version else version
    if not sections.get(name):
        raise ReleaseError(f"CHANGELOG.md has nothing under [{name}]; write there what is new, before the tag.")
    return sections[name] + "\n"


def require_clean(version: str) -> None:
    """Refuse the version of a working copy with changes, which ends with a day. Raises ReleaseError."""
    if re.search(r"\.d\d{8}$", version):
        raise ReleaseError("The working copy has changes that are not committed; commit them, or put them aside.")


def main() -> None:
    """Build, check, describe."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    shutil.rmtree(RELEASE, ignore_errors=True)
    RELEASE.mkdir(parents=True)
    try:
        _release()
    except ReleaseError as error:
        sys.exit(str(error))


def _release() -> None:
    build = (sys.executable, "-m", "build", "--outdir", str(RELEASE))
    step("The pure wheel", build)  # the sdist, and the pure wheel from it: so that the sdist is complete
    (pure,) = RELEASE.glob("*-py3-none-any.whl")
    version = pure.name.split("-")[1]
    require_clean(version)
    (RELEASE / "notes.md").write_text(notes_of((ROOT / "CHANGELOG.md").read_text(), version))
    # From an sdist again: in the working copy the compiler's plug-in would move pyproject.toml away meanwhile.
    step("The compiled wheel", build, COMPILED)
    (compiled,) = set(RELEASE.glob("*.whl")) - {pure}
    _installed(pure, is_compiled=False)
    python = _installed(compiled, is_compiled=True)
    bill = RELEASE / f"tallygate-{version}.cdx.json"
    describe = (sys.executable, "-m", "cyclonedx_py", "environment", str(python), "--output-file", str(bill))
    step("The bill of materials", describe)
    shutil.rmtree(RELEASE / "environment")
    files = sorted(path for path in RELEASE.iterdir() if path.is_file())
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (RELEASE / "SHA256SUMS").write_text(sums)
    print(f"tallygate {version}, in {RELEASE}:", *(path.name for path in files), sep="\n  ")


def _installed(wheel: Path, *, is_compiled: bool) -> Path:
    """Installs a wheel step by step in an environment of its own; what must be there after each step is."""
    folder = RELEASE / "environment"
    step("An environment", (sys.executable, "-m", "venv", "--clear", str(folder)))
    python = folder / "bin" / "python"
    name = "The compiled wheel" if is_compiled else "The pure wheel"
    for extras, imports in CHECKS:
        pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}{extras}")
        step(f"{name}{extras}, installed", pip)
        step(f"{name}{extras}, imported", (str(python), "-I", "-c", imports))
    check = f"import metering_service; assert metering_service.IS_COMPILED is {is_compiled}"
    step(f"{name}, looked at", (str(python), "-I", "-c", check))
    for service in ("control_service", "metering_service"):
        step(f"{name}, {service} started", (str(python), "-I", "-m", service, "--check"))
    return python


def step(
    name: str, command: Sequence[str], variables: Mapping[str, str] | None = None, timeout_s: float = STEP_S
) -> None:
    """Run a program, with nobody to ask, and say how long it took. Raises ReleaseError where it fails, or does not end.

    What it has started and left running is ended, however it ended itself.
    """
    print(f"{name} ...", flush=True)
    began = time.monotonic()
    environment = {**os.environ, **(variables or {}), "PIP_NO_INPUT": "1"}
    program = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        status = program.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise ReleaseError(
            f"{name}: did not end within {timeout_s / 60:.0f} minutes, and was ended; it was {shlex.join(command)}"
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing is left
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    if status:
        raise ReleaseError(f"{name}: failed with status {status}; what it wrote is above.")
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
