"""The rules of style that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = ("tallygate", "control_service", "metering_service", "tests", "scripts", "benchmarks")
# Generated code is not read, and a migration is one long list that nobody changes again.
EXEMPT = re.compile(r"_pb2(_grpc)?\.py$|/migrations/versions/")

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def files() -> Iterator[tuple[Path, str]]:
    for place in PLACES:
        for path in sorted((ROOT / place).rglob("*.py")):
            if not EXEMPT.search(path.as_posix()):
                yield path.relative_to(ROOT), path.read_text()


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_are_short() -> None:
    """A file is read in one sitting; aim for less than 300 lines."""
    assert [path for path, source in files() if len(source.splitlines()) > FILE_LINES_MAX] == []


def test_functions_are_short() -> None:
    """A function fits on a screen; aim for less than 40 lines."""
    long = [
        f"{path}:{function.lineno} {function.name}"
        for path, source in files()
        for function in functions(source)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_tests_say_what_they_hold() -> None:
    """Each test has a docstring: what must be true, in a sentence."""
    silent = [
        f"{path}:{function.lineno} {function.name}"
        for path, source in files()
        if path.name.startswith("test_")
        for function in functions(source)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []
