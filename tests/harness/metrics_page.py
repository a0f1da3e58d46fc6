"""The list of metrics in docs/monitoring.md, as tests read it."""

import re
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*) \|", re.MULTILINE)


@cache
def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each metric, by its name as it is exposed."""
    rows = list(_ROW.finditer(PAGE.read_text()))
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: (row["kind"], frozenset(re.findall(r"`(\w+)`", row["labels"]))) for row in rows}
