"""The table that `migrate` itself keeps, which is in no service's schema."""

from tallygate._server.database.migration import FLOOR_TABLE


def is_a_services(name: str | None, kind: str, _parents: object) -> bool:
    """Whether a comparison of schemas looks at it."""
    return kind != "table" or name != FLOOR_TABLE
