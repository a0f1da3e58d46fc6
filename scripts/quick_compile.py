"""Compiles for tests what the wheel has compiled: the same C, not optimised and so in half the time."""

import shutil
import tomllib
from pathlib import Path
from typing import Any, Final

from mypyc.build import mypycify
from setuptools import Distribution

ROOT: Final = Path(__file__).parents[1]
UNFINISHED: Final = ROOT / "build" / "unfinished"
"""Folder that becomes build/quick once all of it is there: what is left of a failure is no build."""
PACKAGE: Final = "metering_service"
HOOK: Final = ("tool", "hatch", "build", "targets", "wheel", "hooks", "mypyc")
"""Where pyproject.toml says what is compiled, and how its types are checked."""


def main() -> None:
    """Leave a package that comes first on PYTHONPATH: Python for what is not compiled, and the extensions beside it."""
    shutil.rmtree(UNFINISHED, ignore_errors=True)
    shutil.copytree(ROOT / PACKAGE, UNFINISHED / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    wheel = wheel_options(ROOT)
    extensions = mypycify(
        [*wheel["mypy-args"], *compiled_files(ROOT, wheel)],
        **{**wheel["options"], "opt_level": "0", "debug_level": "0", "target_dir": str(UNFINISHED / "c")},
    )
    command = Distribution({"name": PACKAGE, "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(UNFINISHED), str(UNFINISHED / "objects")
    command.ensure_finalized()
    command.run()


def wheel_options(root: Path) -> dict[str, Any]:
    """What pyproject.toml says to the compiler."""
    options = tomllib.loads((root / "pyproject.toml").read_text())
    for key in HOOK:
        options = options[key]
    return options


def compiled_files(root: Path, wheel: dict[str, Any]) -> list[str]:
    """Paths of what is compiled, from the root."""
    included = {str(path.relative_to(root)) for pattern in wheel["include"] for path in root.glob(pattern)}
    return sorted(included.difference(wheel["exclude"]))


if __name__ == "__main__":
    main()
