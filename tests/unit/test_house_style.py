"""The rules of style that no linter knows."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("tallygate", "control_service", "metering_service", "books_audit", "tests", "scripts", "benchmarks")
# Generated code is not read, and a migration is one long list that nobody changes again.
EXEMPT = re.compile(r"_pb2(_grpc)?\.py$|/migrations/versions/")

# Both services, their base, and the client have one style.
SERVICES = ("control_service", "metering_service", "tallygate/_server", "tallygate/_wire", "tallygate/client")
# The part of metering that decides is compiled, which fixes constants for good; tests and simulations set some others.
SET_BY_SIMULATIONS = {"CHECKPOINT_SLICE", "CHECKPOINT_STEP", "EXPIRE_INTERVAL_S", "OBSERVATION_S", "POLL_S", "TICK_S"}
SET_BY_TESTS = {"NAMES_MAX", "REMEMBERED_MAX", "SLOW_STEP", "VISITED_MIN", "WAIT_MAX_S"}
"""Constants of modules that are compiled, which keep a final constant's value in themselves."""
LOG_LEVELS = {"debug", "info", "warning", "error", "exception"}
TEST_FILE = re.compile(r"(test_\w+|conftest)\.py")

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

VAGUE_START = re.compile(r"(It|So|That|These|They|This|Those|What|Who|Whoever)\b")
"""First words of a sentence whose noun is missing, or comes late."""
VAGUE_HEAD = re.compile(VAGUE_START.pattern.replace("(It", "(How|When|Where|Whether|Which|It"))
"""First words of a module's docstring whose subject comes late."""
SUBJECT_FIRST = ("tallygate/cli", "tallygate/client", "tallygate/integrations", "tallygate/replay")
"""Folders whose modules all begin with their subject."""
POINTER = re.compile(r"See (?:(?!\.\s).)+\Z")
"""A docstring that is one sentence, and only points elsewhere."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A function or a class, as far as a rule looks at it: a tree for each file would fill the memory."""

    name: str
    line: int
    lines: int
    docstring: str
    is_function: bool


@cache
def files() -> tuple[tuple[Path, str], ...]:
    return tuple(
        (path.relative_to(ROOT), path.read_text())
        for place in PLACES
        for path in sorted((ROOT / place).rglob("*.py"))
        if not EXEMPT.search(path.as_posix())
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules look at in a file: its definitions, however deep, and what its constants are explained by."""

    definitions: tuple[Definition, ...]
    constants: tuple[tuple[int, str], ...]


@cache
def facts(source: str) -> Facts:
    """Parsed once for all rules, which is most of what they cost."""
    tree = ast.parse(source)
    definitions = tuple(
        Definition(
            node.name,
            node.lineno,
            (node.end_lineno or 0) - node.lineno + 1,
            ast.get_docstring(node) or "",
            not isinstance(node, ast.ClassDef),
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )
    return Facts(definitions, tuple(explained_constants(tree, source.splitlines())))


def functions(source: str) -> Iterator[Definition]:
    return (definition for definition in facts(source).definitions if definition.is_function)


def test_files_are_short() -> None:
    """A file is read in one sitting; aim for less than 300 lines."""
    assert [path for path, source in files() if len(source.splitlines()) > FILE_LINES_MAX] == []


def test_functions_are_short() -> None:
    """A function fits on a screen; aim for less than 40 lines."""
    long = [
        f"{path}:{function.line} {function.name}"
        for path, source in files()
        for function in functions(source)
        if function.lines > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_tests_say_what_they_hold() -> None:
    """Each test has a docstring: what must be true, in a sentence."""
    silent = [
        f"{path}:{function.line} {function.name}"
        for path, source in files()
        if path.name.startswith("test_")
        for function in functions(source)
        if function.name.startswith("test_") and not function.docstring
    ]
    assert silent == []


def explained_constants(tree: ast.Module, lines: list[str]) -> Iterator[tuple[int, str]]:
    """Assignments in modules and classes: the line of each, and its docstring or the comment at its end."""
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.Module | ast.ClassDef):
            continue
        for node, after in zip_longest(scope.body, scope.body[1:]):
            if isinstance(node, ast.Assign | ast.AnnAssign):
                _, _, comment = lines[(node.end_lineno or 0) - 1].partition("  # ")
                match after:
                    case ast.Expr(value=ast.Constant(value=str(docstring))):
                        yield node.lineno, docstring
                    case _ if comment:
                        yield node.lineno, comment


def vague_constants(source: str) -> list[int]:
    """Lines of constants whose explanation begins without its noun."""
    return [line for line, text in facts(source).constants if VAGUE_START.match(text)]


def pointers(source: str) -> list[str]:
    """Functions and classes whose docstring only points elsewhere."""
    return [definition.name for definition in facts(source).definitions if POINTER.match(definition.docstring)]


def has_vague_head(source: str) -> bool:
    """Whether the docstring of a module begins without its subject."""
    return bool(VAGUE_HEAD.match(ast.get_docstring(ast.parse(source)) or ""))


def test_modules_are_explained_subject_first() -> None:
    """A list of modules with their first lines reads like a table of contents."""
    vague = [path for path, source in files() if path.as_posix().startswith(SUBJECT_FIRST) and has_vague_head(source)]
    assert vague == []


def test_a_vague_head_is_found() -> None:
    """By its first word; one that begins with its subject is not."""
    heads = ("What a client knows.", "How long it waits.", "It waits.", "Waits of a client.", "Howling.")
    assert [has_vague_head(f'"""{head}"""\n') for head in heads] == [True, True, True, False, False]


def test_constants_are_explained_noun_first() -> None:
    """Who meets a constant reads what it is: a maximum, an interval, a number of something."""
    vague = [f"{path}:{line}" for path, source in files() for line in vague_constants(source)]
    assert vague == []


def test_docstrings_do_not_only_point_elsewhere() -> None:
    """A docstring says what this function does, in a sentence of its own."""
    found = [f"{path} {name}" for path, source in files() for name in pointers(source)]
    assert found == []


@pytest.mark.parametrize(
    "vague",
    [
        'WAIT_S = 1\n"""So long it waits."""',
        "WAIT_S = 1  # What it waits.",
        'class A:\n    b: int = 1\n    """It is one."""',
    ],
)
def test_a_vague_constant_is_found(vague: str) -> None:
    """After the constant or at the end of its line, in a module or a class; one that names its noun is not."""
    assert len(vague_constants(f'LIMIT = 1\n"""Maximum of it."""\nSOME = 2  # Something else.\n{vague}\n')) == 1


def test_a_pointer_is_found() -> None:
    """One that also says something is not."""
    docstrings = {
        "a": "See `B.a`.",
        "b": "See the contract. Raises KeyError.",
        "c": "See it",
        "d": "See it, it is a.b.",
    }
    source = "".join(f'def {name}():\n    """{docstring}"""\n' for name, docstring in docstrings.items())
    assert pointers(source) == ["a", "c", "d"]


def of_services() -> Iterator[tuple[Path, str]]:
    return ((path, source) for path, source in files() if path.as_posix().startswith(SERVICES))


def test_constants_are_final() -> None:
    """Nothing sets them once they are there; where a simulation or a test does, it is known here."""
    variable = [
        f"{path}: {match[1]}"
        for path, source in of_services()
        for match in re.finditer(r"^(_?[A-Z][A-Z0-9_]+) = ", source, re.MULTILINE)
        if match[1] not in SET_BY_SIMULATIONS | SET_BY_TESTS
    ]
    assert variable == []


def test_times_have_their_unit_in_their_names() -> None:
    """As `_S`, `_MS`, `_US` or `_NS`, in one spelling."""
    spelled_out = [
        f"{path}: {name}"
        for path, source in of_services()
        for name in re.findall(
            r"\b\w+_(?:seconds|millis|micros|nanos(?:econds)?)\b(?=\s*[:=][^=])", source, re.IGNORECASE
        )
        if not name.lower().endswith("_nanos")  # money
    ]
    assert spelled_out == []


def test_logs_are_names_of_events() -> None:
    """A program looks for a name; what happened where is in fields. The client's log is for people."""
    sentences = [
        f"{path}:{call.lineno}"
        for path, source in of_services()
        if "structlog.get_logger" in source
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in LOG_LEVELS
        if not (
            isinstance(call.func.value, ast.Name)
            and call.func.value.id == "_log"
            and isinstance(call.args[0], ast.Constant)
            and re.fullmatch("[a-z]+(_[a-z]+)*", str(call.args[0].value))
        )
    ]
    assert sentences == []


def test_what_tests_share_is_in_the_harness() -> None:
    """No test imports another one, and beside tests there is nothing else."""
    programs = ("drills", "harness", "simulation", "torture", "upgrade")
    sources = {path: source for path, source in files() if path.parts[0] == "tests"}
    strays = [path for path in sources if path.parts[1] not in programs and not TEST_FILE.match(path.name)]
    importers = [
        path for path, source in sources.items() if re.search(r"^from tests\.\S*\btest_", source, re.MULTILINE)
    ]
    assert (strays, importers) == ([], [])


@pytest.mark.parametrize("service", ["control_service", "metering_service"])
def test_migrations_follow_each_other(service: str) -> None:
    """Each has the number that its file has, and comes after the one before; two with one number start no service."""
    scripts = sorted((ROOT / service / "storage" / "migrations" / "versions").glob("v*.py"))
    numbers = [
        re.findall(r'^(?:down_)?revision(?:: [^=]+)? = (?:"(\d+)"|None)', path.read_text(), re.MULTILINE)
        for path in scripts
    ]
    expected = [[f"{number:04}", f"{number - 1:04}" if number > 1 else ""] for number in range(1, len(scripts) + 1)]
    assert numbers == expected
    assert [path.name[1:5] for path in scripts] == [number for number, _ in expected]
