"""What comes and goes on a Meter stream, as the stream itself sees it. It knows no wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from metering_service.domain.decision import Decision, Grant
from metering_service.domain.report import Phase

PROGRESS: Final = Phase.PROGRESS.value
"""Phase of a progress report, as it is on the wire."""
AUTHORIZE: Final = Phase.AUTHORIZE.value
"""Phase of a report that asks for leave, as it is on the wire."""
FINISH: Final = Phase.FINISH.value
"""Phase of a report on a request that has ended, as it is on the wire."""
COUNTS_NUMBER: Final = 4
"""Number of the field with the counts: lower ones say whose they are, higher ones what is special about a report."""

Named: TypeAlias = tuple[int | None, Decision]
"""A decision and the number of the report that it answers; None for an unasked one."""


class WireUsage(Protocol):
    """Counts as they came: what the fast road reads of them."""

    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int


class WireReport(Protocol):
    """A report as it came: what the fast road reads of it."""

    request_id: str
    service: str
    credential: str
    credential_sha256: bytes
    resume: bytes
    estimated: bool
    handle: int

    @property
    def phase(self) -> int:
        """Its number on the wire."""

    @property
    def usage(self) -> WireUsage:
        """Its counts."""

    def ListFields(self) -> Sequence[tuple[Any, Any]]:  # noqa: N802  # as messages have it
        """What it says: descriptions of fields and their values, by number."""


class Raised(NamedTuple):
    """A grant that was raised and is not final: the answer to a column's entry."""

    sequence: int
    handle: int
    grant: Grant


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What goes into the next message. `columns_handles_max`: in the first one of a stream only."""

    answered_through: int
    durable_through: int
    grants_valid_for_ms: int
    decisions: tuple[Named, ...]
    grants: tuple[Raised, ...] = ()
    columns_handles_max: int = 0
