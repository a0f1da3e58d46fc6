"""Rotation of secrets: for how long the one before stays valid."""

from typing import Final

HOUR_S: Final = 3_600
OVERLAPS: Final = (("24", "1 day"), ("0", "not at all"), ("1", "1 hour"), ("168", "7 days"), ("720", "30 days"))
"""For how many hours it does, the usual first; and words."""
