"""What use cases need of a courier, which takes messages to receivers."""

from dataclasses import dataclass, field
from typing import Protocol

from control_service.domain.alert import Alert
from control_service.domain.delivery import Outcome
from control_service.domain.webhook import Webhook


@dataclass(frozen=True, slots=True)
class Letter:
    """One attempt to deliver a message. `alert` is None of a test. `secrets` sign it, the newest first."""

    webhook: Webhook
    message_id: str
    attempt_us: int
    create_us: int
    alert: Alert | None
    secrets: tuple[bytes, ...] = field(repr=False)


class Courier(Protocol):
    """Takes letters where they shall go. It does not raise: what went wrong is an outcome as well."""

    async def take(self, letter: Letter) -> Outcome:
        """What came of the attempt."""
        ...
