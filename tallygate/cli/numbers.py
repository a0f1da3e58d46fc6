"""Numbers that options take."""

from __future__ import annotations

from typing import Final

INT64_MAX: Final = 2**63 - 1
"""The greatest number that the contract's counts can say."""
DAYS_MAX: Final = 36_500
"""A hundred years: longer terms are mistyped."""
