"""The documents name what is there: paths, names in files, headings, make targets; for each rule a room and a test."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "tests/**/README.md", "protos/README.md")
    for page in ROOT.glob(pattern)
    if "node_modules" not in page.parts and page.name != "CHANGELOG.md"
)
DOMAIN = ROOT / "docs" / "domain.md"
GLOSSARY = ROOT / "docs" / "glossary.md"
RULES_MIN = 40
WORDS_MIN = 100
SENTENCES_MAX = 3

FOLDERS = {
    "benchmarks",
    "books_audit",
    "control_service",
    "deploy",
    "docs",
    "findings",
    "metering_service",
    "protos",
    "protos_of_others",
    "scripts",
    "tallygate",
    "tests",
}
"""Folders at the top: text that begins with one of them and a slash is a path of this repository."""
NAMES_OTHERS = {"integrations", "protos"}
"""Folders whose pages also name files of other projects."""
_TYPE = re.compile(r"\w+/[A-Z][A-Za-z]+")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
_PATH = re.compile(r"(?P<path>[\w.*/-]+)(?:::(?P<name>[\w.]+))?")
_SUFFIX = re.compile(r"\.(py|md|proto|toml|yaml|json|mjs)$")
_MAKE = re.compile(r"make ([a-z-]+)")
_RULE = re.compile(r"^### (?P<title>.+)\n(?P<body>(?:(?!^#).*\n?)*)", re.MULTILINE)
_POINTER = re.compile(r"`([\w./-]+::[\w.]+)`")


def paths(page: Path, text: str) -> Iterator[tuple[str, str]]:
    """Each path in inline code that means a file or folder of this repository, and the name in it or nothing.

    Other projects' paths are named on some pages only. Modules without a folder lie beside their page. What ends in a
    capitalised word is the type of a resource.
    """
    is_foreign = page.parent.name in NAMES_OTHERS
    folders = FOLDERS - {"docs"} if is_foreign else FOLDERS
    for code in _CODE.findall(_FENCE.sub("", text)):
        match = _PATH.fullmatch(code)
        if match is None or _TYPE.fullmatch(code):
            continue
        path, name = match["path"], match["name"] or ""
        if "/" in path:
            is_ours = path.split("/")[0] in folders or (_SUFFIX.search(path) and not is_foreign)
        else:
            is_ours = path.endswith(".md") or (path.endswith(".py") and any(page.parent.glob("*.py")))
        if is_ours or name:
            yield path, name


def path_problem(page: Path, path: str, name: str) -> str | None:
    """What is wrong with a path as that page names it: from the top, or from beside the page."""
    found = [hit for base in (ROOT, page.parent) for hit in base.glob(path.rstrip("/"))]
    if not found:
        return f"{path}: there is no such path"
    if path.endswith("/") and not found[0].is_dir():
        return f"{path}: is no folder"
    if name and name not in names_in(found[0]):
        return f"{path}::{name}: the file does not define that"
    return None


@cache
def names_in(path: Path) -> frozenset[str]:
    """What a Python file defines, members as `Class.member`; of any other file all its words."""
    if path.suffix != ".py":
        return frozenset(re.findall(r"\w+", path.read_text()))
    return frozenset(_defined(ast.parse(path.read_text()).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield prefix + node.name
            yield from _defined(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))


def link_problem(page: Path, link: str) -> str | None:
    """What is wrong with a link: its file is not there, or has no heading of that anchor. Hosts are not asked."""
    if re.match(r"[a-z]+:", link):
        return None
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return f"{link}: there is no such path"
    if anchor and anchor not in {slug(heading) for heading in _HEADING.findall(_FENCE.sub("", target.read_text()))}:
        return f"{link}: there is no such heading"
    return None


def slug(heading: str) -> str:
    """A heading as code hosts write it in addresses."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def problems(page: Path, text: str) -> list[str]:
    """All that is wrong with the signposts of a page."""
    makefile = (ROOT / "Makefile").read_text()
    targets = {target for code in _CODE.findall(text) for target in _MAKE.findall(code)}
    wrong = chain(
        (path_problem(page, path, name) for path, name in paths(page, text)),
        (link_problem(page, link) for link in _LINK.findall(_FENCE.sub("", text))),
        (f"make {each}: there is no such target" for each in targets if f"\n{each}:" not in makefile),
    )
    return [problem for problem in wrong if problem is not None]


def rule_problems(text: str) -> list[str]:
    """What is wrong with the rules of a page: each has up to three sentences, a room and a test, both of them there."""
    wrong = []
    for rule in _RULE.finditer(text):
        statement = re.split(r"^(?:Room|Test): ", rule["body"], flags=re.MULTILINE)[0]
        room, test = ("".join(re.findall(rf"^{kind}: (.*)", rule["body"], re.MULTILINE)) for kind in ("Room", "Test"))
        rooms, tests = _POINTER.findall(room), _POINTER.findall(test)
        if not rooms or any(each.startswith("tests/") for each in rooms):
            wrong.append(f"{rule['title']}: names no room")
        if not tests or not all(each.startswith("tests/") for each in tests):
            wrong.append(f"{rule['title']}: names no test")
        if not 1 <= len(re.findall(r"[.?!](?=\s|$)", statement)) <= SENTENCES_MAX:
            wrong.append(f"{rule['title']}: is not one to three sentences")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_signposts_lead_somewhere(page: Path) -> None:
    """Every path, name, link and make target that a page names is there."""
    assert problems(page, page.read_text()) == []


def test_every_rule_has_a_room_and_a_test() -> None:
    """Whoever reads a rule finds the code that keeps it and the test that would miss it."""
    text = DOMAIN.read_text()
    assert len(_RULE.findall(text)) >= RULES_MIN
    assert rule_problems(text) == []


def words(text: str) -> list[str]:
    """The words that the tables of a glossary explain: the first cell of each row, but for heads and rulers."""
    rows = re.findall(r"^\| ([^|]+?) \|(?!.*\n\|-)", text, re.MULTILINE)
    return [word for row in rows for word in row.split(", ")]


def test_each_word_of_the_glossary_has_one_meaning() -> None:
    """No word is explained twice."""
    text, _, _ = GLOSSARY.read_text().partition("## The words of RFC 8506")
    found = words(text)
    assert len(found) >= WORDS_MIN
    assert [word for word in set(found) if found.count(word) > 1] == []


def test_words_are_those_of_the_first_column() -> None:
    """Of each row, and several where they mean the same; the table's head is none."""
    assert words("| word | meaning |\n|---|---|\n| lease | A slice. |\n| node, metering node | A process. |\n") == [
        "lease",
        "node",
        "metering node",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        "`metering_service/domain/grants.py`",
        "`metering_service/domain/*.proto`",
        "`metering_service/domain/grant.py/`",
        "`metering_service/domain/grant.py::no_such_name`",
        "`control_service/domain/status.py::Facts.no_such_member`",
        "`tests/unit/test_signposts.py::test_that_is_not_there`",
        "`Makefile::no_such_word`",
        "`nothing.md`",
        "`metring_service/domain/grant.py`",
        "[a page](docs/nothing.md)",
        "[a heading](README.md#nothing-of-this-name)",
        "`make nothing`",
    ],
)
def test_a_wrong_signpost_is_found(wrong: str) -> None:
    """Each kind of mistake is one problem, beside signposts that are right."""
    right = "`metering_service/domain/` `tests/unit/test_signposts.py::problems` [here](README.md#licence) `make check`"
    assert problems(ROOT / "README.md", right) == []
    assert len(problems(ROOT / "README.md", f"{right} {wrong}")) == 1


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("A fact.\n\nTest: `tests/a.py::test_b`\n", "names no room"),
        ("A fact.\n\nRoom: `tests/a.py::b`\nTest: `tests/a.py::test_b`\n", "names no room"),
        ("A fact.\n\nRoom: `a.py::b`\n", "names no test"),
        ("A fact.\n\nRoom: `a.py::b`\nTest: `a.py::b`\n", "names no test"),
        ("One. Two. Three. Four.\n\nRoom: `a.py::b`\nTest: `tests/a.py::test_b`\n", "is not one to three sentences"),
    ],
)
def test_a_rule_without_room_or_test_is_found(wrong: str, problem: str) -> None:
    """So is one that is an essay."""
    right = "### A rule\n\nA fact.\n\nRoom: `a.py::b`\nTest: `tests/a.py::test_b`\n\n"
    assert rule_problems(right) == []
    assert rule_problems(f"{right}### Another rule\n\n{wrong}") == [f"Another rule: {problem}"]
