"""Comments as markdown: nothing but what stands between backticks has a meaning of its own."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

_CODE: Final = re.compile(r"(`[^`]+`)")
_SIGNS: Final = re.compile(r"([\\*_\[\]<>#~|])")


def escaped(text: str) -> str:
    """A text that is shown as it is, but for code between backticks."""
    return "".join(
        part.replace("|", "\\|") if part.startswith("`") else _SIGNS.sub(r"\\\1", part) for part in _CODE.split(text)
    )


def paragraphs(comment: str) -> str:
    """A comment with its paragraphs; each of them one line."""
    return "".join(f"{escaped(each)}\n\n" for each in _paragraphs(comment))


def cell(comment: str) -> str:
    """A comment in a table."""
    return "<br>".join(escaped(each) for each in _paragraphs(comment))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _paragraphs(comment: str) -> list[str]:
    return [" ".join(each.split()) for each in re.split(r"\n\s*\n", comment.strip()) if each.strip()]
