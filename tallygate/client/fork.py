"""A started client in a forked child raises an error instead of waiting for ever."""

from __future__ import annotations

import os
import weakref

from tallygate.client.errors import Forked
from tallygate.client.session import Session

_started: weakref.WeakSet[Session] = weakref.WeakSet()


def watch(session: Session) -> None:
    """Notes that a session belongs to this process: a child that is forked off cannot use it.

    gRPC's threads and the event loop stay behind in the parent, so in a child nothing would ever be answered.
    """
    _started.add(session)


def unwatch(session: Session) -> None:
    """Forgets a session that was closed: it may be started again, in any process."""
    _started.discard(session)


def disown(parent_pid: int) -> None:
    """In a child: makes every session that was started in the parent refuse with one sentence."""
    for session in list(_started):
        session.unusable = Forked(
            f"this metering client was started in process {parent_pid} and cannot be used in its child {os.getpid()}: "
            "start one in each process, after the fork"
        )
        for state in session.requests.values():
            # So that counting a token and reporting it, which check nothing else, raise the error too.
            state.quiet_tokens = -1
            state.forget_handle()
    _started.clear()


def _after_in_child() -> None:
    disown(os.getppid())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_in_child)
