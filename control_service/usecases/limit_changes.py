"""Changes of limits, as nodes learn of them: each is noted with a configuration version, by account or model."""

from control_service.domain.limit import LimitSubject, Place
from control_service.usecases.ports import Transaction


async def note_limits(tx: Transaction, subject: LimitSubject) -> None:
    """Notes that limits of this account or model changed; nodes that follow anything of it are told."""
    await tx.limits.note(subject, await tx.next_config_version())


async def end_limits(tx: Transaction, place: Place, now_us: int) -> None:
    """Ends the limits that hang on what is deleted; its account is locked."""
    if await tx.limits.end_on(place, now_us):
        await note_limits(tx, place.subject)
