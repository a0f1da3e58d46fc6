"""How long control keeps what it has a choice about."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class KeptDays:
    """Numbers of days: for which audit entries and events are kept, and for which the ledger has usage by minute."""

    audit: int = 400
    minutes: int = 90


USUAL: Final = KeptDays()
"""Numbers where the settings do not say them."""
