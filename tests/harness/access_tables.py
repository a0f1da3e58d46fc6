"""The tables of the page on access, as the tests read them: what each role may do, written down apart from the code."""

from pathlib import Path

from tallygate._access.permission import Permission
from tallygate._access.role import Role

PAGE = Path(__file__).parents[2] / "docs" / "access.md"


def permissions_by_role() -> dict[Role, frozenset[Permission]]:
    """What each role may do, by the page."""
    head, *rows = table_after("| permission |")
    roles = [role_named(name) for name in head[1:]]
    marked = {role: set[Permission]() for role in roles}
    for permission, *marks in rows:
        for role, mark in zip(roles, marks, strict=True):
            if mark == "x":
                marked[role].add(Permission(permission))
    return {role: frozenset(found) for role, found in marked.items()}


def role_named(text: str) -> Role:
    """The role that the page calls `team admin`."""
    return Role(text.strip().upper().replace(" ", "_"))


def table_after(start: str) -> list[list[str]]:
    """The cells of the table whose head begins so, without the line below the head."""
    lines = PAGE.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(start))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]
