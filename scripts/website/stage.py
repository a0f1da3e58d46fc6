"""Pages of the site: those that docs/README.md leads to, copied as they are, and the navigation that its lists say."""

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

START: Final = PurePosixPath("docs/README.md")
"""Page where readers begin. Its sections become the parts of the site, and their lists the pages of each part."""
_FENCE: Final = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)")
_SECTION: Final = re.compile(r"^## (?P<title>.+)\n(?P<body>(?:(?!^## ).*\n?)*)", re.MULTILINE)
_ITEM: Final = re.compile(r"^- \[[^\]]+\]\(([^)]+\.md)\)", re.MULTILINE)


def stage(root: Path, out: Path, further: dict[str, str]) -> None:
    """Write what the generator reads: each page that can be reached, each file that a page links, and the parts.

    `further`: items that a part's list gets in addition, by the part's title.
    """
    for path in reachable(root):
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, target)
        if _is_folder(path):
            _append(target, toctree(_beside(target.read_text())))
    start = out / START
    parts = dict(_parts(start.read_text(), further))
    for name, text in parts.items():
        (start.parent / name).write_text(text)
    _append(start, toctree(parts))


def reachable(root: Path, start: PurePosixPath = START) -> list[PurePosixPath]:
    """Paths of the files that links lead to from a page, over as many pages as it takes, the page itself first."""
    found = {start: None}
    waiting = [start]
    while waiting:
        page = waiting.pop()
        for link in links((root / page).read_text()):
            path = _normal(page.parent / link)
            if path not in found and (root / path).is_file():
                found[path] = None
                waiting += [path] if path.suffix == ".md" else []
    return list(found)


def listed(root: Path) -> list[PurePosixPath]:
    """Paths of the pages that a list has: one of the start, or one of the page of a folder."""
    items = [_normal(START.parent / item) for item in _ITEM.findall((root / START).read_text())]
    folders = [path for path in reachable(root) if _is_folder(path)]
    return items + [page.parent / link for page in folders for link in _beside((root / page).read_text())]


def links(text: str) -> list[str]:
    """Paths that a page links, relative to its folder, each once; not those in code, and no hosts."""
    return list(dict.fromkeys(_LINK.findall(_FENCE.sub("", text))))


def toctree(pages: Iterable[str]) -> str:
    """The directive by which the generator puts pages below another; readers do not see it."""
    lines = "\n".join(pages)
    return f"\n```{{toctree}}\n:hidden:\n\n{lines}\n```\n" if lines else ""


def _parts(start: str, further: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Name and text of a page for each section."""
    for section in _SECTION.finditer(start):
        title = section["title"]
        body = section["body"] + further.get(title, "")
        pages = dict.fromkeys(_ITEM.findall(body))
        yield f"{title.lower().replace(' ', '-')}.md", f"# {title}\n{body}{toctree(list(pages))}"


def _is_folder(path: PurePosixPath) -> bool:
    """Whether a page lists those that lie beside it."""
    return path.name == "README.md" and path != START


def _beside(text: str) -> list[str]:
    """Pages in the same folder that a page links."""
    return [link for link in links(text) if "/" not in link and link.endswith(".md")]


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _normal(path: PurePosixPath) -> PurePosixPath:
    """The same path without `..`."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)
