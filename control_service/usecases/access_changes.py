"""Changes of who may do what, as nodes learn of them: each is noted with a configuration version of its own."""

from collections.abc import Collection

from control_service.domain.binding import Binding
from control_service.usecases.ports import Transaction


async def note_change(tx: Transaction, *, members: Collection[str] = (), token_ids: Collection[str] = ()) -> None:
    """Notes that what these members and tokens open may have changed; nodes that follow one of them are told."""
    await tx.access_versions.note(members, token_ids, await tx.next_config_version())


async def remove_bindings(tx: Transaction, bindings: Collection[Binding]) -> None:
    """Deletes bindings, and notes whose they were."""
    if bindings:
        await tx.bindings.delete(bindings)
        await note_change(tx, members={binding.grant.member for binding in bindings})
