"""Time zones of the IANA, from one package and not from the machine, so that they are the same everywhere."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

UTC: Final = "UTC"
_PACKAGE: Final = "tzdata"


class UnknownTimeZoneError(ValueError):
    """There is no time zone of that name."""


@lru_cache(maxsize=1)
def time_zone_names() -> frozenset[str]:
    """The names of all time zones."""
    return frozenset(files(_PACKAGE).joinpath("zones").read_text(encoding="ascii").split())


@lru_cache(maxsize=1_024)
def time_zone(name: str) -> ZoneInfo:
    """The rules of a time zone. Raises UnknownTimeZoneError."""
    if name not in time_zone_names():
        raise UnknownTimeZoneError(name)
    with files(_PACKAGE).joinpath("zoneinfo", name).open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)
