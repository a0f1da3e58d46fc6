"""Generates the Python stubs from the protos, or checks that the committed ones are what it would generate."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import google.api

GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?")
DEFINES_SERVICE = re.compile(r"^service \w+", re.MULTILINE)
PACKAGE = "tallygate"
SOURCES = ("protos", "protos_of_others")
ANNOTATIONS = Path(google.api.__path__[0]).parents[1]
"""Where the protos of googleapis-common-protos are installed."""


def main() -> int:
    """Exit code 0, or 1 with a line for each stub that differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a stub differs")
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent, help="the repository")
    arguments = parser.parse_args()
    if not arguments.check:
        for stub in stubs_under(arguments.root):
            (arguments.root / stub).unlink()
        generate_all(arguments.root, arguments.root)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory)
        generate_all(arguments.root, fresh)
        problems = differences(arguments.root, fresh)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("The stubs do not match the protos; run `make stubs` and commit the result.", file=sys.stderr)
    return 1 if problems else 0


def generate_all(root: Path, out: Path) -> None:
    """Write the stubs of this project's contract, and of what it speaks of the protocols of others."""
    for protos in SOURCES:
        generate(root / protos, out)


def generate(protos: Path, out: Path) -> None:
    """Write messages and their types for every proto, and gRPC stubs only for those that define a service."""
    every = sorted(protos.rglob("*.proto"))
    with_service = [proto for proto in every if DEFINES_SERVICE.search(proto.read_text())]
    protoc(protos, every, f"--python_out={out}", f"--mypy_out=quiet:{out}")
    if with_service:
        protoc(protos, with_service, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}")


def protoc(protos: Path, files: list[Path], *outputs: str) -> None:
    """Run the compiler of grpcio-tools with the plugins of this environment."""
    names = [str(file.relative_to(protos)) for file in files]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"-I{ANNOTATIONS}", *outputs, *names]
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})


def stubs_under(root: Path) -> set[Path]:
    """Paths of the generated files, relative to the root."""
    return {path.relative_to(root) for path in (root / PACKAGE).rglob("*_pb2*") if GENERATED.search(path.name)}


def differences(committed: Path, fresh: Path) -> list[str]:
    """One sentence for each stub that is missing, left over, or other than generated."""
    have, want = stubs_under(committed), stubs_under(fresh)
    return [
        *(f"{stub} is missing." for stub in sorted(want - have)),
        *(f"{stub} belongs to no proto." for stub in sorted(have - want)),
        *(
            f"{stub} is not what its proto generates."
            for stub in sorted(have & want)
            if (committed / stub).read_bytes() != (fresh / stub).read_bytes()
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
