"""What a client can be told to do differently."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Defaults fit a server in one data centre with its metering nodes.

    `heartbeat_ms`: an idle stream says something this often. `silence_ms`: beyond the heartbeat's interval, a node that
    says nothing for so long counts as gone. `answer_ms`: how long a question waits for its answer, reconnects included,
    before it is Unreachable. `close_ms`: how long closing waits for everything said to be durable.
    """

    heartbeat_ms: int = 1_000
    silence_ms: int = 1_000
    answer_ms: int = 5_000
    close_ms: int = 10_000
    backoff_base_ms: int = 50
    backoff_cap_ms: int = 2_000
    open_requests_max: int = 10_000
